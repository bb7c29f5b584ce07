"""What a real server prints goes as CBOR into SurrealDB's own engine, and comes back as the same text."""

import random
from collections.abc import AsyncIterator, Sequence
from random import Random
from typing import Any

import cbor2
import pytest
from cbor2 import CBORTag
from property.value_families import FAMILIES, Family, describe, printed, texts
from surrealdb._surrealdb_ext import AsyncEmbeddedDB

from walsync.pgtext.array import read_array
from walsync.postgres import Connection
from walsync.row import UNCHANGED, Value
from walsync.source.pgtype import PgType
from walsync.target.surrealdb.values import ValueForm, record_id, value_form

BYTEA = PgType(17, "bytea")
MEGABYTE = 1 << 20


class Engine:
    """The engine behind the wire, spoken to as the target does."""

    def __init__(self, database: AsyncEmbeddedDB) -> None:
        self._database = database

    async def query(self, program: str, **variables: object) -> list[Any]:
        answer = await self._call("query", program, variables)
        assert [each for each in answer if each["status"] != "OK"] == []
        return [each["result"] for each in answer]

    async def use(self) -> None:
        await self._call("use", "app", "app")

    async def _call(self, method: str, *parameters: object) -> Any:  # noqa: ANN401 - what CBOR holds
        request = cbor2.dumps({"id": "1", "method": method, "params": list(parameters)})
        return cbor2.loads(await self._database.execute(request))["result"]


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    database = AsyncEmbeddedDB("mem://")
    await database.connect()
    engine = Engine(database)
    await engine.use()
    yield engine
    await database.close()


async def store(engine: Engine, objects: Sequence[object]) -> list[Any]:
    rows = [{"id": CBORTag(8, ["t", i]), "v": each} for i, each in enumerate(objects)]
    await engine.query("INSERT INTO t $rows RETURN NONE", rows=rows)
    found = (await engine.query("SELECT id, v FROM t ORDER BY id"))[0]
    assert len(found) == len(objects)
    return [row["v"] for row in found]


def encode(form: ValueForm, value: Value) -> object:
    assert value is not UNCHANGED
    return form.encode(value)


@pytest.mark.parametrize("family", [each for each in FAMILIES if each.name != "json[]"], ids=lambda f: f.name)
async def test_every_value_comes_back_as_the_same_text(
    family: Family, values_session: Connection, engine: Engine
) -> None:
    values = texts(values_session, family, Random(random.getrandbits(64)))
    form = value_form(f"public.t.{family.name}", describe(values_session, family.name))
    found = [form.decode(each) for each in await store(engine, [encode(form, value) for value in values])]
    if family.name == "json":
        check_documents(values_session, values, found)
    else:
        assert found == values


def check_documents(session: Connection, values: Sequence[Value], found: Sequence[bytes | None]) -> None:
    """Let the server tell that what came back is the same document: json keeps what jsonb keeps."""
    changed = [(value, each) for value, each in zip(values, found, strict=True) if value != each]
    originals = [value.decode() for value, _ in changed if isinstance(value, bytes)]
    assert len(originals) == len(changed)
    assert printed(session, "jsonb", [*originals]) == [each for _, each in changed]


async def test_arrays_of_json_come_back_as_the_same_documents(values_session: Connection, engine: Engine) -> None:
    family = next(each for each in FAMILIES if each.name == "json[]")
    values = texts(values_session, family, Random(random.getrandbits(64)))
    form = value_form("public.t.v", describe(values_session, family.name))
    found = [form.decode(each) for each in await store(engine, [encode(form, value) for value in values])]
    pairs = [
        (before, after)
        for value, each in zip(values, found, strict=True)
        if isinstance(value, bytes) and each is not None and value != each
        for before, after in zip(elements(value), elements(each), strict=True)
    ]
    assert pairs
    check_documents(values_session, [before for before, _ in pairs], [after for _, after in pairs])


def elements(literal: bytes) -> list[bytes | None]:
    items = read_array(literal.decode()).items
    return [None if item is None else item.encode() for item in items]


async def test_a_megabyte_of_bytea_passes(engine: Engine) -> None:
    form = value_form("public.t.v", BYTEA)
    value = b"\\x" + random.randbytes(MEGABYTE).hex().encode()
    assert [form.decode(each) for each in await store(engine, [form.encode(value)])] == [value]


KEYS: dict[str, list[bytes]] = {
    "bigint": [b"0", b"-9223372036854775808", b"9223372036854775807", b"42"],
    "text": [b"", b"42", b"t:42", "ä \x01⟩`\n😀".encode(), b"'" * 1000],
    "uuid": [b"00112233-4455-6677-8899-aabbccddeeff", b"00000000-0000-0000-0000-000000000000"],
    "boolean": [b"t", b"f"],
    "numeric": [b"1", b"1.5", b"-0.001", b"NaN", b"9" * 40],
    "double precision": [b"0", b"-0", b"1", b"1.5", b"NaN", b"Infinity", b"-Infinity", b"5e-324"],
    "bytea": [b"\\x", b"\\x00", b"\\x00ff", b"\\xff"],
    "timestamp with time zone": [b"2024-01-01 00:00:00.000001+00", b"infinity", b"0044-03-15 00:00:00+00 BC"],
    "interval": [b"1 mon", b"30 days", b"00:00:01"],
    "jsonb": [b"null", b'"a"', b'{"a": [1, null]}', b"[]"],
    "date": [b"2024-01-01", b"infinity"],
}


@pytest.mark.parametrize("name", KEYS)
async def test_every_key_names_a_record_of_its_own(name: str, engine: Engine) -> None:
    form = value_form("public.t.k", PgType(0, name))
    keys = KEYS[name]
    for key in keys:
        await engine.query(
            "UPSERT $id CONTENT {k: $k} RETURN NONE", id=record_id("t", [form], [key]), k=form.encode(key)
        )
    for key in keys:
        (found,) = await engine.query("SELECT VALUE k FROM $id", id=record_id("t", [form], [key]))
        assert [form.decode(each) for each in found] == [key]
    assert len((await engine.query("SELECT VALUE id FROM t"))[0]) == len(keys)


async def test_a_key_of_several_columns_is_an_array_in_key_order(engine: Engine) -> None:
    forms = [value_form("public.t.k", PgType(0, name)) for name in ("text", "numeric", "bigint")]
    await engine.query("UPSERT $id RETURN NONE", id=record_id("t", forms, [b"a", b"1.10", b"-7"]))
    (found,) = await engine.query("SELECT VALUE id FROM t")
    assert found == [CBORTag(8, ("t", ("a", CBORTag(10, "1.1"), -7)))]
