# Shared by the topics: memory, threads, and the precision that a kernel is compiled for.
#
# Each function over `floating` exists for float and for double.  C functions stand in pairs,
# x_f32 and x_f64, in a header X.h, where one name chooses between them by the type of a
# pointer (either.h).
import numpy as np

from cython cimport floating
from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from minillm._kernels._pool cimport Workspace, cut, empty
from minillm._kernels._threads cimport Body, Input, Output, Part, max_threads, share, share_phases


cdef inline object dtype_of(floating zero):
    if floating is float:
        return np.dtype(np.float32)
    else:
        return np.dtype(np.float64)
