from collections.abc import Sequence

import pytest
from fix_postgres import Database

from walsync.errors import SourceRefused
from walsync.relation import ReplicaIdentity
from walsync.source import catalogue, requirements
from walsync.source.catalogue import Catalogue
from walsync.source.session import open_session
from walsync.source.settings import TableSettings
from walsync.source.table import ForeignKey, Table


def load(source: Database, *tables: str | TableSettings) -> Catalogue:
    wanted = [table if isinstance(table, TableSettings) else TableSettings(table=table) for table in tables]
    session = open_session(source.dsn, "test")
    try:
        return catalogue.load(session, wanted)
    finally:
        session.close()


def table(source: Database, name: str | TableSettings) -> Table:
    found = load(source, name)
    assert not found.problems
    return found.tables[0]


def problems(source: Database, *tables: str | TableSettings) -> Sequence[SourceRefused]:
    found = load(source, *tables)
    session = open_session(source.dsn, "test")
    try:
        return [*found.problems, *requirements.of_tables(session, found.tables)]
    finally:
        session.close()


def test_types_are_named_with_their_schema_and_followed_to_their_base(any_source: Database) -> None:
    any_source.execute(
        """
        CREATE SCHEMA app;
        CREATE TYPE app.mood AS ENUM ('sad', 'it''s ok');
        CREATE DOMAIN app.code AS numeric(6, 2) CHECK (VALUE > 0);
        CREATE DOMAIN app."Inner Code" AS app.code;
        CREATE TYPE app.pair AS (a int, b text);
        CREATE TABLE app.t (id bigint PRIMARY KEY, mood app.mood, moods app.mood[], code app."Inner Code",
            pair app.pair, short varchar(10), fixed char(3), bits bit(4), span tsrange);
        """
    )
    columns = {column.name: column for column in table(any_source, "app.t").columns}
    assert [(c.type_name, c.base_type_name, c.type_kind) for c in columns.values()] == [
        ("bigint", "bigint", "b"),
        ("app.mood", "app.mood", "e"),
        ("app.mood[]", "app.mood[]", "b"),
        ('app."Inner Code"', "numeric", "d"),
        ("app.pair", "app.pair", "c"),
        ("character varying(10)", "character varying", "b"),
        ("character(3)", "bpchar", "b"),
        ("bit(4)", '"bit"', "b"),
        ("tsrange", "tsrange", "r"),
    ]
    assert columns["mood"].enum_labels == ("sad", "it's ok")


def test_generated_columns_are_known_and_not_published(any_source: Database) -> None:
    any_source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED, d int DEFAULT 7)"
    )
    found = table(any_source, "public.t")
    assert found.published == ("id", "d")
    assert [(c.name, c.generated, c.default) for c in found.columns] == [
        ("id", "", None),
        ("twice", "s", "(id * 2)"),
        ("d", "", "7"),
    ]


def test_dropped_columns_are_gone_and_order_is_the_tables(source: Database) -> None:
    source.execute("CREATE TABLE t (z int, gone int, b int, a int, PRIMARY KEY (a, z)); ALTER TABLE t DROP COLUMN gone")
    found = table(source, "public.t")
    assert [column.name for column in found.columns] == ["z", "b", "a"]
    assert found.key == found.primary_key == ("z", "a")


def test_the_identity_may_be_an_index(source: Database) -> None:
    source.execute(
        """
        CREATE TABLE t (id int PRIMARY KEY, b int NOT NULL, a int NOT NULL, more int);
        CREATE UNIQUE INDEX ba ON t (b, a) INCLUDE (more);
        ALTER TABLE t REPLICA IDENTITY USING INDEX ba;
        """
    )
    found = table(source, "public.t")
    assert found.replica_identity is ReplicaIdentity.INDEX
    assert found.key == found.identity == ("b", "a")
    assert found.primary_key == ("id",)


def test_under_full_the_key_is_the_primary_key_or_none(source: Database) -> None:
    source.execute("CREATE TABLE t (id int PRIMARY KEY, a int); ALTER TABLE t REPLICA IDENTITY FULL")
    source.execute("CREATE TABLE u (id int, a int); ALTER TABLE u REPLICA IDENTITY FULL")
    assert (table(source, "public.t").identity, table(source, "public.t").key) == (("id", "a"), ("id",))
    assert (table(source, "public.u").identity, table(source, "public.u").key) == (("id", "a"), ())


def test_a_deferrable_key_is_no_identity_as_the_server_sees_it(any_source: Database) -> None:
    any_source.execute("CREATE TABLE t (id int PRIMARY KEY DEFERRABLE)")
    assert [problem.code for problem in problems(any_source, "public.t")] == ["WS2203"]
    any_source.execute("ALTER TABLE t REPLICA IDENTITY FULL")
    assert problems(any_source, "public.t") == []
    assert table(any_source, "public.t").key == (), "two rows may have one key for a moment"


def test_an_index_that_was_dropped_is_no_identity(source: Database) -> None:
    source.execute("CREATE TABLE t (id int NOT NULL); CREATE UNIQUE INDEX i ON t (id)")
    source.execute("ALTER TABLE t REPLICA IDENTITY USING INDEX i; DROP INDEX i")
    assert [problem.code for problem in problems(source, "public.t")] == ["WS2203"]


def test_a_partitioned_table_knows_all_its_leaves(any_source: Database) -> None:
    any_source.execute(
        """
        CREATE TABLE root (id int PRIMARY KEY) PARTITION BY RANGE (id);
        CREATE TABLE low PARTITION OF root FOR VALUES FROM (0) TO (10);
        CREATE TABLE high PARTITION OF root FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (id);
        CREATE TABLE higher PARTITION OF high FOR VALUES FROM (10) TO (15);
        """
    )
    found = load(any_source, "public.*").tables
    assert [one.name for one in found] == ["root"]
    oids = any_source.execute("SELECT oid::bigint FROM pg_class WHERE relname IN ('low', 'higher') ORDER BY 1")
    assert found[0].is_partitioned
    assert [(leaf,) for leaf in found[0].leaves] == oids
    assert found[0].weak_leaves == ()


def test_a_partition_is_held_to_the_identity_of_its_root(any_source: Database) -> None:
    any_source.execute(
        """
        CREATE TABLE root (id int, a text) PARTITION BY RANGE (id);
        CREATE TABLE low PARTITION OF root FOR VALUES FROM (0) TO (10);
        CREATE TABLE high PARTITION OF root FOR VALUES FROM (10) TO (20);
        ALTER TABLE root REPLICA IDENTITY FULL;
        ALTER TABLE high REPLICA IDENTITY FULL;
        """
    )
    found = problems(any_source, "public.root")
    assert [problem.code for problem in found] == ["WS2203"]
    assert "partition public.low" in found[0].message
    any_source.execute("ALTER TABLE low REPLICA IDENTITY FULL")
    assert problems(any_source, "public.root") == []
    any_source.execute("CREATE PUBLICATION p FOR TABLE root WITH (publish_via_partition_root = true)")
    any_source.execute("INSERT INTO root VALUES (1, 'a'), (11, 'b'); UPDATE root SET a = 'c'")


def test_a_partition_beside_its_root_is_refused(source: Database) -> None:
    source.execute("CREATE TABLE root (id int PRIMARY KEY) PARTITION BY RANGE (id)")
    source.execute("CREATE TABLE leaf PARTITION OF root FOR VALUES FROM (0) TO (10)")
    assert [problem.code for problem in problems(source, "public.root", "public.leaf")] == ["WS2208"]
    assert [problem.code for problem in problems(source, "public.*", "public.leaf")] == ["WS2208"]
    assert table(source, "public.leaf").name == "leaf"


def test_a_partition_whose_root_is_elsewhere_is_a_table_of_its_schema(source: Database) -> None:
    source.execute("CREATE SCHEMA app; CREATE TABLE root (id int PRIMARY KEY) PARTITION BY RANGE (id)")
    source.execute("CREATE TABLE app.leaf PARTITION OF root FOR VALUES FROM (0) TO (10)")
    assert [one.qualified_name for one in load(source, "app.*").tables] == ["app.leaf"]
    assert [one.qualified_name for one in load(source, "app.*", "public.*").tables] == ["public.root"]


def test_a_table_s_own_entry_goes_before_its_schema_s(source: Database) -> None:
    source.execute("CREATE TABLE a (id int PRIMARY KEY, b int); CREATE TABLE c (id int PRIMARY KEY)")
    found = load(source, "public.*", TableSettings(table="public.a", columns=("id",), where="id > 0")).tables
    assert {one.name: (one.published, one.row_filter) for one in found} == {
        "a": (("id",), "id > 0"),
        "c": (("id",), None),
    }


def test_a_schema_gives_only_what_can_be_published(source: Database) -> None:
    source.execute(
        """
        CREATE TABLE "T" (id int PRIMARY KEY);
        CREATE UNLOGGED TABLE u (id int PRIMARY KEY);
        CREATE VIEW v AS SELECT 1 AS id;
        CREATE MATERIALIZED VIEW m AS SELECT 1 AS id;
        """
    )
    found = load(source, "public.*")
    assert [one.qualified_name for one in found.tables] == ["public.T"]
    assert found.problems == []


@pytest.mark.parametrize(("name", "code"), [("v", "a view"), ("m", "a materialized view"), ("u", "an unlogged table")])
def test_what_is_not_in_the_wal_is_refused_by_its_kind(source: Database, name: str, code: str) -> None:
    source.execute(
        "CREATE VIEW v AS SELECT 1; CREATE MATERIALIZED VIEW m AS SELECT 1; CREATE UNLOGGED TABLE u (id int)"
    )
    found = load(source, f"public.{name}").problems
    assert [problem.code for problem in found] == ["WS2202"]
    assert code in found[0].message


def test_a_name_is_taken_as_the_catalogue_spells_it(source: Database) -> None:
    source.execute('CREATE TABLE "Order.s" (id int PRIMARY KEY)')
    assert table(source, 'public."Order.s"').name == "Order.s"
    assert [problem.code for problem in load(source, 'public."order.s"').problems] == ["WS2201"]


def test_a_filter_may_use_the_identity_only(source: Database) -> None:
    source.execute("CREATE TABLE t (a int, b int, c text, PRIMARY KEY (a, b))")
    bad = TableSettings(table="public.t", where="a > 0 OR c = 'x'")
    assert problems(source, TableSettings(table="public.t", where="a > 0 AND b % 2 = 0")) == []
    assert [problem.code for problem in problems(source, bad)] == ["WS2204"]
    assert "uses c," in problems(source, bad)[0].message
    source.execute("ALTER TABLE t REPLICA IDENTITY FULL")
    assert problems(source, bad) == []


def test_foreign_keys_name_both_sides_in_one_order(any_source: Database) -> None:
    any_source.execute(
        """
        CREATE TABLE a (x int, y text, z int UNIQUE, PRIMARY KEY (y, x));
        CREATE TABLE b (id int PRIMARY KEY, p int, q text, r int REFERENCES a (z),
            FOREIGN KEY (p, q) REFERENCES a (x, y) ON DELETE CASCADE);
        """
    )
    a, b = table(any_source, "public.a"), table(any_source, "public.b")
    assert set(b.foreign_keys) == {ForeignKey(("p", "q"), a.relid, ("x", "y")), ForeignKey(("r",), a.relid, ("z",))}
    assert a.foreign_keys == ()
