/* A body: the function of a kernel that does a part of its work, for team.h. */
#ifndef MINILLM_BODY_H
#define MINILLM_BODY_H
#include <stddef.h>

typedef struct {
    ptrdiff_t first, last; /* items of the work, `last` not included */
    int me;                /* the thread: a result may not depend on it */
} Part;

/* A body that Cython compiles for both precisions has `of_type`, which is NULL, to tell them apart. */
typedef void (*Body)(void *of_type, void *work, Part part);

#endif
