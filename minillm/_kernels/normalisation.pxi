# normalisation.h, whose functions take floats or doubles.  A backward adds to dgain and dbias.
cdef extern from "normalisation.h" nogil:
    void layer_norm_row(
        Py_ssize_t D, const void *x, const void *gain, const void *bias, double eps,
        void *y, void *mean, void *inverse_std)
    void layer_norm_row_backward(
        Py_ssize_t D, const void *dy, const void *x, const void *gain, double mean, double inverse_std,
        void *dx, void *dgain, void *dbias)
    void rms_norm_row(Py_ssize_t D, const void *x, const void *gain, double eps, void *y, void *inverse_rms)
    void rms_norm_row_backward(
        Py_ssize_t D, const void *dy, const void *x, const void *gain, double inverse_rms, void *dx, void *dgain)
