# word2vec.h, for either precision.
cdef extern from "word2vec.h" nogil:
    ctypedef int64_t Atomic
    ctypedef struct Rows:
        void *shared
        Py_ssize_t first, count
        bint last_is_top
        int threads
        bint copied
        int64_t round, next
        void *own
        void *before
        Atomic *locks
    enum:
        AT_ONCE
    uint64_t next_random(uint64_t *state)
    Py_ssize_t next_number(Atomic *counter)
    void scores_f32(Py_ssize_t, Py_ssize_t, float * const*, const float *, float *)
    void scores_f64(Py_ssize_t, Py_ssize_t, double * const*, const double *, double *)
    void add_scaled_f32(Py_ssize_t, float, const float *, float *)
    void add_scaled_f64(Py_ssize_t, double, const double *, double *)
    void slopes_f32(Py_ssize_t, float, const float *, const float *, float *, float *, float *)
    void slopes_f64(Py_ssize_t, double, const double *, const double *, double *, double *, double *)
    void step_f32(Py_ssize_t, Py_ssize_t, float * const*, const float *, const float *,
                  const float *, float *)
    void step_f64(Py_ssize_t, Py_ssize_t, double * const*, const double *, const double *,
                  const double *, double *)
    void prefetch_f32(Py_ssize_t, const float *)
    void prefetch_f64(Py_ssize_t, const double *)
    float *row_f32(const Rows *, Py_ssize_t, Py_ssize_t, float *)
    double *row_f64(const Rows *, Py_ssize_t, Py_ssize_t, double *)
    void copy_f32(Rows *, Py_ssize_t)
    void copy_f64(Rows *, Py_ssize_t)
    void exchange_f32(const Rows *, Py_ssize_t, Py_ssize_t)
    void exchange_f64(const Rows *, Py_ssize_t, Py_ssize_t)
    void exchange_some_f32(Rows *, Py_ssize_t)
    void exchange_some_f64(Rows *, Py_ssize_t)


cdef inline void scores(Py_ssize_t n, Py_ssize_t count, floating **u, const floating *h,
                        floating *p) noexcept nogil:
    if floating is float:
        scores_f32(n, count, u, h, p)
    else:
        scores_f64(n, count, u, h, p)


cdef inline void add_scaled(
    Py_ssize_t n, floating a, const floating *x, floating *y
) noexcept nogil:
    if floating is float:
        add_scaled_f32(n, a, x, y)
    else:
        add_scaled_f64(n, a, x, y)


cdef inline void slopes(Py_ssize_t count, floating rate, const floating *sign, const floating *size,
                        floating *p, floating *g, floating *move) noexcept nogil:
    if floating is float:
        slopes_f32(count, rate, sign, size, p, g, move)
    else:
        slopes_f64(count, rate, sign, size, p, g, move)


cdef inline void step(Py_ssize_t n, Py_ssize_t count, floating **u, const floating *g,
                      const floating *move, const floating *h, floating *change) noexcept nogil:
    if floating is float:
        step_f32(n, count, u, g, move, h, change)
    else:
        step_f64(n, count, u, g, move, h, change)


cdef inline void prefetch(Py_ssize_t n, const floating *row) noexcept nogil:
    if floating is float:
        prefetch_f32(n, row)
    else:
        prefetch_f64(n, row)


cdef inline floating *row_of(
    const Rows *rows, Py_ssize_t n, Py_ssize_t i, floating *size
) noexcept nogil:
    if floating is float:
        return row_f32(rows, n, i, size)
    else:
        return row_f64(rows, n, i, size)


cdef inline void copy(floating *of_type, Rows *rows, Py_ssize_t n) noexcept nogil:
    if floating is float:
        copy_f32(rows, n)
    else:
        copy_f64(rows, n)


cdef inline void exchange(
    floating *of_type, const Rows *rows, Py_ssize_t n, Py_ssize_t k
) noexcept nogil:
    if floating is float:
        exchange_f32(rows, n, k)
    else:
        exchange_f64(rows, n, k)


cdef inline void exchange_some(floating *of_type, Rows *rows, Py_ssize_t n) noexcept nogil:
    if floating is float:
        exchange_some_f32(rows, n)
    else:
        exchange_some_f64(rows, n)
