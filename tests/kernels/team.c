/* Tests of minillm/_kernels/team.h without Python; test_team.py compiles and runs them.
 *
 * Usage: team NAME.  Exits with 0 if the test of this name passes.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "system.h"
#ifdef NO_THREADS
#define start_thread no_thread
static int no_thread(void *(*run)(void *), void *argument)
{
    (void)run, (void)argument;
    return NO_THREADS; /* 0: it cannot be started; 1: it has started, and never runs */
}
#endif
#include "team.h"

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition);                                \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

enum { ITEMS = 60, MOST_PHASES = 20 };

typedef struct {
    int threads, slow;
    ptrdiff_t count;
    Atomic done[MOST_PHASES];
    char times[ITEMS * MOST_PHASES];  /* each item is one thread's, and so no lock is needed */
    int in_use[MOST_THREADS];         /* memory of each thread for itself */
} Work;

static void body(void *of_type, void *argument, Part part)
{
    Work *work = argument;
    CHECK(of_type == NULL && 0 <= part.me && part.me < work->threads);
    CHECK(!work->in_use[part.me]);
    work->in_use[part.me] = 1;
    for (ptrdiff_t i = part.first; i < part.last; i++) {
        const ptrdiff_t phase = i / work->count;
        CHECK(phase == 0 || LOAD(&work->done[phase - 1]) == work->count);
        work->times[i]++;
        ADD(&work->done[phase], 1);
        if (work->slow && (i * 7 + part.me) % work->slow == 0)
            usleep((i % 5) * 100);
    }
    work->in_use[part.me] = 0;
}

static void run_one(int threads, ptrdiff_t phases, ptrdiff_t count, int64_t pieces, int slow)
{
    Work *work = calloc(1, sizeof(Work));
    work->threads = threads;
    work->count = count;
    work->slow = slow;
    run_region(body, work, phases, count, pieces, threads);
    for (ptrdiff_t i = 0; i < phases * count; i++)
        CHECK(work->times[i] == 1);
    free(work);
}

/* Every item is run once, and no phase begins early. */
static void run_many(unsigned seed, int regions)
{
    for (int i = 0; i < regions; i++) {
        const ptrdiff_t count = 1 + rand_r(&seed) % ITEMS;
        const int phased = rand_r(&seed) % 2, slow = rand_r(&seed) % 8 ? 0 : 13;
        const ptrdiff_t phases = phased ? 1 + rand_r(&seed) % MOST_PHASES : 1;
        const int64_t pieces = phased ? count : 1 + rand_r(&seed) % count;
        run_one(1 + rand_r(&seed) % 6, phases, count, pieces, slow);
    }
}

static void once(void) { run_many(1, 1500); }

/* Several callers: one has the team, the others work alone. */
static void *call(void *seed)
{
    run_many((unsigned)(intptr_t)seed, 700);
    return NULL;
}

static void callers(void)
{
    pthread_t threads[4];
    for (intptr_t i = 0; i < 4; i++)
        CHECK(!pthread_create(&threads[i], NULL, call, (void *)i));
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

/* Workers sleep between regions, and are woken. */
static void pauses(void)
{
    for (int i = 0; i < 30; i++) {
        run_one(3, 4, 6, 6, 0);
        usleep(1000);
    }
}

/* A thread that is held up within a piece holds up nothing else. */
static Atomic finished;
static void held_up(void *of_type, void *argument, Part part)
{
    (void)of_type;
    if (part.me == 1)
        while (LOAD(&finished) < *(int *)argument - (part.last - part.first))
            PAUSE();
    ADD(&finished, part.last - part.first);
}

static void slow_thread(void)
{
    int count = 16;
    for (int i = 0; i < 200; i++) {
        STORE(&finished, 0);
        run_region(held_up, &count, 1, count, count, 2);
        CHECK(LOAD(&finished) == count);
    }
}

/* Compiled with NO_THREADS: the caller does everything. */
static void no_threads(void) { run_many(2, 200); }

static const int64_t ms = 1000000;

/* Kernels run on one thread for a while after others were waited for too long. */
static void region_of(int64_t all, int64_t own, int64_t worked, int64_t helped, int64_t waited)
{
    STORE(&team.all, all);
    STORE(&team.helped, helped);
    team.waited = waited;
    keep_balance(worked, own);
}

static void waiting(void)
{
    const int64_t start = nanoseconds();
    region_of(4, 2, 5 * ms, 3 * ms, 2 * ms); /* saved: 3 ms, because others took no longer, and not 5 */
    CHECK(threads_now(2) == 2 && team.balance == ms);
    region_of(4, 3, 3 * ms, 90 * ms, 4 * ms); /* saved: 1 ms, what one more piece takes here */
    CHECK(team.alone_until >= start + TIMES * 2 * ms && team.balance == 0);
    CHECK(team.alone_until <= nanoseconds() + TIMES * 2 * ms);
    STORE(&team.alone_until, nanoseconds() + 1000000 * ms);
    CHECK(threads_now(2) == 1);
    STORE(&team.alone_until, nanoseconds() - 1);
    CHECK(threads_now(2) == 2 && team.alone_until == 0);
    region_of(2, 1, 100 * ms, 100 * ms, 0);
    CHECK(team.balance == CREDIT); /* what was saved long ago allows no long waiting now */
    region_of(2, 0, 0, 60 * ms, 50 * ms); /* others did it all, while the caller was away */
    CHECK(threads_now(2) == 2 && team.balance == CREDIT);
    be_patient(1);
    region_of(2, 1, ms, ms, 50 * ms);
    CHECK(threads_now(2) == 2);
}

int main(int count, char **arguments)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } tests[] = {{"once", once},   {"callers", callers}, {"pauses", pauses}, {"slow_thread", slow_thread},
                 {"waiting", waiting}, {"no_threads", no_threads}};
    CHECK(count == 2);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        if (!strcmp(tests[i].name, arguments[1])) {
            tests[i].run();
            return 0;
        }
    fprintf(stderr, "no test is called %s\n", arguments[1]);
    return 2;
}
