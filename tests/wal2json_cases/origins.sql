CREATE TABLE t (id int PRIMARY KEY);
SELECT pg_replication_origin_create(name) FROM unnest(ARRAY['wal2json one', 'wal2json two']) AS name
    WHERE name NOT IN (SELECT roname FROM pg_replication_origin);
-- record
INSERT INTO t VALUES (1);
SELECT pg_replication_origin_session_setup('wal2json one');
INSERT INTO t VALUES (2);
BEGIN;
SELECT pg_replication_origin_xact_setup('1/2', '2020-02-29 12:34:56.7+00');
INSERT INTO t VALUES (3);
COMMIT;
BEGIN;
SELECT pg_replication_origin_xact_setup('1/3', '0044-03-15 00:00:00+00 BC');
INSERT INTO t VALUES (4);
COMMIT;
BEGIN;
SELECT pg_replication_origin_xact_setup('1/4', 'infinity');
INSERT INTO t VALUES (5);
COMMIT;
BEGIN;
SELECT pg_replication_origin_xact_setup('1/5', '294276-12-31 23:59:59.999999+00');
INSERT INTO t VALUES (6);
COMMIT;
SELECT pg_replication_origin_session_reset();
SELECT pg_replication_origin_session_setup('wal2json two');
DELETE FROM t WHERE id = 2;
SELECT pg_replication_origin_session_reset();
