# cython: language_level=3
"""A walk over a raw tuple, column by column; shared by the compiled modules."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE


cdef struct Walk:
    const unsigned char *at
    const unsigned char *end
    Py_ssize_t columns


cdef inline Walk begin(bytes raw) except *:
    cdef Walk walk
    cdef Py_ssize_t size = PyBytes_GET_SIZE(raw)
    if size < 2:
        raise ValueError("a raw tuple is cut short")
    walk.at = <const unsigned char *>PyBytes_AS_STRING(raw)
    walk.end = walk.at + size
    walk.columns = (walk.at[0] << 8) | walk.at[1]
    walk.at += 2
    return walk


cdef inline int column(Walk *walk, const char **text, Py_ssize_t *size) except -1:
    """Pass over a column: its kind, and for a text where it is."""
    cdef unsigned char kind
    cdef Py_ssize_t length
    if walk.at >= walk.end:
        raise ValueError("a raw tuple is cut short")
    kind = walk.at[0]
    walk.at += 1
    if kind == c't':
        if walk.end - walk.at < 4:
            raise ValueError("a raw tuple is cut short")
        length = (<Py_ssize_t>walk.at[0] << 24) | (walk.at[1] << 16) | (walk.at[2] << 8) | walk.at[3]
        walk.at += 4
        if walk.end - walk.at < length:
            raise ValueError("a raw tuple is cut short")
        text[0] = <const char *>walk.at
        size[0] = length
        walk.at += length
    elif kind != c'n' and kind != c'u':
        raise ValueError("a raw tuple has a column of an unknown kind")
    return kind
