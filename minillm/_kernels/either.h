/* Shared by all headers, which are written for GCC and clang. */
#ifndef MINILLM_EITHER_H
#define MINILLM_EITHER_H

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* One name for two functions, x_f32 and x_f64: the type of *pointer chooses. */
#define EITHER(name, pointer) _Generic(*(pointer), float: name##_f32, double: name##_f64)

#endif
