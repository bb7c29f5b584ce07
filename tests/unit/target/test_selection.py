import pytest
from conformance.stream import make_table, relation_of

from walsync.errors import ConfigurationError
from walsync.lsn import LSN
from walsync.relation import ReplicaIdentity
from walsync.row import UNCHANGED, Value, write_tuple
from walsync.source.table import Table
from walsync.target.selection import keep_change, keep_transaction, select
from walsync.target.settings import TargetSettings
from walsync.transaction.change import Change, Delete, Insert, Transaction, Truncate, Update

USERS = make_table("users", [("id", "integer"), ("region", "text"), ("on", "boolean")], identity=ReplicaIdentity.FULL)
POSTS = make_table("posts", [("id", "integer"), ("title", "text")], relid=16385)
OTHER = make_table("posts", [("id", "integer")], relid=16386, schema="other")
RELATION = relation_of(USERS)


def settings(**keys: object) -> TargetSettings:
    return TargetSettings.model_validate({"type": "test", "name": "weur", **keys})


def names(of: list[Table], **keys: object) -> dict[str, str]:
    return {one.table.qualified_name: ".".join(one.table.target_name) for one in select(settings(**keys), of)}


def row(*values: Value) -> bytes:
    return write_tuple(values)


def kept(change: Change, **match: object) -> Change | None:
    selected = {one.table.relid: one for one in select(settings(tables=["public.users"], match=match), [USERS, POSTS])}
    return keep_change(change, selected)


def test_a_table_gets_what_it_has_not_from_its_snapshot() -> None:
    selected = {one.table.relid: one for one in select(settings(), [USERS, POSTS])}
    posts = relation_of(POSTS)
    users_row, posts_row = Insert(RELATION, row(b"1", b"eu", b"t"), 1), Insert(posts, row(b"1", b"a"), 2)
    both = Truncate((RELATION, posts), cascade=False, restart_identity=False, lsn=3)
    transaction = Transaction(7, LSN(10), LSN(20), 0, (users_row, posts_row, both), 100)
    synced = {USERS.relid: LSN(10), POSTS.relid: LSN(11)}
    kept = keep_transaction(transaction, selected, synced)
    assert kept is not None
    assert kept.changes == (users_row, both._replace(relations=(RELATION,)))
    assert keep_transaction(transaction, selected, dict.fromkeys(synced, LSN(10))) is transaction
    assert keep_transaction(transaction, selected, dict.fromkeys(synced, LSN(11))) is None
    assert keep_transaction(transaction, selected, {}) is None


def test_a_target_without_tables_gets_all_of_them_schemas_beside_public_in_the_name() -> None:
    assert names([USERS, POSTS, OTHER]) == {
        "public.users": "users",
        "public.posts": "posts",
        "other.posts": "other__posts",
    }


def test_a_target_gets_the_tables_it_lists_and_a_table_before_its_schema() -> None:
    assert names([USERS, POSTS, OTHER], tables=["public.posts"]) == {"public.posts": "posts"}
    entries = ["public.*", {"table": "public.users", "rename": "people"}]
    assert names([USERS, POSTS, OTHER], tables=entries) == {"public.users": "people", "public.posts": "posts"}


def test_a_listed_table_that_the_source_does_not_publish_is_an_error() -> None:
    with pytest.raises(ConfigurationError) as caught:
        select(settings(tables=["public.absent"]), [USERS])
    assert caught.value.code == "WS1023"


def test_two_tables_of_one_name_are_an_error() -> None:
    with pytest.raises(ConfigurationError) as caught:
        names([USERS, POSTS], tables=["public.posts", {"table": "public.users", "rename": "posts"}])
    assert caught.value.code == "WS1025"


def test_names_that_differ_by_case_collide_where_the_target_ignores_case() -> None:
    class CaseBlind(TargetSettings):
        names_ignore_case = True

    shouted = make_table("POSTS", [("id", "integer")], relid=16390)
    assert len(names([POSTS, shouted])) == 2
    with pytest.raises(ConfigurationError) as caught:
        select(CaseBlind.model_validate({"type": "test", "name": "weur"}), [POSTS, shouted])
    assert caught.value.code == "WS1025"


@pytest.mark.parametrize("column", ["title", "absent"])
def test_matching_on_a_column_outside_the_identity_is_an_error(column: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        select(settings(tables=["public.posts"], match={column: "x"}), [USERS, POSTS])
    assert caught.value.code == "WS1024"


def test_a_match_is_part_of_the_definition() -> None:
    plain, eu, us = (select(settings(match=match), [USERS])[0] for match in ({}, {"region": "eu"}, {"region": "us"}))
    assert len({plain.definition, eu.definition, us.definition}) == 3


def test_only_matching_rows_arrive() -> None:
    here, there = row(b"1", b"eu", b"t"), row(b"2", b"us", b"t")
    assert kept(Insert(RELATION, here, 1), region="eu") == Insert(RELATION, here, 1)
    assert kept(Insert(RELATION, there, 1), region="eu") is None
    assert kept(Insert(RELATION, there, 1), region=["eu", "us"]) is not None
    assert kept(Delete(RELATION, there, 1), region="eu") is None
    assert kept(Insert(RELATION, row(b"1", None, b"t"), 1), region="eu") is None


def test_a_boolean_may_be_written_as_people_do() -> None:
    assert kept(Insert(RELATION, row(b"1", b"eu", b"t"), 1), on="true") is not None
    assert kept(Insert(RELATION, row(b"1", b"eu", b"f"), 1), on="t") is None


def test_a_row_that_leaves_is_deleted_and_one_that_enters_is_inserted() -> None:
    eu, us = row(b"1", b"eu", b"t"), row(b"1", b"us", b"t")
    assert kept(Update(RELATION, eu, us, 7), region="eu") == Delete(RELATION, eu, 7)
    assert kept(Update(RELATION, us, eu, 7), region="eu") == Insert(RELATION, eu, 7)
    assert kept(Update(RELATION, us, us, 7), region="eu") is None
    assert kept(Update(RELATION, eu, eu, 7), region="eu") == Update(RELATION, eu, eu, 7)


def test_a_row_whose_identity_did_not_change_matches_as_it_did() -> None:
    keyed = make_table("t", [("region", "text"), ("body", "text")], key=["region"], relid=5)
    relation = relation_of(keyed)
    selected = {5: select(settings(match={"region": "eu"}), [keyed])[0]}
    here = Update(relation, None, row(b"eu", UNCHANGED), 1)
    assert keep_change(here, selected) == here
    assert keep_change(Update(relation, None, row(b"us", UNCHANGED), 1), selected) is None


def test_a_truncate_reaches_the_tables_that_the_target_has() -> None:
    relations = (RELATION, relation_of(POSTS))
    change = Truncate(relations, cascade=False, restart_identity=False, lsn=1)
    assert kept(change, region="eu") == change._replace(relations=(RELATION,))
    assert kept(change._replace(relations=relations[1:])) is None
