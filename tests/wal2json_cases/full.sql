-- differs: pk-beside-full-or-index
CREATE TABLE t (id int PRIMARY KEY, a text, b numeric, c bool);
CREATE TABLE nokey (a text, b int, big text);
ALTER TABLE t REPLICA IDENTITY FULL;
ALTER TABLE nokey REPLICA IDENTITY FULL;
ALTER TABLE nokey ALTER big SET STORAGE EXTERNAL;
-- record
INSERT INTO t VALUES (1, 'a', 1.10, true), (2, NULL, NULL, NULL), (3, 'quo"te', 'NaN', false);
UPDATE t SET a = 'z';
UPDATE t SET id = 4 WHERE id = 2;
DELETE FROM t;
INSERT INTO nokey SELECT 'dup', 1, repeat('x', 3000) FROM generate_series(1, 2);
UPDATE nokey SET b = 2;
UPDATE nokey SET big = NULL;
UPDATE nokey SET a = NULL;
DELETE FROM nokey;
