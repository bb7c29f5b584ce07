CREATE TABLE t (id int PRIMARY KEY, n numeric, p numeric(10,2), z numeric(4,-2), u numeric(3,5));
-- record
INSERT INTO t VALUES (1, 'NaN', 1.10, 12345, 0.00123), (2, 'Infinity', 0, 0, 0), (3, '-Infinity', -1, -100, NULL);
INSERT INTO t SELECT 4, repeat('9', 400)::numeric, 99999999.99, 999900, 0.00999;
INSERT INTO t VALUES (5, 1e-30, 1, 1, 0), (6, -0.0, 1e2, NULL, NULL), (7, 123456789012345678901234567890.123456789, 0.1, 5, 0);
