"""A snapshot's lines of COPY text -> chunks of records, of which one request takes one."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Final, TypeAlias

from walsync.errors import TargetRefused
from walsync.row import read_copy_line
from walsync.target.surrealdb.schema import Layout

Records: TypeAlias = list[dict[str, object]]

_SIZE_BYTES: Final = 2 * 1024**2
"""Of COPY text; a larger row comes by itself."""


async def read_chunks(layout: Layout, texts: AsyncIterator[bytes], most_rows: int) -> AsyncGenerator[Records, None]:
    """Read whole lines into chunks of records, beside the event loop."""
    lines: list[bytes] = []
    size = 0
    async for text in texts:
        for line in text.split(b"\n")[:-1]:
            lines.append(line)
            size += len(line)
            if len(lines) >= most_rows or size >= _SIZE_BYTES:
                yield await asyncio.to_thread(_read, layout, lines)
                lines, size = [], 0
    if lines:
        yield await asyncio.to_thread(_read, layout, lines)


def _read(layout: Layout, lines: Sequence[bytes]) -> Records:
    return [_record(layout, line) for line in lines]


def _record(layout: Layout, line: bytes) -> dict[str, object]:
    values = read_copy_line(line)
    if len(values) != len(layout.columns):
        raise TargetRefused(
            "WS4402",
            f"{layout.qualified_name}: a line of the snapshot has {len(values)} values, not {len(layout.columns)}",
            hint="restart; if it comes again, report it with the server's version",
        )
    return layout.content(values, layout.name_record(values))
