# scan.h, whose functions take floats or doubles.
cdef extern from "scan.h" nogil:
    const Py_ssize_t SPAN, COLUMNS, PARTS
    void linear_scan(
        Py_ssize_t T, Py_ssize_t D, Py_ssize_t n, const void *a, const void *b, void *h, void *hs)
    void linear_scan_backward(
        Py_ssize_t T, Py_ssize_t D, Py_ssize_t n, const void *dhs, const void *a, const void *h0,
        const void *hs, void *dh, void *da, void *db)
    void turn(Py_ssize_t n, Py_ssize_t N, const void *rows, void *columns)
    void turn_back(Py_ssize_t n, Py_ssize_t N, const void *columns, void *rows)
    void selective_scan(
        Py_ssize_t T, Py_ssize_t D, Py_ssize_t N, Py_ssize_t n, const void *x, const void *delta,
        const void *A, const void *b, const void *c, const void *skip, void *h, void *y)
    void selective_one(
        Py_ssize_t D, Py_ssize_t N, const void *x, const void *delta, const void *A_log, const void *b,
        const void *c, const void *skip, const void *before, void *h, void *y)
    void selective_span_backward(
        Py_ssize_t T, Py_ssize_t D, Py_ssize_t N, Py_ssize_t n, const void *dy, const void *x,
        const void *delta, const void *A, const void *b, const void *c, const void *skip,
        const void *h, void *hs, void *es, void *room, void *dh, void *dx, void *ddelta, void *dA,
        void *db, void *dc, void *dskip)
    void delta_scan(
        Py_ssize_t T, Py_ssize_t K, Py_ssize_t V, const void *q, const void *k, const void *v,
        const void *alpha, const void *beta, void *S, void *e, void *o)
    void delta_span_backward(
        Py_ssize_t T, Py_ssize_t K, Py_ssize_t V, const void *do_, const void *q, const void *k,
        const void *v, const void *alpha, const void *beta, const void *S, void *Ss, void *es,
        void *de, void *dS, void *dq, void *dk, void *dv, void *dalpha, void *dbeta)
