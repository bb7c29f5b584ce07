"""Doubles through D1's JSON: the number itself where any parser is exact, else its mantissa and power of two.

SQLite multiplies and divides by powers of ten while it parses a decimal, and D1's (3.47) ends one unit beside about
15 % of full-range doubles. Integers and powers of two pass exactly, and SQL can put the double together from them.
"""

import math
import re
from typing import Final

_MANTISSA_BITS: Final = 53

# At most one rounding in any parser that has 64 bits or more: the digits are exact, so is 10 ** 4, and their quotient
# stays further than 2 ** -64 from the middle between two doubles, so an intermediate long double rounds alike.
# With more digits after the point a long double rounds twice, and in rare cases to the other side.
_ANY_PARSER_IS_EXACT: Final = re.compile(r"-?(?:(?:0|[1-9]\d{0,14})|(?:0|[1-9]\d{0,10})\.\d{1,4})", re.ASCII)

_FLOAT: Final = re.compile(r"-?(?:\d+(?:\.\d+)?(?:e[+-]\d+)?|Infinity)|NaN", re.ASCII)

_DOUBLE: Final = """CASE json_type({row},'$[{index}]') WHEN 'array' THEN \
CASE WHEN {row}->{index}->>1 BETWEEN -62 AND -1 THEN CAST({row}->{index}->>0 AS REAL)/(1<<-({row}->{index}->>1)) \
ELSE (WITH RECURSIVE step(x,e) AS (SELECT CAST({row}->{index}->>0 AS REAL),{row}->{index}->>1 UNION ALL \
SELECT CASE WHEN e<0 THEN x/(1<<62) ELSE x*(1<<62) END,CASE WHEN e<0 THEN e+62 ELSE e-62 END FROM step \
WHERE abs(e)>62) SELECT CASE WHEN e<0 THEN x/(1<<-e) ELSE x*(1<<e) END FROM step WHERE abs(e)<=62) END \
ELSE {row}->>{index} END"""
"""A double has 53 bits wherever the point is, so every step is exact; 1<<62 is the largest power that an integer holds.

The first arm is what numbers of everyday size need; the recursion is for the others and takes at most 18 steps."""


def to_json(text: str) -> str:
    """Write a float's text as a JSON number, as ``[m,e]`` for m * 2**e, or as a string for NaN and infinities."""
    if _ANY_PARSER_IS_EXACT.fullmatch(text):
        # The point makes SQLite read a REAL; an INTEGER would stay one, the column is ANY.
        return text if "." in text else f"{text}.0"
    if _FLOAT.fullmatch(text) is None:
        raise ValueError("a float that is no float")
    number = float(text)
    if not math.isfinite(number):
        return f'"{text}"'
    fraction, exponent = math.frexp(number)
    mantissa, exponent = int(math.ldexp(fraction, _MANTISSA_BITS)), exponent - _MANTISSA_BITS
    zeros = (mantissa & -mantissa).bit_length() - 1
    return f"[{mantissa >> zeros},{exponent + zeros}]"


def expression(index: int, row: str) -> str:
    """Write the SQL that stores what `to_json` wrote at `index` of the array `row`."""
    return _DOUBLE.format(index=index, row=row)
