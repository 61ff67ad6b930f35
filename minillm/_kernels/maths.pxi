# maths.h, for either precision.
cdef extern from "maths.h" nogil:
    float sigmoid_f32(float)
    double sigmoid_f64(double)
    float tanh_f32(float)
    double tanh_f64(double)


cdef inline floating sigmoid(floating x) noexcept nogil:
    if floating is float:
        return sigmoid_f32(x)
    else:
        return sigmoid_f64(x)


cdef inline floating tanh(floating x) noexcept nogil:
    if floating is float:
        return tanh_f32(x)
    else:
        return tanh_f64(x)
