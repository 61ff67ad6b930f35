# Shared by the topics: memory, threads, and the precision that a kernel is compiled for.
#
# Each function over `floating` exists for float and for double.  C functions stand in pairs,
# x_f32 and x_f64, in a header X.h, where one name chooses between them by the type of a
# pointer (either.h).
import numpy as np

from cpython.buffer cimport PyBUF_ND, PyBUF_SIMPLE, PyBUF_STRIDES, PyBuffer_Release, PyObject_GetBuffer
from cython cimport floating
from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from minillm._kernels._pool cimport Workspace, cut, empty
from minillm._kernels._threads cimport Body, Input, Output, Part, max_threads, share, share_phases


cdef inline object dtype_of(floating zero):
    return np.dtype(np.float32 if sizeof(floating) == 4 else np.float64)


cdef Py_buffer memory_of(array, int flags=PyBUF_ND) except *:
    """The address and sizes of an array, at a fifth of a typed memoryview's cost; zeros for None."""
    cdef Py_buffer buffer
    memset(&buffer, 0, sizeof(Py_buffer))
    if array is not None:
        PyObject_GetBuffer(array, &buffer, flags)
        PyBuffer_Release(&buffer)
    return buffer


cdef char *address(array, int flags=PyBUF_SIMPLE) except? NULL:
    """Of the first number of an array in C order, which its caller keeps alive; NULL for None."""
    return <char *>memory_of(array, flags).buf


cdef inline int threads_for(Py_ssize_t work, Py_ssize_t least) noexcept nogil:
    """The threads for so much work; one if it is less than is worth waking another one for."""
    return 1 if work < least else max_threads()
