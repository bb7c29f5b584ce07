-- differs: pk-beside-full-or-index
CREATE TABLE t (id int PRIMARY KEY, a text NOT NULL, b int, c int NOT NULL);
CREATE UNIQUE INDEX ca ON t (c, a);
ALTER TABLE t REPLICA IDENTITY USING INDEX ca;
CREATE TABLE nokey (a int NOT NULL, b text);
CREATE UNIQUE INDEX na ON nokey (a) INCLUDE (b);
ALTER TABLE nokey REPLICA IDENTITY USING INDEX na;
-- record
INSERT INTO t VALUES (1, 'a', NULL, 10), (2, 'b', 5, 20);
UPDATE t SET b = 6;
UPDATE t SET a = 'x' WHERE id = 1;
UPDATE t SET id = 7 WHERE id = 2;
DELETE FROM t;
INSERT INTO nokey VALUES (1, 'x');
UPDATE nokey SET b = 'y';
UPDATE nokey SET a = 2;
DELETE FROM nokey;
