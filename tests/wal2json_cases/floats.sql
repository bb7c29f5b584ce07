CREATE TABLE t (id int PRIMARY KEY, r real, d double precision, f float(10));
-- record
INSERT INTO t VALUES (1, '-0', '-0', 1), (2, 1e-45, 5e-324, 0.1), (3, 3.4e38, 1e308, 1e10), (4, 'NaN', 'Infinity', '-Infinity');
INSERT INTO t VALUES (5, 0.1, 0.1, 1.5), (6, 1e20, 1e20, 123456), (7, 1234567.8, 0.30000000000000004, NULL);
