"""Every family of types with its literals, and the text that a real server prints for them."""

import io
from dataclasses import dataclass
from random import Random

from property import value_literals as draw

from walsync.postgres import Connection
from walsync.row import Value, read_copy_line
from walsync.source import pgtype
from walsync.source.pgtype import PgType

SETUP = (
    "CREATE EXTENSION hstore SCHEMA public",
    "CREATE EXTENSION citext SCHEMA public",
    "CREATE EXTENSION ltree SCHEMA public",
    """CREATE TYPE public.mood AS ENUM ('sad', 'it''s "ok"', 'two words', 'a,b', '{x}', 'NULL', 'ß😀')""",
    "CREATE DOMAIN public.price AS numeric CHECK (VALUE <= 'infinity')",
    "CREATE DOMAIN public.fair_price AS public.price",
    "CREATE DOMAIN public.numbers AS integer[]",
    """CREATE TYPE public.textrange AS RANGE (subtype = text, collation = "C")""",
    'CREATE TYPE public.pair AS (n integer, "b c" text)',
    """CREATE TYPE public.everything AS (b boolean, "id" numeric, f float8, "q""t" text, a text[], j jsonb,
        p public.pair, h public.hstore, y bytea, t timestamptz, r public.textrange, ps public.pair[])""",
)


MOODS = draw.one_of("sad", 'it\'s "ok"', "two words", "a,b", "{x}", "NULL", "ß😀")
PAIR = draw.composite(draw.integer(32), draw.text)
TEXT_RANGE = draw.range_(lambda random: draw.text(random).encode().hex() + random.choice(('"', "\\", "(,", " ", "")))
INT_RANGE = draw.range_(lambda random: random.randint(-1000, 1000))
NUMERIC_RANGE = draw.range_(lambda random: random.randint(-1000, 1000) / 8)


def instant(random: Random) -> str:
    return f"{random.randint(1000, 9999)}-01-01 {draw.clock(random)}"


TIME_RANGE = draw.range_(instant)
DATE_RANGE = draw.range_(lambda random: f"{random.randint(1000, 9999)}-01-01")


@dataclass(frozen=True)
class Family:
    """A type as SQL names it, and literals of it."""

    name: str
    literals: draw.Draw
    count: int = 120


FAMILIES = (
    Family("smallint", draw.integer(16)),
    Family("integer", draw.integer(32)),
    Family("bigint", draw.integer(64)),
    Family("oid", draw.mostly(lambda random: str(random.getrandbits(32)), "4294967295", "0")),
    Family("xid8", lambda random: str(random.getrandbits(64))),
    Family("boolean", draw.one_of("t", "f")),
    Family("numeric", draw.numeric, 400),
    Family("numeric(12,2)", lambda random: str(random.randint(-(10**12), 10**12) / 100)),
    Family("numeric(5,-2)", lambda random: str(random.randint(-(10**6), 10**6))),
    Family("real", draw.float4, 600),
    Family("double precision", draw.float8, 2000),
    Family("money", lambda random: str(random.randint(-(10**9), 10**9) / 100)),
    Family("text", draw.text, 400),
    Family("varchar(20)", draw.text),
    Family("character(20)", draw.text),
    Family('"char"', draw.one_of("", "a", '"', "\\\\", "\\001")),
    Family("name", draw.text),
    Family("public.citext", draw.text),
    Family("public.ltree", draw.one_of("", "Top.A_1.b", "a")),
    Family("bytea", draw.bytea),
    Family("date", draw.date),
    Family("time", draw.time),
    Family("timetz", draw.timetz),
    Family("timestamp", draw.timestamp, 400),
    Family("timestamptz", draw.timestamptz, 400),
    Family("interval", draw.interval, 400),
    Family("uuid", draw.a_uuid),
    Family("json", draw.json_text, 600),
    Family("jsonb", draw.jsonb, 600),
    Family("jsonpath", draw.one_of("$", '$."a b"[*]', "strict $.a ? (@ > 1.10)")),
    Family("integer[]", draw.array(draw.integer(32), most_dimensions=6)),
    Family("bigint[]", draw.array(draw.integer(64))),
    Family("text[]", draw.array(draw.text), 400),
    Family("numeric[]", draw.array(draw.numeric)),
    Family("real[]", draw.array(draw.float4)),
    Family("float8[]", draw.array(draw.float8)),
    Family("boolean[]", draw.array(draw.one_of("t", "f"))),
    Family("bytea[]", draw.array(draw.bytea)),
    Family("timestamptz[]", draw.array(draw.timestamptz)),
    Family("interval[]", draw.array(draw.interval)),
    Family("jsonb[]", draw.array(draw.jsonb)),
    Family("json[]", draw.array(draw.json_text)),
    Family("uuid[]", draw.array(draw.a_uuid)),
    Family("box[]", draw.array(lambda random: draw.points(random, 2).split("),(")[0] + "),(1,2)", ";")),
    Family("public.mood[]", draw.array(MOODS)),
    Family("public.price[]", draw.array(draw.plain_numeric)),
    Family("public.numbers[]", draw.array(draw.array(draw.integer(32)))),
    Family("public.pair[]", draw.array(PAIR)),
    Family("public.hstore[]", draw.array(draw.hstore)),
    Family("int4range[]", draw.array(INT_RANGE)),
    Family("int4multirange[]", draw.array(draw.multirange(INT_RANGE))),
    Family("public.citext[]", draw.array(draw.text)),
    Family("int4range", INT_RANGE),
    Family("int8range", INT_RANGE),
    Family("numrange", NUMERIC_RANGE),
    Family("tsrange", TIME_RANGE),
    Family("tstzrange", TIME_RANGE),
    Family("daterange", draw.mostly(DATE_RANGE, "[infinity,infinity]", "[-infinity,infinity)", "(,)")),
    Family("public.textrange", TEXT_RANGE),
    Family("int4multirange", draw.multirange(INT_RANGE)),
    Family("nummultirange", draw.multirange(NUMERIC_RANGE)),
    Family("tstzmultirange", draw.multirange(TIME_RANGE)),
    Family("datemultirange", draw.multirange(DATE_RANGE)),
    Family("public.textmultirange", draw.multirange(TEXT_RANGE)),
    Family("public.pair", PAIR),
    Family(
        "public.everything",
        draw.composite(
            draw.one_of("t", "f"), draw.numeric, draw.float8, draw.text, draw.array(draw.text), draw.jsonb, PAIR,
            draw.hstore, draw.bytea, draw.timestamptz, TEXT_RANGE, draw.array(PAIR),
        ),
    ),
    Family("public.mood", MOODS),
    Family("public.price", draw.plain_numeric),
    Family("public.fair_price", draw.plain_numeric),
    Family("public.numbers", draw.array(draw.integer(32))),
    Family("public.hstore", draw.hstore, 300),
    Family("inet", draw.mostly(lambda random: f"{draw.ipv4(random)}/{random.randint(0, 32)}", "::1", "2001:db8::/32")),
    Family("cidr", draw.one_of("10.0.0.0/8", "::/0", "192.168.1.0/24")),
    Family("macaddr", draw.mac(6)),
    Family("macaddr8", draw.mac(8)),
    Family("bit(8)", lambda random: f"{random.getrandbits(8):08b}"),
    Family("varbit", draw.bits),
    Family("tsvector", draw.one_of("'a':1A,2 'b c':3B", "", "'it''s':1 '\\\\x'")),
    Family("tsquery", draw.one_of("'a' & !'b c'", "'x':*A", "")),
    Family("point", draw.float_pair),
    Family("lseg", lambda random: f"[{draw.float_pair(random)},{draw.float_pair(random)}]"),
    Family("path", draw.path),
    Family("polygon", lambda random: f"({draw.points(random)})"),
    Family("box", lambda random: f"{draw.float_pair(random)},{draw.float_pair(random)}"),
    Family("circle", lambda random: f"<(1.5,{random.randint(-9, 9)}),{abs(random.gauss(0, 1))!r}>"),
    Family("line", draw.one_of("{1,-1,0}", "{0.1,2,-3e-300}")),
    Family("point[]", draw.array(draw.float_pair)),
    Family("pg_lsn", lambda random: f"{random.getrandbits(32):X}/{random.getrandbits(32):X}"),
    Family("int2vector", draw.one_of("1 2 3", "")),
    Family("xml", draw.one_of('<a b="c">é&amp;\n</a>', "text", "")),
)  # fmt: skip


def texts(session: Connection, family: Family, random: Random) -> list[Value]:
    """Let the server read literals of a family, and print them as a snapshot does."""
    literals = [family.literals(random) for _ in range(family.count)]
    return printed(session, family.name, [*literals, None])


def printed(session: Connection, type_name: str, literals: list[str | None]) -> list[Value]:
    """Print literals of a type, as COPY does."""
    with session.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS public.literal")
        cursor.execute(f"CREATE TABLE public.literal (i serial, v {type_name})")
        # An I/O cast reads each literal as the type's input function does.
        cursor.execute(
            f"INSERT INTO public.literal (v) SELECT l::{type_name} "
            "FROM unnest(%s::text[]) WITH ORDINALITY AS x(l, n) ORDER BY n",
            (literals,),
        )
        output = io.BytesIO()
        cursor.copy_expert("COPY (SELECT v FROM public.literal ORDER BY i) TO STDOUT", output)
    return [value for line in output.getvalue().splitlines(keepends=True) for value in read_copy_line(line)]


def describe(session: Connection, type_name: str) -> PgType:
    """Describe a type as the catalogue does for a column."""
    with session.cursor() as cursor:
        cursor.execute("SELECT %s::regtype::oid::bigint", (type_name,))
        oid = cursor.fetchall()[0][0]
    return pgtype.load(session, [oid])[oid]
