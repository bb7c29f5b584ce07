-- publication: FOR TABLE t WHERE (id < 10)
-- differs: row-filter: I 1, U 1, D 1, I 2, D 2
CREATE TABLE t (id int PRIMARY KEY, v text);
-- record
INSERT INTO t VALUES (1, 'in'), (11, 'out');
UPDATE t SET v = 'x';
UPDATE t SET id = 12 WHERE id = 1;
UPDATE t SET id = 2 WHERE id = 11;
DELETE FROM t;
