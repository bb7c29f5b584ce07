CREATE TABLE t (id int PRIMARY KEY, n int, big text, other text);
ALTER TABLE t ALTER big SET STORAGE EXTERNAL, ALTER other SET STORAGE EXTERNAL;
-- record
INSERT INTO t SELECT 1, 1, repeat('abc"', 2000), repeat('x', 3000);
UPDATE t SET n = 2;
UPDATE t SET other = 'short';
UPDATE t SET big = NULL, n = NULL;
UPDATE t SET big = repeat('z', 5000);
UPDATE t SET id = 2;
DELETE FROM t;
