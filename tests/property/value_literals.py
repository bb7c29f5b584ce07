"""Random literals of every family of types, as an application would write them: the server says what they look like.

Built without walsync's own writers of literals, so that these are tried too.
"""

import json
import math
import struct
import uuid
from collections.abc import Callable, Sequence
from random import Random

Literal = str | None
Draw = Callable[[Random], str]

CONTROL = "".join(chr(code) for code in range(1, 32)) + "\x7f\x85\xa0\u2028\ufeff"
NASTY = CONTROL + "\"'\\{}[](),;=<> \t\r\n\v\f"
ALPHABET = NASTY + "abcXYZ019_-:/.$%äßé中😀\U0010ffff"
SPECIAL_TEXTS = [
    "",
    "NULL",
    "null",
    '"NULL"',
    "\\N",
    "\\",
    "\\\\",
    "{}",
    "()",
    "empty",
    '"',
    '""',
    "'",
    " ",
    " a ",
    "a,b",
]


def text(random: Random, most: int = 12) -> str:
    if random.random() < 0.2:
        return random.choice(SPECIAL_TEXTS)
    return "".join(random.choices(ALPHABET, k=random.randint(0, most)))


def one_of(*literals: str) -> Draw:
    return lambda random: random.choice(literals)


def mostly(often: Draw, *seldom: str) -> Draw:
    return lambda random: random.choice(seldom) if random.random() < 0.15 else often(random)


def integer(bits: int) -> Draw:
    least, most = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    return mostly(
        lambda random: str(max(least, min(most, random.randint(-(2 ** random.randint(1, bits)), 2**bits)))),
        *map(str, (least, most, 0, 1, -1, least + 1)),
    )


def digits(random: Random, count: int) -> str:
    return "".join(random.choices("0123456789", k=count))


def plain_numeric(random: Random) -> str:
    whole = random.choice((1, 5, 15, 28, 29, 30, 400, 1000) if random.random() < 0.2 else (1, 2, 5, 9))
    scale = random.choice((0, 0, 1, 2, 4, 10, 27, 28, 29, 300))
    fraction = f".{digits(random, scale)}" if scale else ""
    return f"{random.choice(('', '-'))}{digits(random, whole)}{fraction}"


numeric = mostly(
    plain_numeric,
    *("NaN", "Infinity", "-Infinity", "1.10", "-0.0", "0.000", "1e-50", "1e300"),
    *("79228162514264337593543950335", "79228162514264337593543950336", "7.9228162514264337593543950335"),
    *("-7922816251426433759354395.0336", "0.0000000000000000000000000001", "0.00000000000000000000000000010"),
)


def bit_pattern(random: Random, code: str) -> float:
    size = struct.calcsize(code)
    found: tuple[float] = struct.unpack(code, random.randbytes(size))
    return found[0] if math.isfinite(found[0]) else bit_pattern(random, code)


def any_float8(random: Random) -> str:
    match random.randrange(4):
        case 0:
            return repr(bit_pattern(random, "<d"))
        case 1:  # near and beyond the last integer: halfway digits, and where the exponent begins
            return repr(float(random.randint(2**45, 2**70) >> random.randint(0, 40)))
        case 2:
            return repr(round(random.uniform(-(10.0 ** random.randint(-5, 17)), 1e5), random.randint(0, 12)))
        case _:  # powers of two, whose gaps to both sides differ, and their neighbours
            power = math.ldexp(1.0, random.randint(-1074, 1023))
            return repr(random.choice((power, math.nextafter(power, math.inf), -math.nextafter(power, 0.0))))


float8 = mostly(
    any_float8,
    *(
        "NaN",
        "Infinity",
        "-Infinity",
        "-0",
        "0",
        "5e-324",
        "-5e-324",
        "1.7976931348623157e308",
        "2.2250738585072014e-308",
    ),
    *("9007199254740993", "1e15", "123456789012345", "1e22", "1e23", "0.1", "0.0001", "0.00001", "4.35", "8.41e21"),
)
float4 = mostly(
    lambda random: repr(bit_pattern(random, "<f")),
    *(
        "NaN",
        "Infinity",
        "-Infinity",
        "-0",
        "1e-45",
        "3.4028235e38",
        "1.17549435e-38",
        "16777216",
        "0.1",
        "1e6",
        "123456",
    ),
)


def bytea(random: Random) -> str:
    return "\\x" + random.randbytes(random.choice((0, 1, 2, 30, 300))).hex()


def clock(random: Random) -> str:
    fraction = random.choice(("", ".000001", ".1", ".120", ".999999", f".{digits(random, 6)}"))
    return f"{random.randrange(24):02d}:{random.randrange(60):02d}:{random.randrange(60):02d}{fraction}"


def day(random: Random, last_year: int = 294275) -> str:
    year = random.choice((1, 4, 44, 100, 1900, 1969, 1970, 2000, 2024, 9999, 10000, 262141, 262142, 262143, last_year))
    if random.random() < 0.5:
        year = random.randint(1, 9999)
    era = " BC" if year < 4700 and random.random() < 0.3 else ""
    return f"{year:04d}-{random.randint(1, 12):02d}-{random.randint(1, 28):02d}{era}"


def moment(random: Random) -> str:
    date, _, era = day(random).partition(" ")
    return f"{date} {clock(random)} {era}".strip()


INFINITIES = ("infinity", "-infinity")
LEAP_DAYS = ("2000-02-29", "1600-02-29", "2024-02-29 23:59:59.999999", "0001-02-29 BC", "1900-02-28", "1900-03-01")
timestamp = mostly(
    moment, *INFINITIES, *LEAP_DAYS, "4714-11-24 00:00:00 BC", "294276-12-31 23:59:59.999999", "1969-12-31 23:59:59.5"
)
timestamptz = mostly(
    lambda random: moment(random).replace(" BC", "+00 BC") if random.random() < 0.5 else moment(random),
    *INFINITIES, "4714-11-24 00:00:00+00 BC", "294276-12-31 23:59:59.999999+00", "2024-02-29 12:00:00+05:30",
    "9999-12-31 23:59:59.999999+00", "10000-01-01 00:00:00+00", "262142-12-31 23:59:59.999999+00",
)  # fmt: skip
date = mostly(lambda random: day(random, 5874897), *INFINITIES, "5874897-12-31", "4714-11-24 BC", "2000-02-29")
time = mostly(clock, "24:00:00", "00:00:00")
timetz = mostly(
    lambda random: clock(random) + random.choice(("+00", "-08", "+05:30", "+15:59:59", "-15:59")), "24:00:00-00"
)


def signed(random: Random, most: int) -> int:
    return random.randint(-most, most) if random.random() < 0.6 else 0


interval = mostly(
    lambda random: (
        f"{signed(random, 2000)} years {signed(random, 30)} mons {signed(random, 10**6)} days "
        f"{signed(random, 10**9)} secs {signed(random, 10**6)} microseconds"
    ),
    *("infinity", "-infinity", "0", "1 day", "-1 mons", "1 year -1 day", "-1 year +3 days", "-178000000 years"),
    *("2147483647 days -00:00:00.000001", "9223372036854775807 microseconds", "-9223372036854775808 microseconds"),
)


JSON_NUMBERS = (
    *("0", "-0", "-0.0", "0e5", "0.1e-30", "1.10", "-0.5", "1e3", "1.5E-3", "1e25", "12345e-2", "1e400", "2.000"),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775808", "100000000000000000000.10"),
)


def json_number(random: Random) -> str:
    kind = random.randrange(4)
    if kind == 0:
        return str(random.randint(-(2**70), 2**70) >> random.randint(0, 70))
    if kind == 1:
        return f"1{digits(random, 40)}"[: random.randint(1, 41)] + f".{digits(random, random.randint(1, 40))}"
    return random.choice(JSON_NUMBERS)


def json_string(random: Random) -> str:
    written = json.dumps(text(random), ensure_ascii=random.random() < 0.5)
    return written if random.random() < 0.9 else '"$json"'


def json_document(random: Random, depth: int = 3) -> str:
    kind = random.randrange(7 if depth else 4)
    space = random.choice(("", "", " ", "\n\t"))
    if kind == 0:
        return random.choice(("null", "true", "false"))
    if kind == 1:
        return json_number(random)
    if kind < 4:
        return json_string(random)
    items = [json_document(random, depth - 1) for _ in range(random.randint(0, 4))]
    if kind == 4:
        return "[" + f",{space}".join(items) + "]"
    return "{" + space + f",{space}".join(f"{json_string(random)}{space}:{item}" for item in items) + space + "}"


def nested(levels: int, opening: str, closing: str) -> str:
    return opening * levels + "1" + closing * levels


JSON_EDGES = (
    *(
        "null",
        '"null"',
        '"123"',
        '{"$json": "x"}',
        '[{"$json": 1}]',
        '{"a": null, "bb": [null]}',
        '{"": {"": ""}}',
        "[]",
        "{}",
    ),
    *('"\\u0001\\u001f\\u007f\\ud83d\\ude00\\u2028/\\/"', '{"b": 1, "a": 2, "aa": 3, "ä": 4, "B": 5, "中": 6}', "1.10"),
    *(
        nested(63, "[", "]"),
        nested(64, "[", "]"),
        nested(65, "[", "]"),
        nested(1500, "[", "]"),
        nested(80, '{"a":', "}"),
    ),
)
jsonb = mostly(json_document, *JSON_EDGES)
json_text = mostly(
    json_document,
    *JSON_EDGES,
    *(
        '{"a":1,"a":2}',
        '{ "z" : 1 ,\n"a":2}',
        '"\\u0000"',
        '{"\\u0000":1}',
        '"\\ud800"',
        '["\\udc00x"]',
        '"\\/"',
        '"\\u00e4"',
    ),
)


def quoted(item: str) -> str:
    return '"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"'


def array(element: Draw, delimiter: str = ",", most_dimensions: int = 3) -> Draw:
    def build(random: Random, lengths: Sequence[int]) -> str:
        if not lengths:
            return "NULL" if random.random() < 0.15 else quoted(element(random))
        return "{" + delimiter.join(build(random, lengths[1:]) for _ in range(lengths[0])) + "}"

    def draw(random: Random) -> str:
        dimensions = random.choice((0, 1, 1, 1, 1, 2, most_dimensions))
        lengths = [random.randint(1, 3) for _ in range(dimensions)]
        if dimensions == 0:
            return "{}"
        prefix = ""
        if random.random() < 0.2:
            starts = [random.randint(-5, 5) for _ in lengths]
            prefix = "".join(f"[{low}:{low + length - 1}]" for low, length in zip(starts, lengths, strict=True)) + "="
        return prefix + build(random, lengths)

    return draw


def composite(*attributes: Draw) -> Draw:
    def field(random: Random, draw: Draw) -> str:
        return "" if random.random() < 0.2 else '"' + draw(random).replace("\\", "\\\\").replace('"', '""') + '"'

    return lambda random: "(" + ",".join(field(random, draw) for draw in attributes) + ")"


def range_(bound: Callable[[Random], object]) -> Draw:
    """Make ranges of what sorts as Python does; `bound` is a number or a text made of it."""

    def draw(random: Random) -> str:
        if random.random() < 0.1:
            return "empty"
        low, high = sorted((bound(random), bound(random)), key=str)
        if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
            low, high = high, low
        ends = ["" if random.random() < 0.2 else quoted(str(end)) for end in (low, high)]
        return f"{random.choice('[(')}{ends[0]},{ends[1]}{random.choice('])')}"

    return draw


def multirange(one: Draw) -> Draw:
    return lambda random: "{" + ",".join(one(random) for _ in range(random.randint(0, 4))) + "}"


def hstore(random: Random) -> str:
    def value() -> str:
        return "NULL" if random.random() < 0.2 else quoted(text(random))

    return ", ".join(f"{quoted(text(random))}=>{value()}" for _ in range(random.randint(0, 5)))


def float_pair(random: Random) -> str:
    return f"({float8(random)},{float8(random)})"


def points(random: Random, least: int = 1) -> str:
    return ",".join(f"({random.uniform(-9, 9)!r},{random.randint(-9, 9)})" for _ in range(random.randint(least, 5)))


def path(random: Random) -> str:
    opening, closing = random.choice(("[]", "()"))
    return f"{opening}{points(random)}{closing}"


def bits(random: Random) -> str:
    return "".join(random.choices("01", k=random.randint(0, 70)))


def a_uuid(random: Random) -> str:
    return str(uuid.UUID(bytes=random.randbytes(16)))


def ipv4(random: Random) -> str:
    return ".".join(str(part) for part in random.randbytes(4))


def mac(count: int) -> Draw:
    return lambda random: random.randbytes(count).hex(":")
