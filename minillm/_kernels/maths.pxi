# The point functions of maths.h for whichever precision a kernel is compiled for.
cdef extern from "maths.h" nogil:
    float exp_f32(float)
    float sigmoid_f32(float)
    float tanh_f32(float)
    double exp_f64(double)
    double sigmoid_f64(double)
    double tanh_f64(double)


cdef inline floating exp(floating x) noexcept nogil:
    if floating is float:
        return exp_f32(x)
    else:
        return exp_f64(x)


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
