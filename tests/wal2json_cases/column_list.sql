-- publication: FOR TABLE t (id, a)
-- differs: column-list: b
CREATE TABLE t (id int PRIMARY KEY, b text, a text);
-- record
INSERT INTO t VALUES (1, 'b', 'a');
UPDATE t SET b = 'c';
DELETE FROM t;
