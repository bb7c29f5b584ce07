CREATE TABLE t (id int PRIMARY KEY);
-- record
INSERT INTO t VALUES (1), (2);
UPDATE t SET id = 3 WHERE id = 1;
UPDATE t SET id = id;
DELETE FROM t;
