/* The team of threads that all kernels share, and how work is handed out.
 *
 * A *region* is one call of `share`: `count` items, cut into pieces.  Each thread owns a share of the
 * pieces, the same one in every region of this size, so that its caches may still hold what it needs.
 * A thread takes the pieces of its own share one by one, then those that are left of the others'.
 * The caller does the same, and in the end waits for pieces that others have begun.  So a thread that
 * sleeps, or whose core has been given to another program, holds nobody up unless it is within a piece.
 *
 * A region has one phase or several.  A piece of a phase can be taken when all pieces of the phase
 * before are done.
 *
 * A share is one number: that of its region, and how many pieces of it are left.  To take a piece is
 * to replace this number by the next lower one.  If that succeeds, the region had not ended, and what
 * was read of it meanwhile is valid: a thread that comes too late takes nothing.
 *
 * A thread without work polls for some time, because the next region of a step comes within
 * microseconds, and waking up takes longer.  Then it sleeps.
 *
 * On a busy machine a thread loses its core for milliseconds, in a piece as well.
 *
 * - A caller that waits for such a thread gives it its own core, which it does not need meanwhile, and
 *   sleeps (on Linux).  A thread that is left on the caller's core leaves it.
 * - Where the caller has to wait for a core itself, other threads add nothing: they take their time from
 *   it or from others.  Then kernels run on one thread.
 * - So they do where the caller has waited for others for longer than these have helped.
 * - Kernels whose pieces are short run on one thread as soon as other programs use the core of a thread of
 *   the team, that is, where it has run for less time than has passed.  Where the system does not tell the
 *   caller's own waiting, all kernels do.
 *
 * The bits of a result never depend on who takes a piece.
 */
#ifndef MINILLM_TEAM_H
#define MINILLM_TEAM_H
#include "body.h"
#include "system.h"

enum {
    MOST_THREADS = 512,
    APART = 128,        /* bytes, so that the numbers of two threads are never in one cache line */
    POLLING = 200000,   /* nanoseconds, like all times here, until a thread that waits goes to sleep */
    CREDIT = 5000000,   /* so much of what was saved may be lost again by waiting */
    LOOK = 2000000,     /* after which a thread looks again whether it had its core */
    LOOK_OF_CALLER = 10000000,
    ELSEWHERE = 2000000, /* without a region, after which the caller was doing something else */
    MISSED = 500000,    /* without the core: an interruption that does not matter */
    CLEAN = 100000000   /* without more than that, after which all is well */
};

enum { TIMES = 8, MOST_TIMES = 32 }; /* times as long as was lost, kernels run on one thread */

typedef struct {
    Atomic number; /* region << 32 | pieces left */
    char apart[APART - sizeof(Atomic)];
} Share;

typedef struct { /* a thread of the team: the first is the caller */
    Lock held;
    Condition condition;
    Atomic asleep;
    Atomic core;    /* where it was when it last began to work */
    Atomic number;  /* by which the system knows it */
    Atomic working; /* whether it is in a piece */
    Atomic moved;   /* whether it was moved to the caller's core */
} Thread;

static struct {
    Atomic leading; /* whether a caller has the team */
    char apart[APART];
    /* The region.  Its caller writes these before any share has its number. */
    Body body;
    void *work;
    ptrdiff_t count;
    Atomic pieces, phases, threads;
    Atomic all; /* pieces of all phases */
    char apart_too[APART];
    Atomic done;   /* pieces */
    Atomic helped; /* nanoseconds that others have worked on them */
    char apart_as_well[APART];
    /* The caller's own. */
    int64_t region;
    int64_t waited;  /* in this region */
    int64_t balance; /* what others have saved, and was not lost again */
    int started;     /* threads of the team, the caller included */
    Atomic alone_until;       /* when kernels may use several threads again; 0: now */
    Atomic alone_until_short; /* the same for kernels of short pieces */
    Share shares[MOST_THREADS];
    Thread members[MOST_THREADS];
} team;

static Atomic patient = 0; /* however busy the machine is, all threads are used: for tests */

/* --- waiting ---------------------------------------------------------------------------------- */

enum { NEVER = -1 };

/* Whether so many pieces are done (unless that is NEVER), or another region has begun. */
static int has_come(int me, int64_t region, int64_t pieces)
{
    return (pieces != NEVER && LOAD(&team.done) >= pieces) ||
           LOAD(&team.shares[me].number) >> 32 != region;
}

/* Whether this thread is on the core of one that it waits for: the caller, or one that has begun. */
static int is_in_the_way(int me)
{
    const int threads = me == 0 ? (int)LOAD(&team.threads) : 1, here = core();
    if (here < 0)
        return 0;
    for (int i = me == 0; i < threads; i++)
        if (LOAD(&team.members[i].core) == here)
            return 1;
    return 0;
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

/* Poll for some time, and return whether it has come. */
static int has_come_in_time(int me, int64_t region, int64_t pieces)
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
    STORE(&sleeper->asleep, 0); /* nobody needs to wake it again */
    unlock(&sleeper->held);
    wake(&sleeper->condition);
}

/* The first of the others that is in a piece; 0: none. */
static int working_thread(void)
{
    const int threads = (int)LOAD(&team.threads);
    for (int i = 1; i < threads; i++)
        if (LOAD(&team.members[i].working))
            return i;
    return 0;
}

/* Poll for some time, and return whether so many pieces are done.  A thread that has no core gets this one. */
static int are_done_in_time(int64_t pieces)
{
    const int64_t end = nanoseconds() + POLLING;
    do {
        const int other = working_thread();
        const int64_t thread = LOAD(&team.members[other].number), ran = run_time_of(thread);
        const int64_t start = nanoseconds();
        for (int i = 0; i < 25; i++)
            if (comes_soon(0, team.region, pieces))
                return 1;
        if (other && ran != UNKNOWN && LOAD(&team.members[other].working) &&
            run_time_of(thread) - ran < (nanoseconds() - start) / 8) {
            const int here = core();
            STORE(&team.members[other].core, here);
            STORE(&team.members[other].moved, 1);
            move_thread(thread, here);
            return 0;
        }
    } while (!is_in_the_way(0) && nanoseconds() < end);
    return 0;
}

/* The caller waits for others, and notes for how long, unless that is shorter than reading the clock. */
static void wait_until_done(int64_t pieces)
{
    int64_t start;
    if (comes_soon(0, team.region, pieces))
        return;
    start = nanoseconds();
    while (!are_done_in_time(pieces) && LOAD(&team.done) < pieces)
        sleep_for_it(0, team.region, pieces);
    team.waited += nanoseconds() - start;
}

/* --- one thread's part of a region ------------------------------------------------------------ */

typedef enum { NONE, LATER, TAKEN } Outcome;

/* Take a piece of somebody's share of a region.  LATER: when so many pieces are done as are needed. */
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

/* Take all pieces of somebody's share that can be taken now; return how many. */
static int64_t take_from(int owner, int me, int64_t region, int64_t *needed)
{
    Part part = {0, 0, me};
    Thread *own = &team.members[me];
    int64_t count = 0, start = 0;
    while (take(owner, region, &part, needed) == TAKEN) {
        if (me > 0 && count == 0) {
            STORE(&own->working, 1);
            start = nanoseconds();
        }
        team.body(NULL, team.work, part);
        count++;
    }
    if (count > 0) {
        if (me > 0) {
            ADD(&team.helped, nanoseconds() - start);
            STORE(&own->working, 0);
        }
        ADD(&team.done, count);
        wake_up(&team.members[0]);
        if (LOAD(&own->moved)) {
            STORE(&own->moved, 0);
            has_left(core());
        }
    }
    return count;
}

/* Take pieces until none is left; return how many there were. */
static int64_t take_part(int me, int64_t region)
{
    const int here = core();
    int64_t all = 0, stolen = 0;
    if (LOAD(&team.members[me].core) != here)
        STORE(&team.members[me].core, here);
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
                else if (!has_come_in_time(me, region, needed))
                    return all; /* and come back with the next region */
            }
        }
        if (stolen == 0 && needed == NEVER)
            return all;
    }
}

/* Let kernels run on one thread for so long. */
static void be_alone(Atomic *alone_until, int64_t time)
{
    const int64_t until = nanoseconds() + time;
    if (!LOAD(&patient) && until > LOAD(alone_until))
        STORE(alone_until, until);
}

/* --- the threads ------------------------------------------------------------------------------ */

/* What a thread knows of its core: when it looked last, by the clock and by a count of its own. */
typedef struct {
    int64_t since, counted;
    int64_t clean; /* for so long, the core was not taken away */
    int64_t times; /* so many times as long as it was, kernels run on one thread the next time */
} Core;

static void look_anew(Core *state)
{
    state->since = nanoseconds();
    state->counted = own_nanoseconds();
}

/* Whether missing the core for so long matters; if it happens again and again, it has longer consequences. */
static int matters(Core *state, int64_t missed, int64_t passed, Atomic *alone_until)
{
    if (missed <= MISSED + passed / 8) {
        state->clean += passed < LOOK_OF_CALLER ? passed : LOOK_OF_CALLER;
        if (state->clean > CLEAN)
            state->times = TIMES;
        return 0;
    }
    be_alone(alone_until, state->times * missed);
    state->times = 2 * state->times < MOST_TIMES ? 2 * state->times : MOST_TIMES;
    state->clean = 0;
    return 1;
}

/* Where other programs use this core as well, a caller had better not wait for this thread. */
static void look_at_core(Core *state, int me)
{
    const int64_t passed = nanoseconds() - state->since;
    const int stays = is_in_the_way(me) && !has_left(core());
    const int64_t missed = stays ? passed : passed - (own_nanoseconds() - state->counted);
    if (matters(state, missed, passed, &team.alone_until_short) &&
        (stays || time_in_queue() == UNKNOWN))
        STORE(&team.alone_until, LOAD(&team.alone_until_short));
    look_anew(state);
}

THREAD_MAIN(serve)
{
    const int me = (int)(intptr_t)argument;
    int64_t region = 0;
    Core state = {0, 0, 0, TIMES};
    STORE(&team.members[me].number, thread_number());
    look_anew(&state);
    for (;;) {
        const int come = has_come_in_time(me, region, NEVER);
        if (!come || nanoseconds() - state.since > LOOK)
            look_at_core(&state, me);
        if (!come) {
            sleep_for_it(me, region, NEVER);
            look_anew(&state);
        }
        region = LOAD(&team.shares[me].number) >> 32;
        take_part(me, region);
    }
    return THREAD_END;
}

/* Return how many threads the team has, the caller included: as many as are wanted, if they start. */
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

/* Compare, for a region, how long others were waited for with what they have saved.
 *
 * That is as long as their pieces took, or would have taken here, if all are alike: of these the
 * shorter, because any thread may have lost its core meanwhile.
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
        be_alone(&team.alone_until, -TIMES * team.balance);
        team.balance = 0;
    }
}

/* When this thread, a caller, was last in a region. */
static THREAD_LOCAL int64_t left_region = 0;

/* Whether this thread, a caller, has had to wait for a core lately.
 *
 * If it has been elsewhere meanwhile, in another library perhaps, that says nothing: such a library may
 * have threads of its own, which polled on this core.
 */
static int is_crowded(void)
{
    static THREAD_LOCAL Core state = {0, 0, 0, TIMES};
    const int64_t now = nanoseconds(), passed = now - state.since;
    const int was_elsewhere = now - left_region > ELSEWHERE;
    int64_t queue, waited;
    if (passed < LOOK_OF_CALLER && !was_elsewhere)
        return 0;
    queue = time_in_queue();
    waited = was_elsewhere ? 0 : queue - state.counted;
    state.since = now;
    state.counted = queue;
    return matters(&state, waited, passed, &team.alone_until) && !LOAD(&patient);
}

static void lead(Body body, void *work, ptrdiff_t phases, ptrdiff_t count, int64_t pieces,
                 int threads)
{
    const int64_t start = nanoseconds();
    int64_t own;
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
    if (threads > 1 && !is_crowded() && !EXCHANGE(&team.leading, 1)) {
        threads = started(threads);
        if (threads > 1)
            lead(body, work, phases, count, pieces, threads);
        STORE(&team.leading, 0);
        left_region = nanoseconds();
        if (threads > 1)
            return;
    }
    body(NULL, work, (Part){0, phases * count, 0});
}

/* Whether it is too early for several threads. */
static int is_alone(Atomic *alone_until)
{
    const int64_t until = LOAD(alone_until);
    if (until == 0)
        return 0;
    if (nanoseconds() < until)
        return 1;
    STORE(alone_until, 0);
    return 0;
}

/* How many of so many threads a kernel should use now. */
static int threads_now(int threads)
{
    return threads > 1 && is_alone(&team.alone_until) ? 1 : threads;
}

static int short_pieces_are_alone(void) { return is_alone(&team.alone_until_short); }

/* How many threads this Python thread may use; 0: it has not been told. */
static THREAD_LOCAL int chosen_threads = 0;

static int chosen(void) { return chosen_threads; }
static void choose(int count) { chosen_threads = count; }

static void be_patient(int on)
{
    STORE(&patient, on);
    STORE(&team.alone_until, 0);
    STORE(&team.alone_until_short, 0);
}

#endif
