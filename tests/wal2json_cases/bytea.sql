CREATE TABLE t (id int PRIMARY KEY, b bytea);
-- record
INSERT INTO t VALUES (1, ''), (2, '\x00'), (3, '\x00ff5c22'), (4, 'text\\and'::bytea), (5, NULL);
INSERT INTO t SELECT 6, decode(repeat('0123456789abcdef', 400), 'hex');
