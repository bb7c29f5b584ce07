"""Whatever is in a row, what is written of it is JSON, and the row can be read back from it."""

import json

from hypothesis import given
from hypothesis import strategies as st

from walsync import wal2json
from walsync.lsn import LSN
from walsync.relation import Column, Relation, ReplicaIdentity
from walsync.row import UNCHANGED, Value, write_tuple
from walsync.source.description import from_stream
from walsync.transaction.change import Insert, Transaction, Update

TEXT, NUMERIC, BOOLEAN, BYTEA = 25, 1700, 16, 17

text = st.text(st.characters(exclude_characters="\0", codec="utf-8")).map(str.encode)
number = st.from_regex(r"\A-?(0|[1-9][0-9]{0,60})(\.[0-9]{1,60})?(e[+-][0-9]{1,3})?\Z").map(
    str.encode
) | st.sampled_from([b"NaN", b"Infinity", b"-Infinity"])
values = {
    TEXT: text,
    NUMERIC: number,
    BOOLEAN: st.sampled_from([b"t", b"f"]),
    BYTEA: st.binary().map(lambda raw: b"\\x" + raw.hex().encode()),
}
column = st.sampled_from(sorted(values)).flatmap(
    lambda oid: st.tuples(st.just(oid), st.text(min_size=1), st.none() | st.just(UNCHANGED) | values[oid])
)
rows = st.lists(column, max_size=6)


def expected(oid: int, value: bytes | None) -> object:
    if value is None or (oid == NUMERIC and value[-1:].isalpha()):
        return None
    if oid == BOOLEAN:
        return value == b"t"
    return value.decode().removeprefix("\\x") if oid == BYTEA else value.decode()


@given(rows)
def test_a_row_can_be_read_back_from_what_is_written(row: list[tuple[int, str, Value]]) -> None:
    columns = tuple(Column(name, oid, -1, in_identity=False) for oid, name, _ in row)
    relation = Relation(1, "public", "t", ReplicaIdentity.DEFAULT, columns)
    raw = write_tuple([value for _, _, value in row])
    made = Transaction(7, LSN(1), LSN(2), 0, (Insert(relation, raw, 1), Update(relation, None, raw, 1)), 0)
    sent = [(name, expected(oid, value)) for oid, name, value in row if value is not UNCHANGED]
    for version in ("1", "2"):
        options = wal2json.parse([("format-version", version)])
        renderer = wal2json.Renderer(options, lambda of: from_stream(of, lambda _oid: None))
        records = [json.loads(record, parse_int=str, parse_float=str) for record in renderer.render(made)]
        if version == "1":
            written = [list(zip(c["columnnames"], c["columnvalues"], strict=True)) for c in records[0]["change"]]
        else:
            written = [[(each["name"], each["value"]) for each in record["columns"]] for record in records[1:-1]]
        assert written == [sent, sent]
