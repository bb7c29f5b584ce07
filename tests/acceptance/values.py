"""Random values of many types, as the text that Postgres reads; each function takes the chance it draws from."""

from collections.abc import Callable, Sequence
from random import Random
from uuid import UUID

Value = Callable[[Random], str | None]

WORDS = (
    "",
    " ",
    "alpha",
    "NULL",
    "\\N",
    "\\.",
    "it's",
    '"quoted"',
    "back\\slash",
    "tab\there",
    "two\nlines\r\n",
    "100%",
    "%s",
    "{a,b}",
    "Größe",
    "日本語",
    "🐘🦭",
    "e\u0301",
    "\x01\x1f\x7f",
    "null",
    "a,b;c",
    "$1",
)


def text(random: Random) -> str:
    return " ".join(random.choice(WORDS) for _ in range(random.randint(1, 4)))


def word(random: Random) -> str:
    return random.choice(WORDS)


def big(random: Random) -> str:
    """Larger than a page and stored out of line, so that an UPDATE of other columns does not send it."""
    return random.randbytes(random.randint(4_100, 9_000)).hex()


def sometimes_big(random: Random) -> str:
    return big(random) if random.random() < 0.5 else text(random)


def integer(lowest: int, highest: int) -> Value:
    edges = (lowest, highest, *(edge for edge in (-1, 0, 1) if lowest <= edge <= highest))
    return lambda random: str(random.choice(edges) if random.random() < 0.2 else random.randint(lowest, highest))


def small(highest: int) -> Value:
    """A number of a small range, so that keys meet."""
    return lambda random: str(random.randint(1, highest))


def one_of(values: Sequence[str]) -> Value:
    return lambda random: random.choice(values)


def nullable(value: Value) -> Value:
    return lambda random: None if random.random() < 0.15 else value(random)


def uuid_of(highest: int) -> Value:
    return lambda random: str(UUID(int=random.randint(1, highest) * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128))


def numeric(random: Random) -> str:
    if random.random() < 0.25:
        return random.choice(("NaN", "Infinity", "-Infinity", "0", "-0.000", "1e-30", "1" + "0" * 60, "0.1", "1.10"))
    digits = "".join(random.choice("0123456789") for _ in range(random.randint(1, 60)))
    point = random.randint(0, len(digits))
    return f"{random.choice('-+')}{digits[:point] or '0'}.{digits[point:] or '0'}"


def short_numeric(random: Random) -> str:
    """One of few numbers, which differ in their scale: 1.0 and 1.00 are equal, and are not the same."""
    return f"{random.randint(1, 40) / 2:.{random.randint(1, 3)}f}"


def money(random: Random) -> str:
    return f"{random.randint(-10_000, 10_000_000) / 100:.2f}"


def double(random: Random) -> str:
    special = ("NaN", "Infinity", "-Infinity", "0", "-0", "1e-300", "1.7976931348623157e308", "5e-324", "0.1")
    return random.choice(special) if random.random() < 0.3 else repr(random.gauss(0, 1) * 10 ** random.randint(-20, 20))


def real(random: Random) -> str:
    return random.choice(("NaN", "-Infinity", "-0", "3.4028235e38", "1e-45", "0.1", repr(random.uniform(-1e6, 1e6))))


def date(random: Random) -> str:
    special = ("infinity", "-infinity", "0044-03-15 BC", "0001-01-01", "5874897-12-31", "2024-02-29")
    return random.choice(special) if random.random() < 0.3 else f"{random.randint(1, 9999):04}-{_month_and_day(random)}"


def day(random: Random) -> str:
    """A day of the four years over which the partitions reach, and a little further."""
    return f"{random.randint(2020, 2025)}-{_month_and_day(random)}"


def time(random: Random) -> str:
    if random.random() < 0.1:
        return "24:00:00"
    hours, minutes, seconds = random.randrange(24), random.randrange(60), random.randrange(60)
    return f"{hours:02}:{minutes:02}:{seconds:02}.{random.randrange(10**6):06}"


def timestamp(random: Random) -> str:
    special = ("infinity", "-infinity", "4713-01-01 00:00:00 BC", "0044-03-15 12:00:00.000001 BC", "294276-12-30 23:59")
    if random.random() < 0.3:
        return random.choice(special)
    return f"{random.randint(1, 9999):04}-{_month_and_day(random)} {time(random)}"


def with_zone(value: Value) -> Value:
    def zoned(random: Random) -> str:
        plain = value(random) or ""
        if "infinity" in plain or "BC" in plain:
            return plain
        return f"{plain}{random.choice(('+00', '-08', '+05:45', '+13'))}"

    return zoned


def interval(random: Random) -> str:
    years, months, days = (random.randint(-20, 20) for _ in range(3))
    clock = f"{random.choice('+-')}{random.randrange(400)}:05:06.{random.randrange(10**6):06}"
    return f"{years} years {months} mons {days} days {clock}"


def bytea(random: Random) -> str:
    return "\\x" + random.randbytes(random.choice((0, 1, 8, 300))).hex()


def json(random: Random) -> str:
    return random.choice(
        (
            "null",
            "[]",
            '{"a" : 1,  "a": 2}',
            '{"deep": [[[{"é": "\\u00e9 \\"q\\" \\\\ \\n"}]]]}',
            f'{{"number": {random.randint(-(10**30), 10**30)}, "small": 1.10}}',
            '"text with \\t tab"',
            f"[{', '.join(str(random.random()) for _ in range(random.randint(1, 30)))}]",
        )
    )


def bits(random: Random) -> str:
    return f"{random.randrange(256):08b}"


def inet(random: Random) -> str:
    return random.choice(("::1", "10.0.0.0/8", "2001:db8::/32", f"192.168.{random.randrange(256)}.7"))


def network(random: Random) -> str:
    return random.choice(("10.0.0.0/8", "2001:db8::/32", f"192.168.{random.randrange(256)}.0/24"))


def lsn(random: Random) -> str:
    return f"{random.randrange(2**16):X}/{random.randrange(2**32):X}"


def vector(random: Random) -> str:
    return " ".join(f"'{name}':{random.randint(1, 9)}" for name in random.sample(("cat", "dog", "naïve", "x"), 2))


def array_of(value: Value) -> Value:
    def array(random: Random) -> str:
        items = ",".join(_element(value(random)) for _ in range(random.randint(0, 4)))
        return f"{{{items}}}"

    return array


def matrix(random: Random) -> str:
    rows = (",".join(str(random.randint(-9, 9)) for _ in range(2)) for _ in range(2))
    return random.choice(("", "[0:1][-1:0]=")) + "{" + ",".join(f"{{{row}}}" for row in rows) + "}"


def int_range(random: Random) -> str:
    if random.random() < 0.2:
        return random.choice(("empty", "(,)", "(,5]", "[3,)"))
    start = random.randint(-100, 100)
    return f"[{start},{start + random.randint(1, 50)})"


def span(random: Random) -> str:
    """A range of few numbers, for a table where ranges may not overlap."""
    start = random.randint(0, 2_000)
    return f"[{start},{start + random.randint(1, 20)})"


def multirange(random: Random) -> str:
    return "{" + ",".join(f"[{n * 10},{n * 10 + random.randint(1, 9)}]" for n in range(random.randint(0, 3))) + "}"


def time_range(random: Random) -> str:
    return f"[2024-{_month_and_day(random)} 10:00+02,2025-{_month_and_day(random)} 10:00-03)"


def address(random: Random) -> str:
    """A composite value."""
    return f"({_element(text(random))},{random.randint(1, 99)})"


def point(random: Random) -> str:
    return f"({random.uniform(-180, 180)!r},{random.choice(('NaN', 'Infinity', '0.1'))})"


def _element(value: str | None) -> str:
    if value is None:
        return "NULL"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _month_and_day(random: Random) -> str:
    return f"{random.randint(1, 12):02}-{random.randint(1, 28):02}"
