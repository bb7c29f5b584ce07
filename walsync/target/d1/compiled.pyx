# cython: language_level=3, boundscheck=False, wraparound=False
"""Raw tuples -> the JSON of a D1 parameter in C: the twin of `rows.write_rows`, held equal to it by tests."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

from walsync.row.walk cimport Walk, begin, column

# As `values.Shape`.
cdef enum:
    TEXT = 1
    INTEGER = 2
    TIMESTAMPTZ = 3

# A text this long may exceed D1's limit as JSON, six bytes for one; its encoder finds out.
cdef Py_ssize_t SURE_TEXT = 300_000
cdef Py_ssize_t SURE_DIGITS = 18

cdef const char *HEX = "0123456789abcdef"

# What a byte becomes inside a JSON string: itself (0), \uXXXX (1), or a backslash and this letter.
cdef unsigned char[256] ESCAPES
for _index in range(256):
    ESCAPES[_index] = 1 if _index < 32 else 0
for _character, _letter in (b'""', b"\\\\", b"\bb", b"\tt", b"\nn", b"\ff", b"\rr"):
    ESCAPES[_character] = _letter


cdef class _Buffer:
    """Bytes that grow."""

    cdef char *data
    cdef Py_ssize_t size
    cdef Py_ssize_t room

    def __dealloc__(self):
        free(self.data)

    cdef int reserve(self, Py_ssize_t more) except -1:
        cdef char *grown
        cdef Py_ssize_t room
        if self.room - self.size >= more:
            return 0
        room = max(2 * self.room, self.size + more, 65536)
        grown = <char *>realloc(self.data, room)
        if grown == NULL:
            raise MemoryError
        self.data, self.room = grown, room
        return 0

    cdef int add(self, const char *bytes_, Py_ssize_t size) except -1:
        self.reserve(size)
        memcpy(self.data + self.size, bytes_, size)
        self.size += size
        return 0

    cdef int add_string(self, const char *text, Py_ssize_t size) except -1:
        """Write a JSON string; the text is taken for UTF-8."""
        cdef Py_ssize_t index, plain = 0
        cdef unsigned char character, escape
        cdef char *to
        self.reserve(6 * size + 2)
        to = self.data + self.size
        to[0] = c'"'
        to += 1
        for index in range(size):
            character = <unsigned char>text[index]
            escape = ESCAPES[character]
            if escape == 0:
                continue
            memcpy(to, text + plain, index - plain)
            to += index - plain
            plain = index + 1
            to[0] = c'\\'
            if escape == 1:
                memcpy(to + 1, b"u00", 3)
                to[4] = HEX[character >> 4]
                to[5] = HEX[character & 15]
                to += 6
            else:
                to[1] = escape
                to += 2
        memcpy(to, text + plain, size - plain)
        to += size - plain
        to[0] = c'"'
        self.size = to + 1 - self.data
        return 0


cdef bint is_integer(const char *text, Py_ssize_t size) noexcept:
    """Tell the everyday integer, which JSON takes as it is and 64 bits hold."""
    cdef Py_ssize_t index = 1 if size > 1 and text[0] == c'-' else 0
    if size - index < 1 or size - index > SURE_DIGITS:
        return False
    if text[index] == c'0':
        return size == 1
    while index < size:
        if text[index] < c'0' or text[index] > c'9':
            return False
        index += 1
    return True


cdef bint is_moment(const char *text, Py_ssize_t size) noexcept:
    """Tell ``2026-11-21 12:34:56.789+00`` with up to six digits of fraction, or none."""
    cdef const char *form = "dddd-dd-dd dd:dd:dd"
    cdef Py_ssize_t index
    if size != 22 and (size < 24 or size > 29):
        return False
    for index in range(19):
        if form[index] == c'd':
            if text[index] < c'0' or text[index] > c'9':
                return False
        elif text[index] != form[index]:
            return False
    if text[size - 3] != c'+' or text[size - 2] != c'0' or text[size - 1] != c'0':
        return False
    if size == 22:
        return True
    if text[19] != c'.':
        return False
    for index in range(20, size - 3):
        if text[index] < c'0' or text[index] > c'9':
            return False
    return True


cdef int add_moment(_Buffer to, const char *text, Py_ssize_t size) except -1:
    """Write ``"2026-11-21T12:34:56.789000Z"``."""
    cdef char moment[29]
    cdef Py_ssize_t digits = size - 23 if size > 22 else 0
    memcpy(moment, b'"0000-00-00T00:00:00.000000Z"', 29)
    memcpy(moment + 1, text, 10)
    memcpy(moment + 12, text + 11, 8)
    if digits:
        memcpy(moment + 21, text + 20, digits)
    return to.add(moment, 29)


cdef int add_encoded(_Buffer to, object encode, const char *text, Py_ssize_t size) except -1:
    cdef bytes encoded = encode(PyBytes_FromStringAndSize(text, size))
    return to.add(PyBytes_AS_STRING(encoded), PyBytes_GET_SIZE(encoded))


cdef int add_row(_Buffer to, bytes raw, const int *shapes, tuple encoders) except -1:
    cdef Walk walk = begin(raw)
    cdef const char *text = NULL
    cdef Py_ssize_t size = 0, index
    if walk.columns != len(encoders):
        raise ValueError("a raw tuple has another number of columns")
    to.add(b"[", 1)
    for index in range(walk.columns):
        if index:
            to.add(b",", 1)
        if column(&walk, &text, &size) != c't':
            to.add(b"null", 4)
        elif shapes[index] == TEXT and size <= SURE_TEXT:
            to.add_string(text, size)
        elif shapes[index] == INTEGER and is_integer(text, size):
            to.add(text, size)
        elif shapes[index] == TIMESTAMPTZ and is_moment(text, size):
            add_moment(to, text, size)
        else:
            add_encoded(to, encoders[index], text, size)
    to.add(b"]", 1)
    return 0


def write_rows(rows, tuple shapes not None, tuple encoders not None):
    """Write rows as a JSON array of arrays; what an encoder raises comes through."""
    cdef _Buffer to = _Buffer()
    cdef int[1600] shape_of
    cdef bytes raw
    cdef Py_ssize_t index
    cdef bint first = True
    if len(shapes) != len(encoders) or len(shapes) > 1600:
        raise ValueError("a shape and an encoder for each column, 1600 at most")
    for index in range(len(shapes)):
        shape_of[index] = shapes[index]
    to.add(b"[", 1)
    for raw in rows:
        if not first:
            to.add(b",", 1)
        first = False
        add_row(to, raw, shape_of, encoders)
    to.add(b"]", 1)
    return PyBytes_FromStringAndSize(to.data, to.size)
