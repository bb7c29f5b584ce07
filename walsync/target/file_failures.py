"""What an error of the system means to a target that writes files: *unavailable*, all of them; a person may mend it."""

import errno
from typing import Final

from walsync.errors import TargetUnavailable

_NO_ROOM: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE}
)
_NO_RIGHT: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NOT_THERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR})


def judge_error(error: OSError, target: str) -> TargetUnavailable:
    """Say what could not be done; the system's own words name no values."""
    if error.errno in _NO_ROOM:
        code, hint = "WS4105", "make room on the disk, or see the system's log about it"
    elif error.errno in _NO_RIGHT:
        code, hint = "WS4104", "let walsync write the file and its folder"
    elif error.errno in _NOT_THERE:
        code, hint = "WS4101", "make the folder and let walsync write there"
    else:
        code, hint = "WS4102", "walsync tries again"
    where = f" {error.filename}" if error.filename is not None else ""
    return TargetUnavailable(code, f"target {target}:{where} {error.strerror}", hint=hint)
