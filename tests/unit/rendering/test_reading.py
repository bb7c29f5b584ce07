"""Transactions for people, and which of them are shown."""

import re

import pytest
from conformance.stream import Source, make_table, transaction

from walsync.errors import ConfigurationError
from walsync.lsn import LSN
from walsync.pgoutput.message import LogicalMessage
from walsync.relation import ReplicaIdentity
from walsync.rendering.choice import Choice, ChosenRenderer
from walsync.rendering.formats import chosen, json_renderer, text_renderer
from walsync.rendering.reading import TextRenderer
from walsync.row import UNCHANGED
from walsync.transaction.change import Change, Transaction

USERS = make_table("users", [("id", "integer"), ("name", "text"), ("body", "text")])
ORDERS = make_table("orders", [("id", "integer"), ("status", "text")], relid=2, identity=ReplicaIdentity.FULL)
OTHER = make_table("t", [("id", "integer")], relid=3, schema="other")
SOURCE = Source([USERS, ORDERS, OTHER])
CHANGES: list[Change] = [
    SOURCE.insert(USERS, "1", "Ann", None),
    SOURCE.update(USERS, "2", "NULL", UNCHANGED, old=["1"]),
    SOURCE.update(ORDERS, "7", "done", old=["7", "new one"]),
    SOURCE.delete(USERS, "2"),
    SOURCE.truncate(USERS, OTHER),
]
ESCAPE = "\x1b"


def lines(*changes: Change, colour: bool = False, width: int = 60) -> list[str]:
    renderer = TextRenderer(colour=colour, width=width)
    return [record.decode() for record in renderer.render(transaction(0x200, *changes))]


def shown(*conditions: str, tables: tuple[str, ...] = ()) -> list[str]:
    """Name the changes that a choice shows by kind and id."""
    kept = Choice.parse(tables, conditions).keep(transaction(0x200, *CHANGES))
    return [] if kept is None else [f"{type(change).__name__} {CHANGES.index(change)}" for change in kept.changes]


def test_a_transaction_is_a_title_and_an_aligned_line_for_each_change() -> None:
    assert lines(*CHANGES) == [
        "0/1F8  xid 700  2000-01-01T00:00:00.000000Z",
        "  INSERT   public.users   id=1  name=Ann  body=NULL",
        '  UPDATE   public.users   id=1 → 2  name="NULL"  body=(unchanged)',
        '  UPDATE   public.orders  id=7  status="new one" → done',
        "  DELETE   public.users   id=2",
        "  TRUNCATE public.users",
        "  TRUNCATE other.t",
    ]


def test_colours_change_nothing_but_the_colours() -> None:
    coloured = lines(*CHANGES, colour=True)
    assert all(ESCAPE in line for line in coloured)
    assert [re.sub(r"\x1b\[\d+m", "", line).rstrip() for line in coloured] == lines(*CHANGES)


@pytest.mark.parametrize("dangerous", [f"{ESCAPE}]0;title\x07", "\x9b31m", "a\nDELETE", "\u202egnitirw", "\x7f"])
def test_a_value_cannot_command_the_terminal(dangerous: str) -> None:
    odd = make_table(f"t{dangerous}", [(f"c{dangerous}", "text")], (f"c{dangerous}",), relid=9)
    for line in lines(Source([odd]).insert(odd, dangerous)):
        assert line.isprintable(), line


def test_a_long_value_is_cut_and_its_length_told() -> None:
    insert = SOURCE.insert(USERS, "1", "x" * 61, "y" * 60)
    assert f"name={'x' * 60}… (61 characters)  body={'y' * 60}" in lines(insert)[1]
    assert f"name={'x' * 61}  body" in lines(insert, width=0)[1]


def test_messages_are_shown_with_their_prefix() -> None:
    message = LogicalMessage(transactional=True, lsn=LSN(1), prefix="audit", content=b"a b\xff")
    renderer = TextRenderer()
    [title, line] = renderer.render(transaction(0x200)._replace(messages=(message,), origin="eu"))
    assert title.decode().endswith("origin eu")
    assert line.decode() == '  MESSAGE    "a b\\\\xff"'.replace("MESSAGE  ", "MESSAGE  audit")
    assert list(renderer.render(Transaction.keepalive(LSN(7), 0))) == []


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (["id=1"], ["Insert 0", "Update 1", "Truncate 4"]),
        (["id = 2"], ["Update 1", "Delete 3", "Truncate 4"]),
        (["body=NULL"], ["Insert 0", "Truncate 4"]),
        (["name='NULL'"], ["Update 1", "Truncate 4"]),
        (["name=NULL"], ["Truncate 4"]),
        (["status=new one"], ["Update 2", "Truncate 4"]),
        (["status!=done", "id=7"], ["Update 2", "Truncate 4"]),
        (["name!=Ann"], ["Update 1", "Truncate 4"]),
        (["nothing=1"], ["Truncate 4"]),
    ],
)
def test_a_condition_shows_rows_that_match_before_or_after(conditions: list[str], expected: list[str]) -> None:
    assert shown(*conditions) == expected


def test_tables_are_chosen_by_name_or_schema() -> None:
    assert shown(tables=("public.orders",)) == ["Update 2"]
    assert shown("id=8", tables=("public.orders",)) == []
    kept = Choice.parse(("other.*",), ()).keep(transaction(0x200, *CHANGES))
    assert kept is not None
    [truncate] = kept.changes
    assert truncate == SOURCE.truncate(OTHER)._replace(lsn=truncate.lsn)


def test_a_choice_without_words_shows_everything_and_one_that_hides_all_shows_no_title() -> None:
    whole = transaction(0x200, *CHANGES)
    assert Choice().keep(whole) is whole
    renderer = text_renderer({})
    assert chosen(renderer, (), ()) is renderer
    assert list(ChosenRenderer(renderer, Choice.parse((), ["id=12"])).render(transaction(0x200, CHANGES[0]))) == []


@pytest.mark.parametrize(("tables", "conditions"), [(["users"], []), ([], ["id"]), ([], ["=7"]), ([], [""])])
def test_what_is_no_table_and_no_condition_is_refused(tables: list[str], conditions: list[str]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        chosen(text_renderer({}), tables, conditions)
    assert refused.value.code == "WS1029"


def test_options_are_read_and_unknown_ones_refused() -> None:
    [record] = json_renderer({"numeric-data-types-as-string": "on"}).render(transaction(0x200, CHANGES[0]))
    assert b'"id":"1"' in record
    [_, line] = text_renderer({"width": "2"}).render(transaction(0x200, CHANGES[0]))
    assert b"name=An\xe2\x80\xa6" in line
    for make, options in (
        (json_renderer, {"width": "1"}),
        (json_renderer, {"numeric-data-types-as-string": "maybe"}),
        (text_renderer, {"width": "-1"}),
        (text_renderer, {"include-xids": "1"}),
    ):
        with pytest.raises(ConfigurationError) as refused:
            make(options)
        assert refused.value.code == "WS1028"
