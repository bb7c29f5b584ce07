"""A row's values as they came: raw tuple bytes until somebody reads them, then one value per column in Postgres text.

A raw tuple is pgoutput's TupleData: a 16-bit column count, then per column ``n`` (NULL), ``u`` (unsent TOAST value) or
``t`` with a 32-bit length and the text. The functions here trust their input: `pgoutput.tuple` has checked its bounds.
A snapshot's rows come as lines of COPY text, with a tab between the values and escapes inside them.

What every row of every target passes is there twice: `tuple_data` in Python, `compiled` in C, which is used where it
could be built. Tests hold them equal.
"""

from typing import Final

from walsync.row.copy_line import read_copy_line, write_copy_line
from walsync.row.tuple_data import write_tuple
from walsync.row.value import UNCHANGED, Unchanged, Value

try:
    from walsync.row.compiled import has_unchanged, pick, read_tuple
except ImportError:  # no C compiler was there when walsync was installed
    from walsync.row.tuple_data import has_unchanged, pick, read_tuple

COMPILED: Final = read_tuple.__module__.endswith("compiled")

__all__ = [
    "COMPILED",
    "UNCHANGED",
    "Unchanged",
    "Value",
    "has_unchanged",
    "pick",
    "read_copy_line",
    "read_tuple",
    "write_copy_line",
    "write_tuple",
]
