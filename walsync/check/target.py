"""Looks at one target: can it be reached, does it follow this source, would rows fit, may they be written."""

import asyncio
import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import psycopg2

from walsync.backlog.settings import BatchSettings
from walsync.check.finding import Report
from walsync.check.rights import check_target_rights, row
from walsync.check.source import NAME, Source
from walsync.checkpoint.gap_guard import decide
from walsync.errors import ConfigurationError, WalsyncError
from walsync.lsn import LSN
from walsync.postgres import Connection, connect
from walsync.source.table import Table
from walsync.target.base import Checkpoint, Target
from walsync.target.d1.budget import RateBudget, budget_of
from walsync.target.d1.settings import D1Settings
from walsync.target.postgres.failures import judge, judge_connecting
from walsync.target.postgres.settings import PostgresSettings
from walsync.target.postgres.target import PostgresTarget
from walsync.target.selection import select
from walsync.target.settings import TargetSettings
from walsync.target.surrealdb.settings import MEMORY, SURREALKV, SurrealDBSettings

_HELD: Final = "WS4601"


async def examine(target: Target, settings: TargetSettings, batch: BatchSettings, source: Source) -> Report:
    """Note everything about one target; a report of its own, since targets are looked at side by side."""
    report = Report()
    where = f"target {settings.name}"
    for remark in target.remarks:
        report.ok(where, remark)
    if isinstance(settings, D1Settings) and settings.api_token is not None:
        _check_rate(budget_of(settings.api_token), batch, report, where=where)
    try:
        checkpoint = await target.read_checkpoint()
        report.ok(where, "can be reached" + (f", stands at {checkpoint.lsn}" if checkpoint is not None else ", is new"))
        states = {} if checkpoint is None else await target.table_states()
        synced = [state.synced_lsn for state in states.values()]
        _check_position(settings.name, checkpoint, synced, source, report, where=where)
        tables = _select(settings, source)
        await _compare(target, tables, report, where=where)
        if isinstance(target, PostgresTarget) and target.replica_role is False:
            report.warning(
                "WS4901",
                where,
                "its role may not set session_replication_role",
                "on the target, Postgres 15 or later: GRANT SET ON PARAMETER session_replication_role TO <role>",
            )
        if isinstance(settings, SurrealDBSettings) and not settings.is_server:
            _check_directory(settings, report, where=where)
        if isinstance(settings, PostgresSettings):
            await asyncio.to_thread(_examine_database, settings, source, tables, report, where=where)
    except WalsyncError as error:
        if error.code == _HELD and source.is_read_by_walsync:
            report.ok(where, "is held by the running instance, and was not looked at")
        else:
            report.refused(where, error)
    return report


def _check_rate(budget: RateBudget, batch: BatchSettings, report: Report, *, where: str) -> None:
    """Note a token that so many targets share that not even their idle checkpoints fit into its requests."""
    if budget.flush_seconds > batch.idle_checkpoint_seconds:
        report.warning(
            "WS4906",
            where,
            f"{budget.targets} targets share its api_token, whose requests let each be written every"
            f" {budget.flush_seconds:.1f} s at most: less often than batch.idle_checkpoint_seconds asks,"
            f" {batch.idle_checkpoint_seconds:g} s",
            "use the gateway (docs/targets.md), more than one token, or a longer batch.idle_checkpoint_seconds",
        )


def _check_position(
    name: str, checkpoint: Checkpoint | None, synced: Sequence[LSN], source: Source, report: Report, *, where: str
) -> None:
    if source.position is None or source.registrations is None:
        return  # the source's own findings say why
    try:
        decide(name, source.registrations.get(name), checkpoint, source.position, synced)
    except WalsyncError as error:
        report.refused(where, error)


def _select(settings: TargetSettings, source: Source) -> list[Table]:
    try:
        return [one.table for one in select(settings, source.tables)]
    except ConfigurationError:
        if source.has_all_tables:
            raise
        return []  # it may want what the source's own findings say is missing


def _check_directory(settings: SurrealDBSettings, report: Report, *, where: str) -> None:
    """Note a directory that could not be made: the engine, which makes it, is not asked to by a check."""
    path = Path(settings.url.removeprefix(SURREALKV))
    if settings.url == MEMORY or path.exists():
        return
    nearest = next(parent for parent in path.parents if parent.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        report.error(
            "WS4603",
            where,
            f"{path} cannot be made: {nearest} is no directory that may be written",
            f"make it and let walsync write there: mkdir -p {path.parent}",
        )


async def _compare(target: Target, tables: Sequence[Table], report: Report, *, where: str) -> None:
    differences = await target.compare(tables)
    report.refused(where, *(difference.refusal() for difference in differences))
    if not differences and tables:
        report.ok(where, "its tables fit, or can be created")


def _examine_database(
    settings: PostgresSettings, source: Source, tables: Sequence[Table], report: Report, *, where: str
) -> None:
    try:
        with closing(connect(settings.dsn.get_secret_value(), application_name=NAME)) as session:
            (identifier,) = row(session, "SELECT system_identifier::text FROM pg_catalog.pg_control_system()")
            position = source.position
            if position is not None and (identifier, session.info.dbname) == (
                position.system_identifier,
                source.database,
            ):
                report.error("WS4904", where, "it is the source database itself", "name another database in its dsn")
            _check_encoding(session, source, report, where=where)
            if check_target_rights(session, tables, report, where):
                report.ok(where, "may be written")
    except psycopg2.Error as error:
        report.refused(where, judge(error, where) if error.pgcode else judge_connecting(error, where))


def _check_encoding(session: Connection, source: Source, report: Report, *, where: str) -> None:
    (encoding,) = row(session, "SELECT pg_catalog.current_setting('server_encoding')")
    if source.encoding and encoding not in {"UTF8", source.encoding}:
        report.warning(
            "WS4905",
            where,
            f"its encoding is {encoding}, the source's is {source.encoding}: it lacks characters that the source has",
            "make the target's database again: CREATE DATABASE ... ENCODING UTF8 TEMPLATE template0",
        )
