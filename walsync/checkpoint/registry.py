"""The registry on the source: which targets exist, so that none is forgotten and the slot waits for each of them.

It is written when a target is registered, when it leaves, and at a clean stop; never per batch. It is not published.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from uuid import UUID, uuid4

import psycopg2
from psycopg2 import errors as pg

from walsync.errors import ConfigurationError, SourceRefused, WalsyncError
from walsync.lsn import LSN
from walsync.postgres import Connection, describe
from walsync.source.session import source_error

CREATE_SCHEMA: Final = "CREATE SCHEMA IF NOT EXISTS walsync"
CREATE_TABLE: Final = """
CREATE TABLE IF NOT EXISTS walsync.target (
    id uuid PRIMARY KEY,
    slot text NOT NULL,
    name text NOT NULL,
    kind text NOT NULL,
    durable pg_lsn NOT NULL,
    state text NOT NULL CHECK (state IN ('registering', 'registered', 'parked', 'released')),
    updated_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    UNIQUE (slot, name)
)
"""


class RegistrationState(StrEnum):
    """Where a target is, as far as the source has to know.

    `registering` until the target has stored its id too: a crash between the two is told from a wiped target. `parked`
    while the main slot does not wait for it: if the hold slot is lost, it gets a new snapshot by itself. `released`
    when its WAL was given up on purpose: likewise.
    """

    REGISTERING = "registering"
    REGISTERED = "registered"
    PARKED = "parked"
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class Registration:
    """One target of one slot; `durable` is a lower bound of what it has."""

    id: UUID
    name: str
    kind: str
    durable: LSN
    state: RegistrationState


def refuse_unconfigured(registrations: Mapping[str, Registration], configured: Iterable[str]) -> None:
    """Refuse to go on without a registered target: left out by mistake, it would be forgotten or hold WAL for ever."""
    missing = sorted(registrations.keys() - set(configured))
    if missing:
        raise ConfigurationError(
            "WS5008",
            f"registered on the source but not configured: {', '.join(missing)}; WAL is kept for them",
            hint="put back what should stay, and: " + "; ".join(f"walsync drop --target {name}" for name in missing),
        )


def refuse_missing_slot(slot: str, registrations: Mapping[str, Registration]) -> None:
    """Refuse to make a slot anew while a target stands somewhere behind the one that is gone."""
    followers = sorted(one.name for one in registrations.values() if one.state is not RegistrationState.REGISTERING)
    if followers:
        raise SourceRefused(
            "WS5009",
            f"slot {slot} is gone, though {', '.join(followers)} follow it: changes were lost",
            hint="walsync drop, then walsync run: every target gets a new snapshot",
        )


class Registry:
    """The targets of one slot, on an ordinary session of the source."""

    def __init__(self, session: Connection, slot: str) -> None:
        self._session = session
        self._slot = slot

    def create(self) -> None:
        """Create schema and table where they are absent; what exists needs no right to create it."""
        if self.exists():
            return
        try:
            with self._session.cursor() as cursor:
                cursor.execute("SELECT pg_catalog.to_regnamespace('walsync') IS NULL")
                if cursor.fetchall()[0][0]:
                    cursor.execute(CREATE_SCHEMA)
                cursor.execute(CREATE_TABLE)
        except (pg.DuplicateSchema, pg.DuplicateTable, pg.UniqueViolation):
            return  # another instance did it at this moment
        except psycopg2.Error as error:
            raise _refused(error) from error

    def load(self) -> dict[str, Registration]:
        """Return the registered targets by name; empty where there is no registry yet."""
        if not self.exists():
            return {}
        rows = self._query(
            "SELECT id::text, name, kind, durable, state FROM walsync.target WHERE slot = %s ORDER BY name", self._slot
        )
        return {
            name: Registration(UUID(id_), name, kind, LSN.parse(durable), RegistrationState(state))
            for id_, name, kind, durable, state in rows
        }

    def add(self, name: str, kind: str, durable: LSN) -> Registration:
        """Begin to register a target: from here on the slot waits for it."""
        new = Registration(uuid4(), name, kind, durable, RegistrationState.REGISTERING)
        self._run(
            "INSERT INTO walsync.target (id, slot, name, kind, durable, state) VALUES (%s, %s, %s, %s, %s, %s)",
            *(str(new.id), self._slot, name, kind, str(durable), new.state.value),
        )
        return new

    def complete(self, name: str) -> bool:
        """Note that the target has stored its id; tells whether that was not known yet."""
        noted = self._run(
            "UPDATE walsync.target SET state = %s, updated_at = pg_catalog.now()"
            " WHERE slot = %s AND name = %s AND state IN ('registering', 'released')",
            *(RegistrationState.REGISTERED.value, self._slot, name),
        )
        return noted > 0

    def note_state(self, name: str, state: RegistrationState, durable: LSN) -> None:
        """Note where a target is in its life, and what it has.

        One that is being registered stays so, unless it is released: it holds nothing yet, and that is known of it.
        """
        self._run(
            "UPDATE walsync.target SET state = %s, durable = greatest(durable, %s), updated_at = pg_catalog.now()"
            " WHERE slot = %s AND name = %s AND (state <> 'registering' OR %s = 'released')",
            *(state.value, str(durable), self._slot, name, state.value),
        )

    def note_durable(self, durable: dict[str, LSN]) -> None:
        """Note what the targets have, at a clean stop."""
        for name, lsn in durable.items():
            self._run(
                "UPDATE walsync.target SET durable = greatest(durable, %s), updated_at = pg_catalog.now()"
                " WHERE slot = %s AND name = %s",
                *(str(lsn), self._slot, name),
            )

    def remove(self, name: str) -> bool:
        """Forget a target; tell whether it was registered."""
        if not self.exists():
            return False
        return self._run("DELETE FROM walsync.target WHERE slot = %s AND name = %s", self._slot, name) > 0

    def exists(self) -> bool:
        """Tell whether schema and table are there."""
        rows = self._query("SELECT pg_catalog.to_regclass('walsync.target') IS NOT NULL")
        return bool(rows[0][0])

    def _query(self, sql: str, *parameters: str) -> list[tuple[Any, ...]]:
        try:
            with self._session.cursor() as cursor:
                cursor.execute(sql, parameters)
                return cursor.fetchall()
        except psycopg2.Error as error:
            raise _refused(error) from error

    def _run(self, sql: str, *parameters: str) -> int:
        try:
            with self._session.cursor() as cursor:
                cursor.execute(sql, parameters)
                return cursor.rowcount
        except psycopg2.Error as error:
            raise _refused(error) from error


def _refused(error: psycopg2.Error) -> WalsyncError:
    if isinstance(error, pg.InsufficientPrivilege):
        return SourceRefused(
            "WS5101",
            f"the registry walsync.target on the source may not be used: {describe(error)}",
            hint="let an administrator run sql/role.sql for this role",
        )
    return source_error(error)
