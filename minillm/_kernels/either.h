/* Shared by all headers, which are written for GCC and clang. */
#ifndef MINILLM_EITHER_H
#define MINILLM_EITHER_H

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* Functions between these two are for CPUs that have `name` as well; what calls them has asked the CPU. */
#define PRAGMA(...) _Pragma(#__VA_ARGS__)
#if defined(__clang__)
#define BEGIN_TARGET(name) PRAGMA(clang attribute push(__attribute__((target(name))), apply_to = function))
#define END_TARGET PRAGMA(clang attribute pop)
#else
#define BEGIN_TARGET(name) PRAGMA(GCC push_options) PRAGMA(GCC target(name))
#define END_TARGET PRAGMA(GCC pop_options)
#endif

/* One name for two functions, x_f32 and x_f64: the type of *pointer chooses. */
#define EITHER(name, pointer) _Generic(*(pointer), float: name##_f32, double: name##_f64)

#endif
