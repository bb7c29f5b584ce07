CREATE TABLE t (a int, b text, c int, d text, PRIMARY KEY (d, a));
-- record
INSERT INTO t VALUES (1, 'b', 2, 'd'), (2, NULL, NULL, 'e');
UPDATE t SET b = 'x' WHERE a = 1;
UPDATE t SET d = 'y' WHERE a = 1;
UPDATE t SET a = 9, b = NULL WHERE a = 2;
DELETE FROM t;
