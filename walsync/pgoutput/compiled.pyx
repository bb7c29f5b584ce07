# cython: language_level=3, boundscheck=False, wraparound=False
"""The walk over TupleData in C: the twin of `tuple.tuple_end`, held equal to it by tests."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

from walsync.row.walk cimport Walk, column

from walsync.pgoutput import tuple as _python


def tuple_end(bytes data not None, Py_ssize_t start):
    """Return where the TupleData at `start` ends; ProtocolError when it does not fit in `data`."""
    cdef Walk walk
    cdef const char *text = NULL
    cdef Py_ssize_t size = 0, index, columns
    cdef const unsigned char *begin = <const unsigned char *>PyBytes_AS_STRING(data)
    if start < 0 or PyBytes_GET_SIZE(data) - start < 2:
        return _python.tuple_end(data, start)  # which says what is wrong
    walk.at = begin + start
    walk.end = begin + PyBytes_GET_SIZE(data)
    columns = (walk.at[0] << 8) | walk.at[1]
    walk.at += 2
    try:
        for index in range(columns):
            column(&walk, &text, &size)
    except ValueError:
        return _python.tuple_end(data, start)
    return walk.at - begin
