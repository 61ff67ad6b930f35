/* One name for two functions, x_f32 and x_f64: the type of *pointer chooses. */
#ifndef MINILLM_EITHER_H
#define MINILLM_EITHER_H

#define EITHER(name, pointer) _Generic(*(pointer), float: name##_f32, double: name##_f64)

#endif
