CREATE TABLE t (id int PRIMARY KEY, a text, n numeric);
-- record
INSERT INTO t SELECT i, 'row ' || i, i / 10.0 FROM generate_series(1, 600) AS i;
UPDATE t SET n = n + 1 WHERE id % 3 = 0;
DELETE FROM t WHERE id % 2 = 0;
