# cython: language_level=3, boundscheck=False, wraparound=False
"""Raw tuples in C: the twin of what reads in `tuple_data`, held equal to it by tests."""

from cpython.bytes cimport PyBytes_FromStringAndSize

from walsync.row.walk cimport Walk, begin, column

from walsync.row.value import UNCHANGED

cdef object _unchanged = UNCHANGED


def read_tuple(bytes raw not None):
    """Split a raw tuple into one value per column."""
    cdef Walk walk = begin(raw)
    cdef list values = []
    cdef const char *text = NULL
    cdef Py_ssize_t size = 0
    cdef int kind
    for _ in range(walk.columns):
        kind = column(&walk, &text, &size)
        if kind == c't':
            values.append(PyBytes_FromStringAndSize(text, size))
        else:
            values.append(None if kind == c'n' else _unchanged)
    return values


def pick(bytes raw not None, tuple indexes not None):
    """Take the texts at `indexes` out of a raw tuple; None where one of them is NULL or UNCHANGED."""
    cdef Walk walk = begin(raw)
    cdef const char *text = NULL
    cdef Py_ssize_t size = 0, at = 0, wanted, last = -1, taken = 0
    cdef list found
    cdef object index
    for index in indexes:
        last = max(last, <Py_ssize_t>index)
    if last >= walk.columns:
        raise IndexError("a raw tuple has fewer columns")
    found = [None] * len(indexes)
    for at in range(last + 1):
        if column(&walk, &text, &size) != c't':
            if at in indexes:
                return None
            continue
        for wanted in range(len(found)):
            if <Py_ssize_t>indexes[wanted] == at:
                found[wanted] = PyBytes_FromStringAndSize(text, size)
    return tuple(found)


def has_unchanged(bytes raw not None):
    """Tell whether a raw tuple leaves out an unchanged TOAST value."""
    cdef Walk walk = begin(raw)
    cdef const char *text = NULL
    cdef Py_ssize_t size = 0
    for _ in range(walk.columns):
        if column(&walk, &text, &size) == c'u':
            return True
    return False
