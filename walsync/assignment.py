"""What a configuration gives each target: a delivery goes on as long as that stays the same. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from walsync.backlog.settings import BatchSettings
from walsync.config import Config
from walsync.published import Published
from walsync.target.selection import Selected, select
from walsync.target.settings import TargetSettings


@dataclass(frozen=True, slots=True)
class Assignment:
    """One target's; `memberships` names, by relid, those of its tables in the publication."""

    settings: TargetSettings
    tables: Sequence[Selected]
    memberships: Mapping[int, str]
    batch: BatchSettings


def assign(config: Config, published: Published) -> dict[str, Assignment]:
    """Give every target its part; ConfigurationError where one wants what is not there."""
    return {settings.name: _assign(settings, config.bounded_batch, published) for settings in config.targets}


def _assign(settings: TargetSettings, batch: BatchSettings, published: Published) -> Assignment:
    tables = select(settings, published.tables)
    memberships = {one.table.relid: published.publication.memberships[one.table.relid] for one in tables}
    return Assignment(settings, tables, memberships, batch)
