/* Where systems differ: atomic operations, locks, threads, clocks and cores.
 *
 * All atomic operations are sequentially consistent.
 */
#ifndef MINILLM_SYSTEM_H
#define MINILLM_SYSTEM_H
#include <stdint.h>
#include <string.h>

typedef int64_t Atomic;
#define LOAD(place) __atomic_load_n(place, __ATOMIC_SEQ_CST)
#define STORE(place, value) __atomic_store_n(place, value, __ATOMIC_SEQ_CST)
#define ADD(place, value) __atomic_add_fetch(place, value, __ATOMIC_SEQ_CST)
#define EXCHANGE(place, value) __atomic_exchange_n(place, value, __ATOMIC_SEQ_CST)
/* Whether the place had the old value, and has the new one now. */
static inline int replaced(Atomic *place, int64_t old, int64_t value)
{
    return __atomic_compare_exchange_n(place, &old, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* PAUSE() tells the core that this thread only polls. */
#if defined(__x86_64__) || defined(__i386__)
#define PAUSE() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define PAUSE() __asm__ __volatile__("isb")
#else
#define PAUSE() ((void)0)
#endif

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <process.h>
#include <windows.h>
typedef SRWLOCK Lock;
typedef CONDITION_VARIABLE Condition;
#define UNLOCKED SRWLOCK_INIT
#define THREAD_MAIN(name) static unsigned __stdcall name(void *argument)
static inline void lock(Lock *held) { AcquireSRWLockExclusive(held); }
static inline void unlock(Lock *held) { ReleaseSRWLockExclusive(held); }
static inline void open_condition(Lock *held, Condition *condition)
{
    InitializeSRWLock(held);
    InitializeConditionVariable(condition);
}
static inline void wait_for(Condition *condition, Lock *held)
{
    SleepConditionVariableSRW(condition, held, INFINITE, 0);
}
static inline void wake(Condition *condition) { WakeConditionVariable(condition); }
static inline int64_t nanoseconds(void)
{
    LARGE_INTEGER ticks, per_second;
    QueryPerformanceCounter(&ticks);
    QueryPerformanceFrequency(&per_second);
    return (int64_t)(1e9 * (double)ticks.QuadPart / (double)per_second.QuadPart);
}
/* Whether the thread could be started. */
static inline int start_thread(unsigned(__stdcall *run)(void *), void *argument)
{
    const uintptr_t thread = _beginthreadex(NULL, 0, run, argument, 0, NULL);
    if (thread)
        CloseHandle((HANDLE)thread);
    return thread != 0;
}
#else
#include <pthread.h>
#include <signal.h>
#include <time.h>
typedef pthread_mutex_t Lock;
typedef pthread_cond_t Condition;
#define UNLOCKED PTHREAD_MUTEX_INITIALIZER
#define THREAD_MAIN(name) static void *name(void *argument)
static inline void lock(Lock *held) { pthread_mutex_lock(held); }
static inline void unlock(Lock *held) { pthread_mutex_unlock(held); }
static inline void open_condition(Lock *held, Condition *condition)
{
    pthread_mutex_init(held, NULL);
    pthread_cond_init(condition, NULL);
}
static inline void wait_for(Condition *condition, Lock *held) { pthread_cond_wait(condition, held); }
static inline void wake(Condition *condition) { pthread_cond_signal(condition); }
static inline int64_t nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}
/* Whether the thread could be started.  Signals are for Python's threads: this one takes none. */
static inline int start_thread(void *(*run)(void *), void *argument)
{
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    int failed;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, 4 << 20); /* musl's own are too small */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    failed = pthread_create(&thread, &attributes, run, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return !failed;
}
#endif

#ifdef __linux__
#include <sched.h>
#include <unistd.h>
/* The core that this thread is on. */
static inline int core(void) { return sched_getcpu(); }
/* Move this thread to another core that the process may use, and leave it free to move again. */
static inline void leave_core(int core)
{
    cpu_set_t all, others;
    if (sched_getaffinity(getpid(), sizeof(all), &all))
        return;
    others = all;
    CPU_CLR(core, &others);
    if (CPU_COUNT(&others) > 0)
        sched_setaffinity(0, sizeof(others), &others);
    sched_setaffinity(0, sizeof(all), &all);
}
#else /* it is not known, and the system moves threads by itself */
static inline int core(void) { return -1; }
static inline void leave_core(int core) { (void)core; }
#endif

#endif
