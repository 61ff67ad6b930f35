# normalisation.h, for either precision.
cdef extern from "normalisation.h" nogil:
    void layer_norm_row_f32(Py_ssize_t, const float *, const float *, const float *, float,
                            float *, float *, float *)
    void layer_norm_row_f64(Py_ssize_t, const double *, const double *, const double *, double,
                            double *, double *, double *)
    void layer_norm_row_backward_f32(Py_ssize_t, const float *, const float *, const float *,
                                     float, float, float *, float *, float *)
    void layer_norm_row_backward_f64(Py_ssize_t, const double *, const double *, const double *,
                                     double, double, double *, double *, double *)
    void rms_norm_row_f32(Py_ssize_t, const float *, const float *, float, float *, float *)
    void rms_norm_row_f64(Py_ssize_t, const double *, const double *, double, double *, double *)
    void rms_norm_row_backward_f32(Py_ssize_t, const float *, const float *, const float *, float,
                                   float *, float *)
    void rms_norm_row_backward_f64(Py_ssize_t, const double *, const double *, const double *,
                                   double, double *, double *)


cdef inline void layer_norm_row(
    Py_ssize_t D, const floating *x, const floating *gain, const floating *bias, double epsilon,
    floating *y, floating *mean, floating *inverse_std,
) noexcept nogil:
    if floating is float:
        layer_norm_row_f32(D, x, gain, bias, <float>epsilon, y, mean, inverse_std)
    else:
        layer_norm_row_f64(D, x, gain, bias, epsilon, y, mean, inverse_std)


cdef inline void layer_norm_row_backward(
    Py_ssize_t D, const floating *dy, const floating *x, const floating *gain, floating mean,
    floating inverse_std, floating *dx, floating *dgain, floating *dbias,
) noexcept nogil:
    """Adds to dgain and dbias."""
    if floating is float:
        layer_norm_row_backward_f32(D, dy, x, gain, mean, inverse_std, dx, dgain, dbias)
    else:
        layer_norm_row_backward_f64(D, dy, x, gain, mean, inverse_std, dx, dgain, dbias)


cdef inline void rms_norm_row(
    Py_ssize_t D, const floating *x, const floating *gain, double epsilon, floating *y,
    floating *inverse_rms,
) noexcept nogil:
    if floating is float:
        rms_norm_row_f32(D, x, gain, <float>epsilon, y, inverse_rms)
    else:
        rms_norm_row_f64(D, x, gain, epsilon, y, inverse_rms)


cdef inline void rms_norm_row_backward(
    Py_ssize_t D, const floating *dy, const floating *x, const floating *gain,
    floating inverse_rms, floating *dx, floating *dgain,
) noexcept nogil:
    """Adds to dgain."""
    if floating is float:
        rms_norm_row_backward_f32(D, dy, x, gain, inverse_rms, dx, dgain)
    else:
        rms_norm_row_backward_f64(D, dy, x, gain, inverse_rms, dx, dgain)
