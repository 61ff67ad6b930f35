/* Where compilers and systems differ: atomic operations, locks, threads, cores and clocks.
 *
 * All atomic operations are sequentially consistent.
 */
#ifndef MINILLM_SYSTEM_H
#define MINILLM_SYSTEM_H
#include <stdint.h>
#include <string.h>

enum { UNKNOWN = -1 };

#define THREAD_LOCAL __thread
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
#define THREAD_END 0
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
/* For how long this thread has had a core: Windows knows that too roughly, so always. */
static inline int64_t own_nanoseconds(void) { return nanoseconds(); }
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
#define THREAD_END NULL
static inline void lock(Lock *held) { pthread_mutex_lock(held); }
static inline void unlock(Lock *held) { pthread_mutex_unlock(held); }
static inline void open_condition(Lock *held, Condition *condition)
{
    pthread_mutex_init(held, NULL);
    pthread_cond_init(condition, NULL);
}
static inline void wait_for(Condition *condition, Lock *held) { pthread_cond_wait(condition, held); }
static inline void wake(Condition *condition) { pthread_cond_signal(condition); }
static inline int64_t time_of(clockid_t clock)
{
    struct timespec now;
    if (clock_gettime(clock, &now))
        return UNKNOWN;
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}
static inline int64_t nanoseconds(void) { return time_of(CLOCK_MONOTONIC); }
/* For how long this thread has had a core. */
static inline int64_t own_nanoseconds(void) { return time_of(CLOCK_THREAD_CPUTIME_ID); }
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

/* --- what Linux tells of cores and lets a thread do; elsewhere nothing is known ---------------- */

#ifdef __linux__
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
/* The core that this thread is on. */
static inline int core(void) { return sched_getcpu(); }
static inline int64_t thread_number(void) { return syscall(SYS_gettid); }
/* For how long a thread of this process has had a core. */
static inline int64_t run_time_of(int64_t thread)
{
    return time_of((clockid_t)(~(uint32_t)thread << 3 | 6));
}
/* For how long this thread has waited for a core, in nanoseconds. */
static inline int64_t time_in_queue(void)
{
    char text[100] = "";
    const int file = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    const int64_t length = file < 0 ? 0 : read(file, text, sizeof(text) - 1);
    char *second = strchr(text, ' ');
    if (file >= 0)
        close(file);
    return length > 0 && second ? strtoll(second, NULL, 10) : UNKNOWN;
}
/* Move a thread to a core, from which it must be released. */
static inline void move_thread(int64_t thread, int core)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    sched_setaffinity((pid_t)thread, sizeof(one), &one);
}
/* Release this thread to all cores that the process may use; whether it is not on this one any more. */
static inline int has_left(int core)
{
    cpu_set_t all, others;
    if (sched_getaffinity(getpid(), sizeof(all), &all))
        return 0;
    others = all;
    CPU_CLR(core, &others);
    const int left = CPU_COUNT(&others) > 0 && !sched_setaffinity(0, sizeof(others), &others);
    sched_setaffinity(0, sizeof(all), &all);
    return left;
}
#else
static inline int core(void) { return UNKNOWN; }
static inline int64_t thread_number(void) { return UNKNOWN; }
static inline int64_t run_time_of(int64_t thread) { return (void)thread, UNKNOWN; }
static inline int64_t time_in_queue(void) { return UNKNOWN; }
static inline void move_thread(int64_t thread, int core) { (void)thread, (void)core; }
static inline int has_left(int core) { return (void)core, 0; }
#endif

#endif
