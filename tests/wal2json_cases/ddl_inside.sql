CREATE TABLE t (id int PRIMARY KEY, a varchar(10), b int);
CREATE TABLE u (id int PRIMARY KEY);
CREATE SCHEMA elsewhere;
-- record
BEGIN;
INSERT INTO t VALUES (1, 'a', 1);
ALTER TABLE t ALTER a TYPE varchar(20);
INSERT INTO t VALUES (2, 'b', 2);
ALTER TABLE t ALTER b TYPE bigint;
INSERT INTO t VALUES (3, 'c', 3);
ALTER TABLE u RENAME TO v;
INSERT INTO v VALUES (1);
ALTER TABLE v SET SCHEMA elsewhere;
INSERT INTO elsewhere.v VALUES (2);
COMMIT;
INSERT INTO t VALUES (4, 'd', 4);
CREATE TABLE fresh AS SELECT i AS id, md5(i::text) AS m FROM generate_series(1, 3) AS i;
