/* The meeting of the threads of one parallel region, which wait for each other.
 *
 * The threads of a small model meet every few microseconds, so that sleeping and waking up would
 * take longer than waiting: a thread polls.  If that takes long, the other's core is busy with
 * something else, and the thread sleeps.
 * The team is that of OpenMP, which may be smaller than requested.
 */
#ifndef MINILLM_MEETING_H
#define MINILLM_MEETING_H

#ifdef _OPENMP
#include <omp.h>
static inline int team_size(void) { return omp_get_num_threads(); }
#else
static inline int team_size(void) { return 1; }
#endif

#if defined(__GNUC__) && !defined(_WIN32)
#include <pthread.h>
#if defined(__x86_64__) || defined(__i386__)
#define PAUSE() __builtin_ia32_pause()
#else
#define PAUSE() ((void)0)
#endif
enum { PATIENCE = 1000 }; /* questions: some tens of microseconds */

typedef struct {
    int arrived, asleep; /* how many */
    int round;           /* how often all have met */
    pthread_mutex_t mutex;
    pthread_cond_t met;
} Meeting;

static inline void open_meeting(Meeting *meeting)
{
    meeting->arrived = meeting->asleep = meeting->round = 0;
    pthread_mutex_init(&meeting->mutex, NULL);
    pthread_cond_init(&meeting->met, NULL);
}

static inline void close_meeting(Meeting *meeting)
{
    pthread_cond_destroy(&meeting->met);
    pthread_mutex_destroy(&meeting->mutex);
}

static inline void meet(Meeting *meeting, int team)
{
    if (team == 1)
        return;
    const int round = __atomic_load_n(&meeting->round, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(&meeting->arrived, 1, __ATOMIC_ACQ_REL) == team) {
        __atomic_store_n(&meeting->arrived, 0, __ATOMIC_RELAXED);
        pthread_mutex_lock(&meeting->mutex);
        __atomic_store_n(&meeting->round, round + 1, __ATOMIC_RELEASE);
        if (meeting->asleep)
            pthread_cond_broadcast(&meeting->met);
        pthread_mutex_unlock(&meeting->mutex);
        return;
    }
    for (int asked = 0; asked < PATIENCE; asked++) {
        if (__atomic_load_n(&meeting->round, __ATOMIC_ACQUIRE) != round)
            return;
        PAUSE();
    }
    pthread_mutex_lock(&meeting->mutex);
    meeting->asleep++;
    while (__atomic_load_n(&meeting->round, __ATOMIC_ACQUIRE) == round)
        pthread_cond_wait(&meeting->met, &meeting->mutex);
    meeting->asleep--;
    pthread_mutex_unlock(&meeting->mutex);
}
#else /* OpenMP's own */
typedef struct {
    int unused;
} Meeting;
static inline void open_meeting(Meeting *meeting) { (void)meeting; }
static inline void close_meeting(Meeting *meeting) { (void)meeting; }
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
