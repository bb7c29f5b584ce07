"""Options of a table on SurrealDB: NULL or NONE, SCHEMAFULL, links, edges; in copy and stream, on every engine."""

import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cbor2 import CBORTag
from conformance.bench import START
from conformance.bench_surrealdb import SurrealDBBench
from conformance.bench_surrealdb_server import ServerBench
from conformance.stream import SLOT, TARGET_ID, Cell, Source, batch, make_table, writer
from fix_proxy import Proxy
from fix_surrealdb import VERSIONS, SurrealServer
from pydantic import ValidationError

from walsync.errors import TargetRefused
from walsync.lsn import LSN
from walsync.row import UNCHANGED
from walsync.source.table import ForeignKey, Table
from walsync.target.base import TableState
from walsync.target.surrealdb.settings import SurrealDBSettings
from walsync.target.surrealdb.target import SurrealDBTarget
from walsync.target.surrealdb.transport import open_engine

USERS = make_table("users", [("id", "integer"), ("name", "text")], relid=1)
REGIONS = make_table("regions", [("code", "text"), ("number", "integer")], ("code", "number"), relid=2)
_POSTS = make_table(
    "posts",
    [("id", "integer"), ("author", "integer"), ("region", "text"), ("part", "integer"), ("body", "text")],
    relid=3,
)
POSTS = replace(
    _POSTS,
    foreign_keys=(
        ForeignKey(("author",), USERS.relid, ("id",)),
        ForeignKey(("part", "region"), REGIONS.relid, ("number", "code")),
    ),
)
_FOLLOWS = make_table(
    "follows", [("a", "integer"), ("b", "integer"), ("since", "text"), ("note", "text")], ("a", "b"), relid=4
)
FOLLOWS = replace(
    _FOLLOWS,
    foreign_keys=(ForeignKey(("a",), USERS.relid, ("id",)), ForeignKey(("b",), USERS.relid, ("id",))),
)
TABLES = (USERS, REGIONS, POSTS, FOLLOWS)
EDGE = {"table": "public.follows", "edge": {"in": "a", "out": "b"}}
LINKS = {"table": "public.posts", "links": {"author": "author", "place": ["region", "part"]}}


class Graph:
    """A database on one of the engines, and targets on it that differ in their options."""

    def __init__(self, bench: SurrealDBBench | ServerBench) -> None:
        self.bench = bench
        self.made: list[SurrealDBTarget] = []

    def target(self, *entries: Mapping[str, object], tables: Iterable[Table] = TABLES) -> SurrealDBTarget:
        named = {entry["table"] for entry in entries}
        others = [table.qualified_name for table in tables if table.qualified_name not in named]
        settings = self.bench.settings().model_dump()
        settings["password"] = "root"
        if isinstance(self.bench, SurrealDBBench):
            settings["username"] = settings["password"] = ""
        made = SurrealDBSettings(**{**settings, "tables": [*entries, *others]})
        opener = self.bench._open if isinstance(self.bench, SurrealDBBench) else open_engine
        self.made.append(SurrealDBTarget(made, SLOT, open_engine=opener))
        return self.made[-1]

    async def open(self, *entries: Mapping[str, object], tables: Iterable[Table] = TABLES) -> SurrealDBTarget:
        target = self.target(*entries, tables=tables)
        await target.register(TARGET_ID, writer(), LSN(START))
        await target.claim(writer())
        await target.prepare(list(tables))
        return target

    def ask(self, sql: str) -> Any:  # noqa: ANN401
        (found,) = (self.bench.read if isinstance(self.bench, SurrealDBBench) else self.bench.execute)(sql)
        return found


def embedded(request: pytest.FixtureRequest) -> SurrealDBBench:
    directory: Path = request.getfixturevalue("tmp_path")
    return SurrealDBBench(f"surrealkv://{directory}/graph")


def server(request: pytest.FixtureRequest) -> ServerBench:
    servers: Callable[[str], SurrealServer] = request.getfixturevalue("surrealdb_servers")
    new_proxy: Callable[[str, int], Proxy] = request.getfixturevalue("new_proxy")
    found = servers(request.param)
    return ServerBench(found, new_proxy(found.host, found.port))


@pytest.fixture(params=["embedded", *VERSIONS])
async def graph(request: pytest.FixtureRequest) -> AsyncIterator[Graph]:
    bench = embedded(request) if request.param == "embedded" else server(request)
    made = Graph(bench)
    async with AsyncExitStack() as stack:
        if isinstance(bench, SurrealDBBench):
            await stack.enter_async_context(bench)
        yield made
        for target in made.made:
            await target.close()


async def lines(*rows: str) -> AsyncIterator[bytes]:
    yield "".join(f"{row}\n" for row in rows).encode()


def state_of(table: Table) -> TableState:
    return TableState(table.relid, "walsync", table.definition, LSN(START))


def record(table: str, key: object) -> CBORTag:
    return CBORTag(8, (f"public.{table}", key))


class Stream:
    """Writes one transaction after the other."""

    def __init__(self, target: SurrealDBTarget, at: int = START) -> None:
        self.source = Source(TABLES)
        self.target = target
        self.at = at

    async def write(self, *changes: Any) -> None:
        await self.target.write(batch(self.at, self.at + 10, *changes))
        self.at += 10


def user(source: Source, number: int) -> Any:  # noqa: ANN401
    return source.insert(USERS, str(number), f"user {number}")


async def test_null_is_a_field_with_null_or_no_field_as_the_table_says(graph: Graph) -> None:
    entries = [{"table": "public.users", "nulls": "none"}, {"table": "public.posts", "nulls": "none"}]
    target = await graph.open(*entries)
    await target.copy(USERS, state_of(USERS), lines("1\t\\N", "2\tb"))
    stream = Stream(target)
    source = stream.source
    await stream.write(source.insert(USERS, "3", None), source.insert(FOLLOWS, "1", "2", None, None))
    await stream.write(source.insert(POSTS, "1", "1", None, "5", "body"), source.update(USERS, "2", None))
    assert graph.ask("SELECT * FROM `public.users`") == [{"id": record("users", n)} for n in (1, 2, 3)]
    assert graph.ask("SELECT since, note FROM `public.follows`") == [{"since": None, "note": None}]
    await stream.write(source.update(POSTS, "1", None, "eu", None, UNCHANGED))
    assert graph.ask("SELECT * FROM `public.posts`") == [{"id": record("posts", 1), "region": "eu", "body": "body"}]
    await stream.write(source.update(USERS, "1", "back"))
    assert graph.ask("SELECT VALUE name FROM `public.users`:1") == ["back"]


async def test_links_lead_to_the_records_of_the_other_table(graph: Graph) -> None:
    target = await graph.open(LINKS)
    await target.copy(REGIONS, state_of(REGIONS), lines("eu\t5", "us\t6"))
    await target.copy(POSTS, state_of(POSTS), lines("1\t7\teu\t5\tfirst", "2\t\\N\teu\t\\N\tsecond"))
    stream = Stream(target)
    source = stream.source
    await stream.write(user(source, 7), user(source, 8), source.insert(POSTS, "3", "8", "us", "6", "third"))
    place = record("regions", ("eu", 5))
    first = {"id": record("posts", 1), "author": record("users", 7), "region": "eu", "part": 5, "place": place}
    assert graph.ask("SELECT * OMIT body FROM `public.posts`:1") == [first]
    assert graph.ask("SELECT VALUE [author, place, region] FROM `public.posts`:2") == [[None, None, "eu"]]
    assert graph.ask("SELECT VALUE [author.name, place.number] FROM `public.posts`:3") == [["user 8", 6]]
    await stream.write(source.update(POSTS, "1", "8", "us", "6", UNCHANGED))
    assert graph.ask("SELECT VALUE [author.name, place.code, body] FROM `public.posts`:1") == [
        ["user 8", "us", "first"]
    ]
    await stream.write(source.update(POSTS, "1", "8", UNCHANGED, UNCHANGED, "new"))
    assert graph.ask("SELECT VALUE [place.code, body] FROM `public.posts`:1") == [["us", "new"]]
    with pytest.raises(TargetRefused) as refused:
        await stream.write(source.update(POSTS, "1", "8", UNCHANGED, "5", "new"))
    assert refused.value.code == "WS4615"


async def test_a_link_may_stand_beside_its_column(graph: Graph) -> None:
    target = await graph.open({"table": "public.posts", "links": {"writer": "author"}})
    stream = Stream(target)
    await stream.write(stream.source.insert(POSTS, "1", "7", None, None, None))
    assert graph.ask("SELECT VALUE [author, writer] FROM `public.posts`") == [[7, record("users", 7)]]


async def test_rows_are_edges_and_follow_their_ends(graph: Graph) -> None:
    target = await graph.open(EDGE)
    await target.copy(FOLLOWS, state_of(FOLLOWS), lines("1\t2\tmonday\tlong", "2\t3\ttuesday\t\\N"))
    await target.copy(USERS, state_of(USERS), lines("1\ta", "2\tb", "3\tc"))
    assert followed(graph) == {1: [2], 2: [3], 3: []}
    stream = Stream(target)
    source = stream.source
    await stream.write(source.insert(FOLLOWS, "3", "1", "wednesday", None))
    await stream.write(source.update(FOLLOWS, "1", "3", "thursday", UNCHANGED, old=["1", "2"]))
    assert followed(graph) == {1: [3], 2: [3], 3: [1]}
    edge = {"id": record("follows", (1, 3)), "in": record("users", 1), "out": record("users", 3), "a": 1, "b": 3}
    assert graph.ask("SELECT * OMIT since FROM `public.follows`:[1, 3]") == [{**edge, "note": "long"}]
    await stream.write(source.update(FOLLOWS, "1", "3", "friday", UNCHANGED))
    assert graph.ask("SELECT VALUE [since, note] FROM `public.follows`:[1, 3]") == [["friday", "long"]]
    await stream.write(
        source.delete(FOLLOWS, "2", "3"), source.delete(FOLLOWS, "1", "3"), source.delete(USERS, "3"),
        source.update(FOLLOWS, "2", "1", "x", "y", old=["3", "1"]),
    )  # fmt: skip
    assert followed(graph) == {1: [], 2: [1]}
    await stream.write(source.delete(USERS, "2"), user(source, 2), source.truncate(FOLLOWS), user(source, 4))
    assert followed(graph) == {1: [], 2: [], 4: []}
    await stream.write(source.insert(FOLLOWS, "4", "4", None, None), source.insert(FOLLOWS, "4", "1", None, None))
    assert followed(graph) == {1: [], 2: [], 4: [1, 4]}


def followed(graph: Graph) -> dict[int, list[int]]:
    """Walk from every user to the users it follows."""
    found = graph.ask("SELECT id, ->`public.follows`->`public.users`.id AS ends FROM `public.users`")
    return {row["id"].value[1]: sorted(end.value[1] for end in row["ends"]) for row in found}


async def test_an_end_and_its_key_may_change_in_one_transaction(graph: Graph) -> None:
    target = await graph.open(EDGE)
    stream = Stream(target)
    source = stream.source
    rows = [user(source, number) for number in (1, 2)]
    await stream.write(*rows, source.insert(FOLLOWS, "1", "2", "s", "kept"))
    await stream.write(
        source.update(USERS, "9", "user 9", old=["1"]),
        source.update(FOLLOWS, "9", "2", "s", UNCHANGED, old=["1", "2"]),
    )
    assert followed(graph) == {2: [], 9: [2]}
    assert graph.ask("SELECT VALUE note FROM `public.follows`") == ["kept"]


async def test_edges_stay_when_their_ends_are_copied_again(graph: Graph) -> None:
    target = await graph.open(EDGE)
    for _ in range(2):
        await target.copy(USERS, state_of(USERS), lines("1\ta", "2\tb", "3\tc"))
        await target.copy(
            FOLLOWS, state_of(FOLLOWS), lines("1\t2\tmonday\tlong", "2\t3\ttuesday\t\\N", "3\t3\t\\N\t\\N")
        )
        assert followed(graph) == {1: [2], 2: [3], 3: [3]}
    await target.copy(USERS, state_of(USERS), lines("1\tnew", "2\tb", "3\tc", "4\td"))
    assert followed(graph) == {1: [2], 2: [3], 3: [3], 4: []}
    assert graph.ask("SELECT VALUE name FROM `public.users`:1") == ["new"]
    await target.copy(FOLLOWS, state_of(FOLLOWS), lines("4\t1\tmonday\tlong"))
    assert followed(graph) == {1: [], 2: [], 3: [], 4: [1]}


async def test_a_copy_made_with_other_options_is_none(graph: Graph) -> None:
    first = await graph.open()
    for table in TABLES:
        await first.copy(table, state_of(table), lines())
    names = {table.qualified_name for table in TABLES}
    assert set(await first.table_states()) == names
    second = graph.target(LINKS, {"table": "public.users", "nulls": "none"})
    await second.claim(writer())
    await second.prepare(TABLES)
    assert set(await second.table_states()) == names - {"public.posts", "public.users"}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"table": "public.posts", "links": {"to": "body"}}, "no foreign key"),
        ({"table": "public.posts", "links": {"to": ["region"]}}, "no foreign key"),
        ({"table": "public.posts", "links": {"body": "author"}}, "there is a column of this name"),
        ({"table": "public.posts", "links": {"id": "author"}}, "there is a column of this name"),
        ({"table": "public.posts", "edge": {"in": "author", "out": ["region", "part"]}}, "may be NULL"),
        ({"table": "public.users", "edge": {"in": "id", "out": "name"}}, "no foreign key"),
    ],
)
async def test_options_that_a_table_cannot_have_are_found(graph: Graph, entry: dict[str, object], message: str) -> None:
    target = graph.target(entry)
    (finding,) = await target.compare(TABLES)
    assert finding.code == "WS4614"
    assert message in finding.message


async def test_a_link_to_what_is_no_key_or_not_there_is_found(graph: Graph) -> None:
    other = replace(POSTS, foreign_keys=(ForeignKey(("author",), USERS.relid, ("name",)),))
    absent = replace(POSTS, foreign_keys=(ForeignKey(("author",), 99, ("id",)),))
    typed = replace(POSTS, foreign_keys=(ForeignKey(("region",), USERS.relid, ("id",)),))
    for table, column in ((other, "author"), (absent, "author"), (typed, "region")):
        target = graph.target({"table": "public.posts", "links": {"to": column}})
        (finding,) = await target.compare([USERS, table])
        assert finding.code == "WS4614"


async def test_a_table_that_is_there_as_something_else_is_found(graph: Graph) -> None:
    await graph.open()
    edges = graph.target(EDGE, {"table": "public.users", "schemafull": True})
    found = {(one.table, one.code) for one in await edges.compare(TABLES)}
    assert found == {("public.follows", "WS4607"), ("public.users", "WS4616")}


def test_an_edge_has_two_ends() -> None:
    keys = {"name": "graph", "type": "surrealdb", "url": "mem://", "namespace": "a", "database": "b"}
    for edge in ({"in": "a"}, {"in": "a", "out": "b", "through": "c"}):
        with pytest.raises(ValidationError) as refused:
            SurrealDBSettings.model_validate({**keys, "tables": [{"table": "public.follows", "edge": edge}]})
        assert refused.value.errors()[0]["ctx"]["code"] == "WS1055"


CELLS: list[tuple[str, Cell]] = [
    ("integer", "7"),
    ("boolean", "t"),
    ("double precision", "NaN"),
    ("numeric", "1.5"),
    ("numeric", "NaN"),
    ("bytea", "\\x00ff"),
    ("jsonb", '{"a": [1, {"b": null}], "c": {"d": 1.5}}'),
    ("jsonb", '[[{"a": 1}], 2]'),
    ("jsonb", "null"),
    ("text", "2024-01-01"),
]


@pytest.mark.parametrize("nulls", ["keep", "none"])
async def test_a_schemafull_table_keeps_every_value(graph: Graph, nulls: str) -> None:
    columns = [("id", "integer"), *((f"c{number}`.x", kind) for number, (kind, _) in enumerate(CELLS))]
    full, plain = make_table("full", columns, relid=11), make_table("plain", columns, relid=12)
    entry = {"table": "public.full", "schemafull": True, "nulls": nulls}
    target = await graph.open(entry, {"table": "public.plain", "nulls": nulls}, tables=[full, plain])
    source = Source([full, plain])
    values = [cell for _, cell in CELLS]
    rows = [source.insert(table, "1", *values) for table in (full, plain)]
    rows += [source.insert(table, "2", *[None] * len(CELLS)) for table in (full, plain)]
    await target.write(batch(START, 200, *rows))
    for table in (full, plain):
        await target.copy(table, state_of(table), lines("3" + "\t\\N" * len(CELLS)))
    await target.write(batch(200, 300, *rows))
    found, expected = (graph.ask(f"SELECT * OMIT id FROM `public.{name}` ORDER BY id") for name in ("full", "plain"))
    assert repr(found) == repr(expected)
    assert len(found) == 3
    described = graph.ask("INFO FOR TABLE `public.full` STRUCTURE")["fields"]
    kinds = {one["name"].strip("`"): set(re.findall(r"\w+", one["kind"])) for one in described}
    assert "int" in kinds["c0\\`.x"]
    assert {"decimal", "string"} <= kinds["c3\\`.x"]


async def test_a_table_whose_keys_are_moments_of_any_year_can_be_read(graph: Graph) -> None:
    moments = ["4713-01-01 00:00:00+00 BC", "2024-01-01 00:00:00+00", "10000-01-01 00:00:00+00", "infinity"]
    table = make_table("moments", [("at", "timestamp with time zone")], ("at",), relid=13)
    target = await graph.open(tables=[table])
    await target.copy(table, state_of(table), lines(moments[0]))
    source = Source([table])
    await target.write(batch(START, 200, *(source.insert(table, moment) for moment in moments)))
    assert len(graph.ask("SELECT * FROM `public.moments`")) == len(moments)
    await target.write(batch(200, 300, source.delete(table, moments[2])))
    ids = graph.ask("SELECT VALUE id FROM `public.moments`")
    assert {type(one.value[1][0]) for one in ids} == {str, CBORTag}
    assert len(ids) == len(moments) - 1
