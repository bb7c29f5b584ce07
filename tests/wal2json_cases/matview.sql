-- differs: materialized-view: mv
CREATE TABLE t (id int PRIMARY KEY);
INSERT INTO t VALUES (1), (2);
-- record
CREATE MATERIALIZED VIEW mv AS SELECT id FROM t;
INSERT INTO t VALUES (3);
