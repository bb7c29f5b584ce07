"""How the rows of one table become parameters: values one row at a time, raw tuples many at once. Pure."""

from collections.abc import Sequence
from functools import cached_property
from typing import Final

from walsync.row import Value
from walsync.target.d1 import row_json
from walsync.target.d1.row_json import Encode, Row
from walsync.target.d1.values import ValueForm

try:
    from walsync.target.d1.compiled import write_rows
except ImportError:  # no C compiler was there when walsync was installed
    from walsync.target.d1.row_json import write_rows

__all__ = ["RowForm", "write_rows"]


class RowForm:
    """The forms of a table's columns, in their order."""

    def __init__(self, forms: Sequence[ValueForm]) -> None:
        self.shapes: Final = tuple(int(form.shape) for form in forms)
        self.encoders: Final = tuple(form.encode for form in forms)

    @cached_property
    def _not_text(self) -> list[tuple[int, Encode]]:
        return row_json.not_text(self.shapes, self.encoders)

    def row(self, values: Sequence[Value]) -> Row:
        """Encode a row; what was left out is null. TargetRefused for what D1 cannot take."""
        return row_json.encode_row(values, self.encoders, self._not_text)

    def write(self, rows: Sequence[bytes]) -> str:
        """Write raw tuples as a JSON array of rows; TargetRefused for what D1 cannot take."""
        try:
            return write_rows(rows, self.shapes, self.encoders).decode()
        except UnicodeDecodeError:
            # The compiled one does not look inside texts; this one names the column.
            return row_json.write_rows(rows, self.shapes, self.encoders).decode()
