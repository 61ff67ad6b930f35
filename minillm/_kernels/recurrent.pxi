# recurrent.h, whose functions take floats or doubles.
cdef extern from "recurrent.h" nogil:
    enum:
        RNN
        GRU
        LSTM
    void run_cell(int cell, Py_ssize_t n, void *a, void *more, const void *h_prev, void *h)
    void run_cell_backward(
        int cell, Py_ssize_t n, Py_ssize_t H, const void *sums, const void *dhs, void *dh_prev, void *dc,
        const void *gates, const void *kept, const void *before, void *da, void *da_hn)
