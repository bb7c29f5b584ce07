-- differs: stray-comma
CREATE TABLE t (id int PRIMARY KEY);
-- record
SELECT pg_logical_emit_message(false, 'p', 'alone');
BEGIN;
SELECT pg_logical_emit_message(true, 'p', 'before');
INSERT INTO t VALUES (1);
SELECT pg_logical_emit_message(true, 'p%b', E'between "quotes" \n 100%');
SELECT pg_logical_emit_message(true, 'p', 'twice');
INSERT INTO t VALUES (2);
SELECT pg_logical_emit_message(false, 'p', 'not of it');
SELECT pg_logical_emit_message(true, '', '');
COMMIT;
SELECT pg_logical_emit_message(false, 'p', 'after two');
SELECT pg_logical_emit_message(true, 'p', 'only');
BEGIN;
SELECT pg_logical_emit_message(true, 'p', 'rolled back');
SELECT pg_logical_emit_message(false, 'p', 'stays');
ROLLBACK;
SELECT pg_logical_emit_message(true, 'p', '\x410042'::bytea);
