"""float4 and float8: the shortest digits that name a number, with point and exponent where the server puts them."""

import math
from decimal import Decimal
from typing import Final

FLOAT4_DIGITS: Final = 6
FLOAT8_DIGITS: Final = 15
"""FLT_DIG and DBL_DIG: from this many digits before the point on, the server writes an exponent."""

_MOST_DIGITS: Final = 17
_LEAST_PLAIN_EXPONENT: Final = -4


def write_float8(value: float) -> str:
    """Write a double as the server prints a float8."""
    if not math.isfinite(value):
        return _write_special(value)
    digits = Decimal(repr(value))
    if _is_halfway(digits, value):
        digits = _longer(digits, value)
    return _write(digits, FLOAT8_DIGITS)


def write_float4(value: float) -> str:
    """Write the double nearest to a float4's text as that text: with at most 9 digits, it is the shortest for both."""
    return _write(Decimal(repr(value)), FLOAT4_DIGITS) if math.isfinite(value) else _write_special(value)


def _write_special(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _is_halfway(digits: Decimal, value: float) -> bool:
    """Tell whether the digits lie exactly between two doubles.

    Python takes such digits where reading rounds them back to the even neighbour; the server never does.
    """
    numerator, denominator = value.as_integer_ratio()
    written = digits.as_integer_ratio()
    if written == (numerator, denominator):
        return False
    for neighbour in (math.nextafter(value, math.inf), math.nextafter(value, -math.inf)):
        if math.isfinite(neighbour):
            other, below = neighbour.as_integer_ratio()
            if written[0] * 2 * denominator * below == written[1] * (numerator * below + other * denominator):
                return True
    return False


def _longer(digits: Decimal, value: float) -> Decimal:
    for count in range(len(digits.as_tuple().digits), _MOST_DIGITS):
        longer = Decimal(f"{value:.{count}e}")
        if float(longer) == value and not _is_halfway(longer, value):
            return longer
    return Decimal(f"{value:.{_MOST_DIGITS - 1}e}")


def _write(digits: Decimal, plain_digits: int) -> str:
    sign = "-" if digits.is_signed() else ""
    if not digits:
        return f"{sign}0"
    significant = "".join(map(str, digits.as_tuple().digits)).rstrip("0")
    exponent = digits.adjusted()
    if not _LEAST_PLAIN_EXPONENT <= exponent < plain_digits:
        rest = f".{significant[1:]}" if len(significant) > 1 else ""
        return f"{sign}{significant[0]}{rest}e{exponent:+03d}"
    if exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{significant}"
    whole, fraction = significant[: exponent + 1].ljust(exponent + 1, "0"), significant[exponent + 1 :]
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"
