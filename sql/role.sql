-- A role for walsync on the source, with no more than it needs.
-- Run as an administrator in the database to be replicated, after changing the password and the names of your tables.

CREATE ROLE walsync LOGIN REPLICATION PASSWORD 'change me';
-- On managed services instead of REPLICATION: GRANT rds_replication TO walsync; or what the service calls it.

-- The registry of targets: walsync creates its table walsync.target in this schema.
CREATE SCHEMA walsync AUTHORIZATION walsync;

-- The first copy reads the tables.
GRANT USAGE ON SCHEMA public TO walsync;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO walsync;
-- Tables with row level security also need: ALTER ROLE walsync BYPASSRLS; else the snapshot is refused, not cut short.

-- Which transaction a new slot is waiting for is shown to members of pg_monitor only. Optional.
GRANT pg_monitor TO walsync;

-- The publication. Only the tables' owner may create it: do it here, and again when `source.tables` changes (walsync
-- check prints the statement). Where the role owns the tables and may CREATE in the database, walsync does it by itself.
CREATE PUBLICATION walsync FOR TABLE public.users, public.posts WITH (publish_via_partition_root = true);
