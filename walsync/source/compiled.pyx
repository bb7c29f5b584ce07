# cython: language_level=3, boundscheck=False, wraparound=False
"""The rows of a COPY in C: the twin of what reads in `copy_out`, held equal to it by tests.

libpq gives one row per call, and it is psycopg2's libpq that has the connection: its functions come as addresses.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

ctypedef int (*get_copy_data_type)(void *, char **, int) noexcept nogil
ctypedef void (*freemem_type)(void *) noexcept nogil


def read_rows(size_t connection, size_t get_copy_data, size_t freemem, Py_ssize_t wanted):
    """Join rows until they are `wanted` bytes or no more; return them, how many, and libpq's last answer. Without the GIL."""
    cdef get_copy_data_type get = <get_copy_data_type>get_copy_data
    cdef freemem_type done = <freemem_type>freemem
    cdef Py_ssize_t used = 0, rows = 0, capacity = wanted + 8192
    cdef char *row = NULL
    cdef char *larger = NULL
    cdef char *joined = <char *>malloc(capacity)
    cdef int length = 0
    cdef bint no_memory = False
    if joined == NULL:
        raise MemoryError
    try:
        with nogil:
            while used < wanted:
                length = get(<void *>connection, &row, 0)
                if length <= 0:
                    break
                if used + length > capacity:
                    larger = <char *>realloc(joined, used + length)
                    if larger == NULL:
                        done(row)
                        no_memory = True
                        break
                    joined, capacity = larger, used + length
                memcpy(joined + used, row, length)
                used += length
                rows += 1
                done(row)
        if no_memory:
            raise MemoryError
        return PyBytes_FromStringAndSize(joined, used), rows, length
    finally:
        free(joined)
