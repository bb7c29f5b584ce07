-- differs: search-path: looked_at: mine
CREATE TABLE t (id int PRIMARY KEY, c regclass, y regtype, p regproc);
CREATE TABLE looked_at (id int);
CREATE TYPE mine AS ENUM ('a');
-- record
INSERT INTO t VALUES (1, 'looked_at', 'mine', 'now');
