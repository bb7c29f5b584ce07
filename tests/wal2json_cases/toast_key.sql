CREATE TABLE t (k text PRIMARY KEY, n int, v text);
ALTER TABLE t ALTER k SET STORAGE EXTERNAL, ALTER v SET STORAGE EXTERNAL;
-- record
INSERT INTO t SELECT repeat('k', 2500), 1, repeat('v', 2500);
UPDATE t SET n = 2;
UPDATE t SET k = repeat('q', 2400);
UPDATE t SET k = 'short';
DELETE FROM t;
