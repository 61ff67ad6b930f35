# Shared by the topics: memory, threads, and the precision that a kernel is compiled for.
#
# Each function over `floating` exists for float and for double.  C functions stand in pairs,
# x_f32 and x_f64, in a header X.h, where one name chooses between them by the type of a
# pointer (either.h).
import numpy as np

from cpython.buffer cimport PyBUF_ND, PyBUF_SIMPLE, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cython cimport floating
from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from minillm._kernels._pool cimport Workspace, cut, empty
from minillm._kernels._threads cimport Body, Input, Output, Part, max_threads, share, share_phases

cdef enum:
    ANY = -1  # number of axes

cdef const Py_ssize_t MOST_BYTES = 1 << 40  # a view that repeats its numbers may have more: sizes would overflow
cdef tuple ARRAYS = (np.ndarray, np.memmap), FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
cdef object INT64 = np.dtype(np.int64)


cdef inline object dtype_of(floating zero):
    return np.dtype(np.float32 if sizeof(floating) == 4 else np.float64)


cdef Py_buffer memory_of(array, int axes=ANY, dtype=None, int flags=PyBUF_ND) except *:
    """The address and sizes of an array of floats, or of a dtype, at a quarter of a typed memoryview's cost.

    NumPy keeps the sizes and strides as long as the array lives, so they are read after the release.
    """
    cdef Py_buffer buffer
    if type(array) not in ARRAYS:
        raise TypeError(f"a kernel expected a NumPy array, found {type(array).__name__}")
    found = array.dtype
    if found is not dtype and found not in (FLOATS if dtype is None else (dtype,)):
        raise TypeError(f"a kernel expected {dtype or 'floats'}, found {found}")
    PyObject_GetBuffer(array, &buffer, flags)
    PyBuffer_Release(&buffer)
    require(axes in (ANY, buffer.ndim) and buffer.len <= MOST_BYTES)
    return buffer


cdef int require(bint fits) except -1:
    if not fits:
        raise ValueError("the shapes of a kernel's arrays do not fit each other")
    return 0


cdef char *numbers(array, dtype, Py_ssize_t size, int flags=PyBUF_SIMPLE) except? NULL:
    """The address of the first of so many numbers in C order, which the caller keeps alive."""
    cdef Py_buffer buffer = memory_of(array, ANY, dtype, flags)
    require(buffer.len == size * buffer.itemsize)
    return <char *>buffer.buf


cdef int64_t *indices(array, Py_ssize_t size, Py_ssize_t below) except? NULL:
    """The address of the first of so many integers from 0 to below - 1."""
    cdef int64_t *ids = <int64_t *>numbers(array, INT64, size)
    cdef bint fits = True
    cdef Py_ssize_t i
    for i in range(size):
        fits &= 0 <= ids[i] < below
    require(fits)
    return ids


cdef char *address(array) except? NULL:
    """Of the first number of a kernel's own array in C order, or of one that was checked; NULL for None."""
    cdef Py_buffer buffer
    if array is None:
        return NULL
    PyObject_GetBuffer(array, &buffer, PyBUF_SIMPLE)
    PyBuffer_Release(&buffer)
    return <char *>buffer.buf


cdef inline int threads_for(Py_ssize_t work, Py_ssize_t least) noexcept nogil:
    """The threads for so much work; one if it is less than is worth waking another one for."""
    return 1 if work < least else max_threads()
