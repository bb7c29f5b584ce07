"""Writes the SQL of a proposal: what to change on the server, and a role with no more rights than it needs. Pure.

The role is that of sql/role.sql, for exactly the tables that were chosen.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from walsync.backlog.settings import BacklogSettings
from walsync.identifier import quote
from walsync.proposal.survey import Found, Server, Survey
from walsync.source import publication
from walsync.source.demand import Demand

_RELOAD: Final = "SELECT pg_reload_conf();"


def script(survey: Survey, chosen: Sequence[Found], *, role: str, targets: int) -> str:
    """Write a script for psql; an administrator of the source runs it."""
    settings = list(server_settings(survey.server, targets))
    lines = [
        f"-- Run as an administrator in the database {survey.database}. Made by walsync init, which changes nothing."
    ]
    lines += ["", "-- 1. The server."]
    lines += settings or ["-- Nothing: wal_level is logical, slots and walsenders are free, no limit takes WAL away."]
    lines += ["", "-- 2. A role with no more rights than needed. Change the password first."]
    lines += role_statements(survey, chosen, role)
    return "\n".join(lines) + "\n"


def server_settings(server: Server, targets: int) -> Iterator[str]:
    """Write what has to change on the server, a comment above each statement."""
    demand = Demand(targets, targets, BacklogSettings().catch_up_streams)
    slots_needed = server.slots_in_use + max(demand.at_first, demand.slots)
    senders_needed = server.senders_in_use + max(demand.at_first, demand.senders)
    restart = []
    if server.wal_level != "logical":
        yield f"-- wal_level is {server.wal_level}: the WAL does not say which row changed."
        yield "ALTER SYSTEM SET wal_level = 'logical';"
        restart.append("wal_level")
    if server.max_replication_slots < slots_needed:
        yield f"-- The stream's slot, one per target to be copied or to catch up; {server.slots_in_use} are in use."
        yield f"ALTER SYSTEM SET max_replication_slots = {slots_needed};"
        restart.append("max_replication_slots")
    if server.max_wal_senders < senders_needed:
        yield f"-- One walsender per slot that is read; {server.senders_in_use} are in use."
        yield f"ALTER SYSTEM SET max_wal_senders = {senders_needed};"
        restart.append("max_wal_senders")
    reload = False
    if server.max_slot_wal_keep_size != "-1":
        yield f"-- Past {server.max_slot_wal_keep_size} of WAL the server takes a slot away: all targets start anew."
        yield "-- Leave the limit where the disk needs it, above what is written during the longest outage of a target."
        yield "ALTER SYSTEM SET max_slot_wal_keep_size = -1;"
        reload = True
    if server.idle_replication_slot_timeout != "0":
        yield f"-- The server takes away a slot that nobody has read for {server.idle_replication_slot_timeout}."
        yield "ALTER SYSTEM SET idle_replication_slot_timeout = 0;"
        reload = True
    if reload:
        yield _RELOAD
    if restart:
        yield f"-- Now restart the server, for {', '.join(restart)}. A managed service has these among its parameters."


def role_statements(survey: Survey, chosen: Sequence[Found], role: str) -> Iterator[str]:
    """Write the role, what it may read, and the publication, which only the tables' owner can make."""
    name = quote(role)
    if survey.role_exists:
        yield f"-- The role {role} is there already; its password stays."
    elif survey.server.grants_replication_by_role:
        yield f"CREATE ROLE {name} LOGIN PASSWORD 'change me';"
    else:
        yield f"CREATE ROLE {name} LOGIN REPLICATION PASSWORD 'change me';"
    if survey.server.grants_replication_by_role:
        yield f"GRANT rds_replication TO {name};"
    elif survey.role_exists:
        yield f"ALTER ROLE {name} LOGIN REPLICATION;"
    yield "-- The registry of targets: walsync creates its table walsync.target in this schema."
    if survey.schema_exists:
        yield f"GRANT USAGE, CREATE ON SCHEMA walsync TO {name};"
    else:
        if not survey.server.asked_by_superuser:
            yield f"GRANT {name} TO CURRENT_USER;"
        yield f"CREATE SCHEMA walsync AUTHORIZATION {name};"
    yield "-- The first copy reads the tables."
    schemas = sorted({found.table.schema for found in chosen})
    yield f"GRANT USAGE ON SCHEMA {', '.join(map(quote, schemas))} TO {name};"
    tables = ", ".join(quote(found.table.schema, found.table.name) for found in chosen)
    yield f"GRANT SELECT ON TABLE {tables} TO {name};"
    secured = [found.name for found in chosen if found.has_row_security]
    if secured:
        yield f"-- Row security would hide rows of {', '.join(secured)} from the first copy."
        yield f"ALTER ROLE {name} BYPASSRLS;"
    optional = "" if survey.server.asked_by_superuser else "-- As superuser: "
    yield "-- Optional: shows which transaction a new slot is waiting for."
    yield f"{optional}GRANT pg_monitor TO {name};"
    yield "-- The publication. When source.tables changes, walsync check prints the statement to run here."
    yield publication.create_statement(survey.publication, [found.table for found in chosen]) + ";"
