"""Writes a table's name as the configuration file spells it: what `TablePattern` reads."""

import re
from typing import Final

_PLAIN: Final = re.compile(r'[^."*\s\0]+')


def written(schema: str, table: str | None) -> str:
    """Write ``schema.table``, or ``schema.*`` for None; a part that has a dot, a quote or a space in quotes."""
    return f"{_part(schema)}.{'*' if table is None else _part(table)}"


def _part(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else '"' + name.replace('"', '""') + '"'
