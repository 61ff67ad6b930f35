# adam.h, for either precision.
cdef extern from "adam.h" nogil:
    void adam_f32(Py_ssize_t, float *, const float *, float *, float *, float, float, float,
                  float, float, float, float, float)
    void adam_f64(Py_ssize_t, double *, const double *, double *, double *, double, double, double,
                  double, double, double, double, double)


cdef inline void adam(
    Py_ssize_t n, floating *p, const floating *g, floating *m, floating *v,
    double beta1, double beta2, double step_size, double root_correction, double epsilon,
    double decay,
) noexcept nogil:
    if floating is float:
        adam_f32(n, p, g, m, v, <float>beta1, <float>(1 - beta1), <float>beta2, <float>(1 - beta2),
                 <float>step_size, <float>root_correction, <float>epsilon, <float>decay)
    else:
        adam_f64(n, p, g, m, v, beta1, 1 - beta1, beta2, 1 - beta2,
                 step_size, root_correction, epsilon, decay)
