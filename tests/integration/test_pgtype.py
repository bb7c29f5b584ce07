from fix_postgres import Database

from walsync.source.pgtype import Kind, PgType, load

INT4 = PgType(23, "integer")
TEXT = PgType(25, "text")


def load_one(source: Database, name: str) -> PgType:
    oid = source.execute("SELECT %s::regtype::oid::bigint", name)[0][0]
    connection = source.connect()
    with connection.cursor() as cursor:
        cursor.execute("SET search_path = ''")
    return load(connection, [oid])[oid]


def test_an_array_knows_its_element_and_delimiter(source: Database) -> None:
    assert load_one(source, "int4[]") == PgType(1007, "integer[]", Kind.ARRAY, INT4)
    boxes = load_one(source, "box[]")
    assert boxes.element is not None
    assert boxes.element.delimiter == ";"


def test_a_vector_of_the_catalogue_is_no_array(source: Database) -> None:
    assert load_one(source, "int2vector").kind is Kind.SCALAR


def test_a_range_knows_its_subtype_and_a_multirange_its_range(source: Database) -> None:
    multirange = load_one(source, "int4multirange")
    assert multirange.kind is Kind.MULTIRANGE
    assert multirange.element == PgType(3904, "int4range", Kind.RANGE, INT4)


def test_domains_are_resolved_wherever_they_stand(source: Database) -> None:
    source.execute("CREATE DOMAIN positive AS int4 CHECK (VALUE > 0)")
    source.execute("CREATE DOMAIN very_positive AS positive")
    source.execute("CREATE TYPE pair AS (n very_positive, t text)")
    assert load_one(source, "very_positive") == INT4
    pair = load_one(source, "pair")
    assert pair.kind is Kind.COMPOSITE
    assert pair.attributes == (("n", INT4), ("t", TEXT))
    pairs = load_one(source, "pair[]")
    assert pairs.element == pair
    assert pairs.name == "public.pair[]"


def test_an_enum_is_told_from_a_scalar(source: Database) -> None:
    source.execute("CREATE TYPE mood AS ENUM ('sad', 'ok')")
    assert load_one(source, "mood").kind is Kind.ENUM
