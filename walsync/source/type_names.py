"""The names of types as the server's format_type() writes them, for types that every server has; pure.

It does not know which names are keywords, so a user's type named like one is not quoted.
"""

import re
from typing import Final

# oid, oid of the array, pg_type.typname, and the name in SQL where it is another one.
_TABLE: Final = """
16 1000 bool boolean
17 1001 bytea
18 1002 char "char"
19 1003 name
20 1016 int8 bigint
21 1005 int2 smallint
22 1006 int2vector
23 1007 int4 integer
24 1008 regproc
25 1009 text
26 1028 oid
27 1010 tid
28 1011 xid
29 1012 cid
30 1013 oidvector
114 199 json
142 143 xml
600 1017 point
601 1018 lseg
602 1019 path
603 1020 box
604 1027 polygon
628 629 line
650 651 cidr
700 1021 float4 real
701 1022 float8 double precision
718 719 circle
774 775 macaddr8
790 791 money
829 1040 macaddr
869 1041 inet
1033 1034 aclitem
1042 1014 bpchar
1043 1015 varchar character varying
1082 1182 date
1083 1183 time time without time zone
1114 1115 timestamp timestamp without time zone
1184 1185 timestamptz timestamp with time zone
1186 1187 interval
1266 1270 timetz time with time zone
1560 1561 bit "bit"
1562 1563 varbit bit varying
1700 1231 numeric
1790 2201 refcursor
2202 2207 regprocedure
2203 2208 regoper
2204 2209 regoperator
2205 2210 regclass
2206 2211 regtype
2950 2951 uuid
2970 2949 txid_snapshot
3220 3221 pg_lsn
3614 3643 tsvector
3615 3645 tsquery
3642 3644 gtsvector
3734 3735 regconfig
3769 3770 regdictionary
3802 3807 jsonb
3904 3905 int4range
3906 3907 numrange
3908 3909 tsrange
3910 3911 tstzrange
3912 3913 daterange
3926 3927 int8range
4072 4073 jsonpath
4089 4090 regnamespace
4096 4097 regrole
4191 4192 regcollation
4451 6150 int4multirange
4532 6151 nummultirange
4533 6152 tsmultirange
4534 6153 tstzmultirange
4535 6155 datemultirange
4536 6157 int8multirange
5038 5039 pg_snapshot
5069 271 xid8
"""

_NAMES: Final[dict[int, tuple[str, str]]] = {}
_ELEMENTS: Final[dict[int, int]] = {}
for _line in _TABLE.split("\n")[1:-1]:
    _oid, _array, _plain, *_sql = _line.split(" ", 3)
    _NAMES[int(_oid)] = (_plain, _sql[0] if _sql else _plain)
    _ELEMENTS[int(_array)] = int(_oid)

_BPCHAR: Final = 1042
_VARCHAR: Final = 1043
_TIMES: Final = frozenset({1083, 1114, 1184, 1266})  # time, timestamp, each without and with time zone
_INTERVAL: Final = 1186
_BITS: Final = frozenset({1560, 1562})  # bit, varbit
_NUMERIC: Final = 1700
_HEADER_BYTES: Final = 4  # VARHDRSZ: added to the length in a typmod of varchar, bpchar and numeric

_NO_PRECISION: Final = 0xFFFF
_FIELDS: Final = {2: "year", 1: "month", 3: "day", 10: "hour", 11: "minute", 12: "second"}  # bits of interval's mask
_ALL_FIELDS: Final = 0x7FFF

_QUOTE: Final = '"'
_PLAIN_IDENTIFIER: Final = re.compile(r"[a-z_][a-z0-9_$]*")


def format_builtin(oid: int, typmod: int) -> str | None:
    """Name a built-in type as format_type(oid, typmod) does; None for another type."""
    if oid in _ELEMENTS:
        return f"{format_builtin(_ELEMENTS[oid], typmod)}[]"
    if oid not in _NAMES:
        return None
    name = _NAMES[oid][1]
    return name if typmod < 0 else _with_typmod(oid, name, typmod)


def plain_builtin(oid: int) -> str:
    """Return pg_type.typname of a built-in type."""
    return f"_{_NAMES[_ELEMENTS[oid]][0]}" if oid in _ELEMENTS else _NAMES[oid][0]


def format_named(schema: str, name: str) -> str:
    """Name another type as if the search_path were ``"$user", public``; a name that begins with _ is an array's."""
    if name.startswith("_"):
        return f"{format_named(schema, name[1:])}[]"
    visible = schema in ("", "public", "pg_catalog")
    return _identifier(name) if visible else f"{_identifier(schema)}.{_identifier(name)}"


def _identifier(name: str) -> str:
    return name if _PLAIN_IDENTIFIER.fullmatch(name) else '"' + name.replace('"', '""') + '"'


def _with_typmod(oid: int, name: str, typmod: int) -> str:
    if oid in _TIMES:
        word, _, rest = name.partition(" ")
        return f"{word}({typmod}) {rest}"
    if oid == _INTERVAL:
        return _interval(typmod)
    if oid in _BITS:
        return f"{name.replace(_QUOTE, '')}({typmod})"
    if oid in (_BPCHAR, _VARCHAR):
        return f"{'character' if oid == _BPCHAR else name}({typmod - _HEADER_BYTES})"
    if oid == _NUMERIC:
        packed = typmod - _HEADER_BYTES
        # The scale is 11 bits, signed, since 15; before, it was from 0 to 1000, which reads the same.
        return f"{name}({packed >> 16 & 0xFFFF},{((packed & 0x7FF) ^ 1024) - 1024})"
    return name


def _interval(typmod: int) -> str:
    mask, precision = typmod >> 16 & _ALL_FIELDS, typmod & 0xFFFF
    words = [] if mask == _ALL_FIELDS else [word for bit, word in _FIELDS.items() if mask >> bit & 1]
    span = "" if not words else f" {words[0]}" if len(words) == 1 else f" {words[0]} to {words[-1]}"
    return f"interval{span}" + ("" if precision == _NO_PRECISION else f"({precision})")
