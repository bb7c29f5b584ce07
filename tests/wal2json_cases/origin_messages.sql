CREATE TABLE t (id int PRIMARY KEY);
SELECT pg_replication_origin_create(name) FROM unnest(ARRAY['wal2json three']) AS name
    WHERE name NOT IN (SELECT roname FROM pg_replication_origin);
-- record
SELECT pg_replication_origin_session_setup('wal2json three');
SELECT pg_logical_emit_message(false, 'p', 'alone');
SELECT pg_logical_emit_message(true, 'p', 'with its transaction');
INSERT INTO t VALUES (1);
SELECT pg_replication_origin_session_reset();
INSERT INTO t VALUES (2);
