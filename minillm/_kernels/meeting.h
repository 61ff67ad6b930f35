/* Where the threads of one parallel region wait for each other.
 *
 * A step of a small model meets every few microseconds, so that to sleep and be woken would take
 * longer than to wait: a thread asks again and again, and after a while lets others run first.
 * The team is what OpenMP has given, which may be less than what was asked for.
 */
#ifndef MINILLM_MEETING_H
#define MINILLM_MEETING_H

#ifdef _OPENMP
#include <omp.h>
static inline int team_size(void) { return omp_get_num_threads(); }
#else
static inline int team_size(void) { return 1; }
#endif

typedef struct {
    int arrived; /* of those who wait now */
    int round;   /* how often all have met */
} Meeting;

static inline void open_meeting(Meeting *meeting)
{
    meeting->arrived = meeting->round = 0;
}

#if defined(__GNUC__) && !defined(_WIN32)
#include <sched.h>
#if defined(__x86_64__) || defined(__i386__)
#define PAUSE() __builtin_ia32_pause()
#else
#define PAUSE() ((void)0)
#endif
enum { PATIENCE = 2000 }; /* questions: some tens of microseconds */

static inline void meet(Meeting *meeting, int team)
{
    if (team == 1)
        return;
    const int round = __atomic_load_n(&meeting->round, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(&meeting->arrived, 1, __ATOMIC_ACQ_REL) == team) {
        __atomic_store_n(&meeting->arrived, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&meeting->round, round + 1, __ATOMIC_RELEASE);
        return;
    }
    for (int asked = 0; __atomic_load_n(&meeting->round, __ATOMIC_ACQUIRE) == round; asked++)
        if (asked < PATIENCE)
            PAUSE();
        else
            sched_yield();
}
#else
static inline void meet(Meeting *meeting, int team)
{
    (void)meeting;
    if (team > 1) {
#ifdef _OPENMP
#pragma omp barrier
#endif
    }
}
#endif

#endif
