-- differs: catalogue-of-now
CREATE TABLE t (id int PRIMARY KEY, gone int, a text, b int);
-- record
INSERT INTO t VALUES (1, 0, 'a', 1);
ALTER TABLE t ALTER b SET DEFAULT 5, ALTER b SET NOT NULL;
INSERT INTO t VALUES (2, 0, 'b', 2);
ALTER TABLE t RENAME a TO renamed;
INSERT INTO t VALUES (3, 0, 'c', 3);
ALTER TABLE t DROP gone;
INSERT INTO t VALUES (4, 'd', 4);
CREATE TABLE dropped (id int PRIMARY KEY, v varchar(7) NOT NULL DEFAULT 'x');
INSERT INTO dropped VALUES (1, 'a');
DROP TABLE dropped;
