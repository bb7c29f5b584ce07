-- differs: stale-type-name: sooner: later
CREATE TYPE sooner AS ENUM ('a', 'b');
CREATE TABLE t (id int PRIMARY KEY, m sooner);
-- record
INSERT INTO t VALUES (1, 'a');
ALTER TYPE sooner RENAME TO later;
INSERT INTO t VALUES (2, 'b');
