import pytest

from walsync.target.postgres.types import holds


@pytest.mark.parametrize(
    ("target", "source"),
    [
        ("bigint", "integer"),
        ("numeric", "bigint"),
        ("text", "character varying(20)"),
        ("character varying(30)", "character varying(20)"),
        ("character varying", "text"),
        ("numeric", "numeric(10,2)"),
        ("numeric(12,2)", "numeric(10,2)"),
        ("timestamp without time zone", "timestamp(3) without time zone"),
        ("timestamp(6) with time zone", "timestamp(3) with time zone"),
        ("text[]", "character varying(5)[]"),
        ("bit varying(9)", "bit varying(8)"),
        ('public."odd (type"', 'public."odd (type"'),
    ],
)
def test_a_type_that_keeps_every_value_and_its_text_fits(target: str, source: str) -> None:
    assert holds(target, source)


@pytest.mark.parametrize(
    ("target", "source"),
    [
        ("integer", "bigint"),
        ("double precision", "real"),
        ("character varying(10)", "character varying(20)"),
        ("character varying(10)", "text"),
        ("text", "character(5)"),
        ("numeric(12,3)", "numeric(10,2)"),
        ("numeric(9,2)", "numeric(10,2)"),
        ("numeric(10,2)", "numeric"),
        ("timestamp with time zone", "timestamp without time zone"),
        ("timestamp(0) without time zone", "timestamp without time zone"),
        ("text", "text[]"),
        ("bigint[]", "integer"),
        ("jsonb", "json"),
        ("public.a", "public.b"),
        ('public."odd (type"', "text"),
    ],
)
def test_a_type_that_may_cut_round_or_rewrite_a_value_does_not_fit(target: str, source: str) -> None:
    assert not holds(target, source)
