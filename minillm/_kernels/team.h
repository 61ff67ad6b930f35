/* The team of threads that all kernels share, and how work is handed out.
 *
 * A *region* is one call of `share`: `count` items, cut into pieces.  Each thread owns a share of the
 * pieces, the same one in every region of this size, so that its caches may still hold what it needs.
 * A thread takes the pieces of its own share one by one, and then those left in the shares of others.
 * The caller does the same, and at the end waits for the pieces that others have begun.  So a thread that
 * sleeps, or whose core works for another program, delays the region only if it is within a piece.
 *
 * A region has one phase or several.  A piece of a phase can be taken when all pieces of the phase
 * before are done.
 *
 * A share is one number: the number of its region, and how many of its pieces are left.  A thread takes a
 * piece by replacing this number by the next lower one.  If that succeeds, the region had not ended, and
 * everything read about it in between is valid: a thread that comes too late takes nothing.
 *
 * A thread without work polls for some time, because the next region of a step comes within
 * microseconds, and waking a thread takes longer.  Then it sleeps.
 *
 * On a busy machine a thread loses its core for milliseconds, in a piece as well.  If the caller has
 * waited for others for longer than they have helped, kernels run on one thread for a while.  A thread that
 * is on the caller's core would only take time from it: it moves to another core and sleeps.
 *
 * The bits of a result never depend on which thread takes a piece.
 */
#ifndef MINILLM_TEAM_H
#define MINILLM_TEAM_H
#include "body.h"
#include "system.h"

enum {
    MOST_THREADS = 512,
    APART = 128,      /* bytes, so that the numbers of two threads are never in one cache line */
    POLLING = 200000, /* nanoseconds, like all times here, until a thread that waits goes to sleep */
    CREDIT = 5000000, /* the most of the time saved that may be lost again by waiting */
    TIMES = 8,        /* times as long as was lost, kernels run on one thread */
    NEVER = -1
};

typedef struct {
    Atomic number; /* region << 32 | pieces left */
    char apart[APART - sizeof(Atomic)];
} Share;

typedef struct { /* a thread of the team: the first is the caller */
    Lock held;
    Condition condition;
    Atomic asleep;
} Thread;

static struct {
    Atomic leading; /* whether a caller has the team */
    char apart[APART];
    /* The region.  Its caller writes these before any share has its number. */
    Body body;
    void *work;
    ptrdiff_t count;
    Atomic pieces, phases, threads;
    Atomic all;  /* pieces of all phases */
    Atomic core; /* of the caller */
    char apart_too[APART];
    Atomic done;   /* pieces */
    Atomic helped; /* time that others have worked on them */
    char apart_as_well[APART];
    /* The caller's own. */
    int64_t region;
    int64_t waited;     /* in this region */
    int64_t balance;    /* time that others have saved, and that was not lost again */
    int started;        /* threads of the team, the caller included */
    Atomic alone_until; /* when kernels may use several threads again; 0: now */
    Share shares[MOST_THREADS];
    Thread members[MOST_THREADS];
} team;

static Atomic patient = 0; /* however busy the machine is, all threads are used: for tests */

/* --- waiting ---------------------------------------------------------------------------------- */

/* Whether so many pieces are done (unless that is NEVER), or another region has begun. */
static int has_come(int me, int64_t region, int64_t pieces)
{
    return (pieces != NEVER && LOAD(&team.done) >= pieces) ||
           LOAD(&team.shares[me].number) >> 32 != region;
}

/* Poll for about a microsecond, and return whether it has come. */
static int comes_soon(int me, int64_t region, int64_t pieces)
{
    for (int polls = 0; polls < 50; polls++) {
        if (has_come(me, region, pieces))
            return 1;
        PAUSE();
    }
    return 0;
}

/* Whether this thread is on the core of the caller, and is not the caller itself. */
static int is_in_the_way(int me)
{
    const int here = core();
    return me > 0 && here >= 0 && LOAD(&team.core) == here;
}

/* Poll for some time, and return whether it has come. */
static int comes_in_time(int me, int64_t region, int64_t pieces)
{
    const int64_t end = nanoseconds() + POLLING;
    do {
        if (comes_soon(me, region, pieces))
            return 1;
    } while (!is_in_the_way(me) && nanoseconds() < end);
    return 0;
}

/* Sleep until it has come, or perhaps not so long. */
static void sleep_for_it(int me, int64_t region, int64_t pieces)
{
    Thread *own = &team.members[me];
    lock(&own->held);
    STORE(&own->asleep, 1);
    if (!has_come(me, region, pieces))
        wait_for(&own->condition, &own->held);
    STORE(&own->asleep, 0);
    unlock(&own->held);
}

/* To be called after the store for which the sleeper waits. */
static void wake_up(Thread *sleeper)
{
    if (!LOAD(&sleeper->asleep))
        return;
    lock(&sleeper->held);
    STORE(&sleeper->asleep, 0); /* no other thread needs to wake it again */
    unlock(&sleeper->held);
    wake(&sleeper->condition);
}

/* The caller waits for others, and notes for how long, unless that is shorter than reading the clock. */
static void wait_until_done(int64_t pieces)
{
    int64_t start;
    if (comes_soon(0, team.region, pieces))
        return;
    start = nanoseconds();
    while (!comes_in_time(0, team.region, pieces))
        sleep_for_it(0, team.region, pieces);
    team.waited += nanoseconds() - start;
}

/* --- one thread's part of a region ------------------------------------------------------------ */

typedef enum { NONE, LATER, TAKEN } Outcome;

/* Take a piece of an owner's share of a region.  LATER: when as many pieces are done as are needed. */
static Outcome take(int owner, int64_t region, Part *part, int64_t *needed)
{
    Atomic *share = &team.shares[owner].number;
    for (;;) {
        const int64_t number = LOAD(share), left = number & UINT32_MAX;
        int64_t pieces, threads, begin, length, taken, phase, index;
        if (number >> 32 != region || left == 0)
            return NONE;
        pieces = LOAD(&team.pieces);
        threads = LOAD(&team.threads);
        begin = owner * pieces / threads;
        length = (owner + 1) * pieces / threads - begin;
        if (length <= 0) /* the numbers of another region: this one has just ended */
            continue;
        taken = LOAD(&team.phases) * length - left;
        phase = taken / length;
        if (LOAD(&team.done) < phase * pieces) {
            *needed = phase * pieces;
            return LATER;
        }
        if (!replaced(share, number, number - 1))
            continue;
        index = begin + taken % length;
        part->first = (ptrdiff_t)(phase * team.count + index * team.count / pieces);
        part->last = (ptrdiff_t)(phase * team.count + (index + 1) * team.count / pieces);
        return TAKEN;
    }
}

/* Take all pieces of an owner's share that can be taken now; return how many. */
static int64_t take_from(int owner, int me, int64_t region, int64_t *needed)
{
    Part part = {0, 0, me};
    int64_t count = 0, start = 0;
    while (take(owner, region, &part, needed) == TAKEN) {
        if (me > 0 && count == 0)
            start = nanoseconds();
        team.body(NULL, team.work, part);
        count++;
    }
    if (count > 0) {
        if (me > 0)
            ADD(&team.helped, nanoseconds() - start);
        ADD(&team.done, count);
        wake_up(&team.members[0]);
    }
    return count;
}

/* Take pieces until none is left; return how many there were. */
static int64_t take_part(int me, int64_t region)
{
    int64_t all = 0, stolen = 0;
    for (;;) {
        const int threads = (int)LOAD(&team.threads);
        int64_t needed = NEVER;
        all += take_from(me, me, region, &needed);
        /* The others mostly are done with theirs at the same time: then their shares, which are in
         * their caches, are not looked at.  If they were not in the phase before, they are not here. */
        if (stolen > 0 || !comes_soon(me, region, needed == NEVER ? LOAD(&team.all) : needed)) {
            stolen = 0;
            for (int i = 1; i < threads; i++)
                stolen += take_from((me + i) % threads, me, region, &needed);
            all += stolen;
            if (stolen == 0 && needed != NEVER) {
                if (me == 0)
                    wait_until_done(needed);
                else if (!comes_in_time(me, region, needed))
                    return all; /* and come back with the next region */
            }
        }
        if (stolen == 0 && needed == NEVER)
            return all;
    }
}

/* --- the threads ------------------------------------------------------------------------------ */

THREAD_MAIN(serve)
{
    const int me = (int)(intptr_t)argument;
    int64_t region = 0;
    for (;;) {
        if (!comes_in_time(me, region, NEVER)) {
            if (is_in_the_way(me))
                leave_core(core());
            sleep_for_it(me, region, NEVER);
        }
        region = LOAD(&team.shares[me].number) >> 32;
        take_part(me, region);
    }
    return 0;
}

/* How many threads the team has, the caller included: as many as are wanted, if they start. */
static int started(int threads)
{
    if (team.started == 0) {
        open_condition(&team.members[0].held, &team.members[0].condition);
        team.started = 1;
    }
    while (team.started < threads) {
        Thread *sleeper = &team.members[team.started];
        open_condition(&sleeper->held, &sleeper->condition);
        if (!start_thread(serve, (void *)(intptr_t)team.started))
            break;
        team.started++;
    }
    return team.started < threads ? team.started : threads;
}

/* In the child of a fork there is only the thread that has forked. */
static void forget_threads(void) { memset(&team, 0, sizeof(team)); }

/* --- the caller ------------------------------------------------------------------------------- */

/* Compare how long others were waited for in a region with the time that they have saved.
 *
 * That is the time that their pieces took, or would have taken here if all pieces are alike: the
 * shorter of the two, because any thread may have lost its core meanwhile.
 */
static void keep_balance(int64_t worked, int64_t own_pieces)
{
    const int64_t others = LOAD(&team.all) - own_pieces, helped = LOAD(&team.helped);
    int64_t saved;
    if (own_pieces == 0) /* they have done everything, while this thread was away */
        return;
    saved = worked * others / own_pieces;
    team.balance += (saved < helped ? saved : helped) - team.waited;
    if (team.balance > CREDIT)
        team.balance = CREDIT;
    if (team.balance < 0) {
        if (!LOAD(&patient))
            STORE(&team.alone_until, nanoseconds() - TIMES * team.balance);
        team.balance = 0;
    }
}

static void lead(Body body, void *work, ptrdiff_t phases, ptrdiff_t count, int64_t pieces,
                 int threads)
{
    const int64_t start = nanoseconds();
    int64_t own;
    STORE(&team.core, core());
    team.body = body;
    team.work = work;
    team.count = count;
    STORE(&team.pieces, pieces);
    STORE(&team.phases, phases);
    STORE(&team.threads, threads);
    STORE(&team.all, phases * pieces);
    STORE(&team.helped, 0);
    STORE(&team.done, 0);
    team.waited = 0;
    team.region = team.region % INT32_MAX + 1;
    for (int i = threads - 1; i >= 0; i--) { /* the caller's own last, which is at hand */
        const int64_t length = (i + 1) * pieces / threads - i * pieces / threads;
        STORE(&team.shares[i].number, team.region << 32 | phases * length);
    }
    for (int i = 1; i < threads; i++)
        wake_up(&team.members[i]);
    own = take_part(0, team.region);
    wait_until_done(phases * pieces);
    keep_balance(nanoseconds() - start - team.waited, own);
}

/* Run the body on all items of all phases: item i of a phase is phase * count + i.
 *
 * One caller has the team at a time; another does its work by itself.
 */
static void run_region(Body body, void *work, ptrdiff_t phases, ptrdiff_t count, int64_t pieces,
                       int threads)
{
    if (pieces < threads)
        threads = (int)pieces;
    if (threads > 1 && !EXCHANGE(&team.leading, 1)) {
        threads = started(threads);
        if (threads > 1)
            lead(body, work, phases, count, pieces, threads);
        STORE(&team.leading, 0);
        if (threads > 1)
            return;
    }
    body(NULL, work, (Part){0, phases * count, 0});
}

/* How many of so many threads a kernel should use now. */
static int threads_now(int threads)
{
    const int64_t until = LOAD(&team.alone_until);
    if (threads == 1 || until == 0)
        return threads;
    if (nanoseconds() < until)
        return 1;
    STORE(&team.alone_until, 0);
    return threads;
}

static void be_patient(int on)
{
    STORE(&patient, on);
    STORE(&team.alone_until, 0);
}

#endif
