# The precision that a kernel is compiled for: each function over `floating` exists for
# float and for double.  C functions stand in pairs, x_f32 and x_f64, in a header X.h, where
# one name chooses between them by the type of a pointer (either.h).
import numpy as np

from cython cimport floating


cdef inline object dtype_of(floating zero):
    if floating is float:
        return np.dtype(np.float32)
    else:
        return np.dtype(np.float64)
