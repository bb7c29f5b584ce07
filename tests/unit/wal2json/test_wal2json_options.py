"""How options are read; tests/integration/test_wal2json.py asks the real plugin for its sentences."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from walsync.errors import ConfigurationError
from walsync.wal2json.lists import Pattern, read_names, read_patterns
from walsync.wal2json.options import Options, parse


def test_without_options_all_is_as_the_plugin_has_it() -> None:
    assert parse([]) == Options()


def test_a_truth_without_a_value_is_true_and_the_last_one_counts() -> None:
    assert parse([("include-xids", None)]).include_xids
    assert not parse([("include-xids", None), ("include-xids", "off")]).include_xids


def test_a_format_version_without_a_value_is_the_newest() -> None:
    assert parse([("format-version", None)]).format_version == 2


@pytest.mark.parametrize("name", ["nope", "include_xids", "__doc__", "shows-table", "filter_tables"])
def test_only_the_plugins_own_names_are_options(name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf'WS1030: option "{name}" = "\(null\)" is unknown'):
        parse([(name, None)])


def test_tables_are_filtered_first_and_added_then() -> None:
    options = parse([("add-tables", "public.*"), ("filter-tables", "*.secret")])
    shown = [options.shows_table(*name) for name in (("public", "t"), ("public", "secret"), ("other", "t"))]
    assert shown == [True, False, False]


def test_add_tables_without_a_value_adds_nothing() -> None:
    assert not parse([("add-tables", None)]).shows_table("public", "t")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.b", Pattern("a", "b")),
        ("*.b", Pattern(None, "b")),
        ("a.*", Pattern("a", None)),
        (r"\*.b", Pattern("*", "b")),
        (r"a.\*", Pattern("a", "*")),
        (r"a\.b.c.d", Pattern("a.b", "c.d")),
        (r"with\ space.com\,ma", Pattern("with space", "com,ma")),
    ],
)
def test_a_pattern_names_a_table(text: str, expected: Pattern) -> None:
    assert read_patterns(f" {text} , x.y") == [expected, Pattern("x", "y")]


@given(st.text())
def test_any_text_is_a_list_or_refused(text: str) -> None:
    try:
        names = read_names(text)
    except ValueError:
        return
    assert all(names)


@given(st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1)), min_size=1))
def test_an_escaped_name_comes_back_as_it_was(tables: list[tuple[str, str]]) -> None:
    def escape(name: str) -> str:
        return "".join(f"\\{character}" if character in ' \t\n\v\f\r"\\,.*' else character for character in name)

    text = ",".join(f"{escape(schema)}.{escape(table)}" for schema, table in tables)
    assert read_patterns(text) == [Pattern(*table) for table in tables]
