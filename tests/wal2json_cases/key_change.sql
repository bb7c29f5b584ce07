CREATE TABLE t (id int PRIMARY KEY, v text);
-- record
INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 5) AS i;
UPDATE t SET id = id + 10;
BEGIN;
UPDATE t SET id = 99 WHERE id = 11;
UPDATE t SET id = 11 WHERE id = 12;
UPDATE t SET id = 12 WHERE id = 99;
COMMIT;
