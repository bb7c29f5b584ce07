"""The targets of the acceptance run over all kinds, besides the Postgres replica."""

from pathlib import Path

from acceptance.reading import Part, Place
from acceptance.reading_d1 import D1File
from acceptance.reading_surrealdb import SurrealDBDirectory
from acceptance.run import Blows
from acceptance.values import WORDS
from acceptance.zoo import TABLES

BLOWS = Blows(
    kills=10,
    target_outages=1,
    target_disconnects=1,
    source_restarts=1,
    source_disconnects=1,
)

# Every table of the zoo can stand on every kind: one without a key too, and unique constraints besides the key are
# not made there.
EVERYTHING = [Part(table) for table in TABLES]

_TABLES = {table.name: table for table in TABLES}
REGION = [
    # A quarter of its rows; updates of this column move rows in and out. REPLICA IDENTITY FULL, with a key.
    Part(_TABLES["full_with_key"], rename="Rows of one word", column="a", values=WORDS),
    Part(_TABLES["bag"], column="a", values=("1", "4")),  # REPLICA IDENTITY FULL, without a key
    Part(_TABLES["moments"], rename="instants"),
    Part(_TABLES["queue_a"]),  # truncated alone, and together with a table that is not here
]


def others(folder: Path) -> list[Place]:
    """Name two D1 files and a SurrealDB directory in a folder; walsync makes them."""
    return [
        D1File("everything", folder / "everything.sqlite", EVERYTHING),
        D1File("region", folder / "region.sqlite", REGION),
        SurrealDBDirectory("graph", folder / "graph", EVERYTHING),
    ]
