"""libpq's functions, in the library that psycopg2 itself has loaded, for connections that psycopg2 has opened.

`quick` keeps the GIL: giving it up for a microsecond can cost a 5 ms turn of another busy thread. It is for calls that
never block; `blocking`, which gives it up, is for all others.
"""

import ctypes
from collections.abc import Mapping
from typing import Any, Final

from psycopg2 import _psycopg

_CONNECTION: Final = ctypes.c_void_p
_RESULT: Final = ctypes.c_void_p
_CANCEL: Final = ctypes.c_void_p

_DECLARED: Final[Mapping[str, tuple[Any, ...]]] = {
    # What it returns, then what it takes.
    "PQexec": (_RESULT, _CONNECTION, ctypes.c_char_p),
    "PQgetResult": (_RESULT, _CONNECTION),
    "PQresultStatus": (ctypes.c_int, _RESULT),
    "PQresultErrorField": (ctypes.c_char_p, _RESULT, ctypes.c_int),
    "PQresultErrorMessage": (ctypes.c_char_p, _RESULT),
    "PQclear": (None, _RESULT),
    "PQgetCopyData": (ctypes.c_int, _CONNECTION, ctypes.POINTER(ctypes.c_void_p), ctypes.c_int),
    "PQputCopyData": (ctypes.c_int, _CONNECTION, ctypes.c_char_p, ctypes.c_int),
    "PQfreemem": (None, ctypes.c_void_p),
    "PQconsumeInput": (ctypes.c_int, _CONNECTION),
    "PQflush": (ctypes.c_int, _CONNECTION),
    "PQsocket": (ctypes.c_int, _CONNECTION),
    "PQerrorMessage": (ctypes.c_char_p, _CONNECTION),
    "PQgetCancel": (_CANCEL, _CONNECTION),
    "PQcancel": (ctypes.c_int, _CANCEL, ctypes.c_char_p, ctypes.c_int),
    "PQfreeCancel": (None, _CANCEL),
}

quick: Final = ctypes.PyDLL(_psycopg.__file__)
blocking: Final = ctypes.CDLL(_psycopg.__file__)

for _library in (quick, blocking):
    for _name, (_returns, *_takes) in _DECLARED.items():
        _function = getattr(_library, _name)
        _function.restype, _function.argtypes = _returns, _takes


def address(name: str) -> int:
    """Tell where a function is, for code in C."""
    return ctypes.cast(getattr(blocking, name), ctypes.c_void_p).value or 0
