# Learning merges.  Included by bpe.pyx.
#
# The words stand one after the other as one row of tokens.  Where a token begins, its place is
# linked to the places before and after it in its word, and to the other places where the same
# pair begins: a list for each pair, in the order of the places.  A merge walks along the list of
# its pair.  At each place at most two other pairs end, and at most two new ones begin: their
# places move to other lists, and their counts are corrected.  All pairs that a merge makes are
# new ones, and go on the heap when it is done; the counts of all others only fall.

from libc.stdlib cimport realloc

cdef enum:
    LONGEST = 1024  # bytes of a token, as in the original


cdef struct Entry:  # of the heap
    int64_t key
    int64_t item


cdef struct Token:
    const uint8_t *bytes
    int32_t length


cdef struct Pair:
    int32_t left
    int32_t right
    int64_t count
    int32_t first   # the places where it begins: the first and the last, or -1
    int32_t last


cdef struct Training:
    int32_t *tokens   # the token that begins at a place
    int32_t *before   # the neighbours in the word, or -1
    int32_t *after
    int32_t *words    # of a place
    int32_t *pair_at  # the pair that begins at a place, or -1
    int32_t *next     # its list of places
    int32_t *previous
    const int64_t *weights
    const uint8_t *data
    Token *names
    Py_ssize_t vocabulary
    Pair *pairs
    Py_ssize_t size
    Py_ssize_t room
    int32_t *table    # open addressing: numbers of pairs, or -1
    Py_ssize_t slots
    Entry *heap
    Py_ssize_t waiting
    Py_ssize_t heap_room
    bint failed       # out of memory


def learn_merges(words, Py_ssize_t number):
    """-> a list of pairs of bytes."""
    cdef bytes joined = b"".join(words)
    cdef Py_ssize_t N = len(joined), W = len(words), M
    if N >= 1 << 31:
        raise ValueError(f"words: expected at most 2 GB of distinct words, found {N} bytes")
    if N == 0 or number <= 0:
        return []
    lengths = np.fromiter(map(len, words), np.int64, W)
    cdef int64_t[::1] weights = np.fromiter(words.values(), np.int64, W)
    cdef int32_t[::1] word_of = np.repeat(np.arange(W, dtype=np.int32), lengths)
    cdef int32_t[:, ::1] places = np.empty((6, N), np.int32)
    number = min(number, N)
    cdef int32_t[:, ::1] merges = np.empty((number, 2), np.int32)
    cdef const uint8_t *data = joined
    cdef bytes alphabet = bytes(range(256))
    cdef const uint8_t *single = alphabet
    cdef Training t
    t.failed, t.size, t.room, t.slots, t.waiting, t.heap_room = False, 0, 0, 0, 0, 0
    t.tokens, t.before, t.after = &places[0, 0], &places[1, 0], &places[2, 0]
    t.pair_at, t.next, t.previous = &places[3, 0], &places[4, 0], &places[5, 0]
    t.words, t.weights, t.vocabulary = &word_of[0], &weights[0], 256
    t.pairs, t.table, t.heap, t.data = NULL, NULL, NULL, data
    t.names = <Token *>malloc((256 + number) * sizeof(Token))
    if t.names == NULL:
        raise MemoryError
    try:
        with nogil:
            lay_out(&t, N, single)
            M = merge_all(&t, number, &merges[0, 0])
        if t.failed:
            raise MemoryError
        names = [t.names[n].bytes[: t.names[n].length] for n in range(t.vocabulary)]
    finally:
        free(t.names)
        free(t.pairs)
        free(t.table)
        free(t.heap)
    return [(names[merges[m, 0]], names[merges[m, 1]]) for m in range(M)]


cdef void lay_out(Training *t, Py_ssize_t N, const uint8_t *alphabet) noexcept nogil:
    """The row of tokens, the lists of their pairs, and the heap."""
    cdef Py_ssize_t i
    cdef bint opens, closes
    for i in range(256):
        t.names[i].bytes, t.names[i].length = alphabet + i, 1
    for i in range(N):
        opens = i == 0 or t.words[i - 1] != t.words[i]
        closes = i == N - 1 or t.words[i + 1] != t.words[i]
        t.tokens[i] = t.data[i]
        t.before[i] = -1 if opens else <int32_t>i - 1
        t.after[i] = -1 if closes else <int32_t>i + 1
        t.pair_at[i] = -1
    for i in range(N):
        enter(t, <int32_t>i)
        if t.failed:
            return
    for i in range(t.size):
        offer(t, i)


cdef Py_ssize_t merge_all(Training *t, Py_ssize_t number, int32_t *merges) noexcept nogil:
    """Write up to `number` merges; return how many."""
    cdef Py_ssize_t M = 0, known, i
    cdef int32_t pair
    cdef Entry best
    while M < number and t.waiting and not t.failed:
        best = pop(t)
        pair = <int32_t>best.item
        if best.key != t.pairs[pair].count:
            offer(t, pair)
            continue
        if best.key < 2:
            break
        if not is_usable(t, pair):
            continue
        merges[2 * M], merges[2 * M + 1] = t.pairs[pair].left, t.pairs[pair].right
        M += 1
        known = t.size
        while t.pairs[pair].first >= 0 and not t.failed:
            merge_at(t, t.pairs[pair].first)
        t.vocabulary += 1
        for i in range(known, t.size):
            offer(t, i)
    return M


cdef bint is_usable(Training *t, int32_t pair) noexcept nogil:
    """Name the next token, whose bytes stand where the pair begins; and return whether it may be one."""
    cdef Token *new = &t.names[t.vocabulary]
    cdef Py_ssize_t n
    new.length = t.names[t.pairs[pair].left].length + t.names[t.pairs[pair].right].length
    new.bytes = t.data + t.pairs[pair].first
    if new.length > LONGEST:
        return False
    for n in range(256, t.vocabulary):
        if t.names[n].length == new.length and not memcmp(t.names[n].bytes, new.bytes, new.length):
            return False
    return True


cdef void merge_at(Training *t, int32_t place) noexcept nogil:
    """Make one token of the pair that begins at a place."""
    cdef int32_t gone = t.after[place], before = t.before[place]
    leave(t, place)
    leave(t, gone)
    if before >= 0:
        leave(t, before)
    t.tokens[place] = <int32_t>t.vocabulary
    t.after[place] = t.after[gone]
    if t.after[place] >= 0:
        t.before[t.after[place]] = place
    if before >= 0:
        enter(t, before)
    enter(t, place)


cdef void enter(Training *t, int32_t place) noexcept nogil:
    """Add a place to the list of the pair that begins there, if one does."""
    cdef int32_t number
    cdef Pair *pair
    if t.after[place] < 0:
        return
    number = number_of(t, t.tokens[place], t.tokens[t.after[place]])
    if t.failed:
        return
    pair = &t.pairs[number]
    pair.count += t.weights[t.words[place]]
    t.pair_at[place], t.next[place], t.previous[place] = number, -1, pair.last
    if pair.last < 0:
        pair.first = place
    else:
        t.next[pair.last] = place
    pair.last = place


cdef void leave(Training *t, int32_t place) noexcept nogil:
    """Take a place off the list that it is in, if it is in one."""
    cdef Pair *pair
    cdef int32_t next = t.next[place], previous = t.previous[place]
    if t.pair_at[place] < 0:
        return
    pair = &t.pairs[t.pair_at[place]]
    pair.count -= t.weights[t.words[place]]
    t.pair_at[place] = -1
    if previous < 0:
        pair.first = next
    else:
        t.next[previous] = next
    if next < 0:
        pair.last = previous
    else:
        t.previous[next] = previous


# --- the numbers of pairs ----------------------------------------------------------


cdef int32_t number_of(Training *t, int32_t left, int32_t right) noexcept nogil:
    """The number of a pair; a new one gets the next."""
    cdef Py_ssize_t slot
    cdef Pair *pair
    if 2 * t.size >= t.slots:
        make_room(t)
        if t.failed:
            return -1
    slot = slot_of(t, left, right)
    if t.table[slot] < 0:
        t.table[slot] = <int32_t>t.size
        pair = &t.pairs[t.size]
        pair.left, pair.right, pair.count, pair.first, pair.last = left, right, 0, -1, -1
        t.size += 1
    return t.table[slot]


cdef inline Py_ssize_t slot_of(Training *t, int32_t left, int32_t right) noexcept nogil:
    """The slot of a pair in the table, or the free one that it would take."""
    cdef uint64_t hash = (<uint64_t>left << 32 | <uint64_t>right) * <uint64_t>0x9E3779B97F4A7C15
    cdef Py_ssize_t slot = <Py_ssize_t>(hash ^ hash >> 32) & (t.slots - 1)
    while t.table[slot] >= 0 and (
        t.pairs[t.table[slot]].left != left or t.pairs[t.table[slot]].right != right
    ):
        slot = (slot + 1) & (t.slots - 1)
    return slot


cdef void make_room(Training *t) noexcept nogil:
    """Twice as much room for pairs."""
    cdef Py_ssize_t i, slots = max(1 << 12, 2 * t.slots)
    cdef Pair *pairs = <Pair *>realloc(t.pairs, slots // 2 * sizeof(Pair))
    if pairs != NULL:
        t.pairs = pairs
    cdef int32_t *table = <int32_t *>malloc(slots * sizeof(int32_t))
    if pairs == NULL or table == NULL:
        free(table)
        t.failed = True
        return
    free(t.table)
    t.table, t.slots = table, slots
    for i in range(slots):
        table[i] = -1
    for i in range(t.size):
        table[slot_of(t, t.pairs[i].left, t.pairs[i].right)] = <int32_t>i


# --- the heap: counts and pairs ------------------------------------------------------


cdef bint better(const Training *t, Entry a, Entry b) noexcept nogil:
    """Whether a is merged before b: more frequent, or the first in the order of bytes."""
    cdef int order
    if a.key != b.key:
        return a.key > b.key
    order = compare(&t.names[t.pairs[a.item].left], &t.names[t.pairs[b.item].left])
    if order == 0:
        order = compare(&t.names[t.pairs[a.item].right], &t.names[t.pairs[b.item].right])
    return order < 0


cdef inline int compare(const Token *a, const Token *b) noexcept nogil:
    cdef int order = memcmp(a.bytes, b.bytes, min(a.length, b.length))
    return order if order else a.length - b.length


cdef void offer(Training *t, int64_t pair) noexcept nogil:
    """Put a pair on the heap, with its count of now."""
    cdef Entry new
    cdef Entry *heap
    new.key, new.item = t.pairs[pair].count, pair
    if new.key < 2:
        return
    if t.waiting == t.heap_room:
        heap = <Entry *>realloc(t.heap, (2 * t.heap_room + 1024) * sizeof(Entry))
        if heap == NULL:
            t.failed = True
            return
        t.heap, t.heap_room = heap, 2 * t.heap_room + 1024
    push(t, new)


cdef inline void push(Training *t, Entry new) noexcept nogil:
    """Put an entry on the heap, which has room for it."""
    cdef Entry *heap = t.heap
    cdef Py_ssize_t child = t.waiting, parent
    t.waiting += 1
    while child > 0:
        parent = (child - 1) // 2
        if not better(t, new, heap[parent]):
            break
        heap[child] = heap[parent]
        child = parent
    heap[child] = new


cdef inline Entry pop(Training *t) noexcept nogil:
    """Take the first entry off the heap: the last one sinks from there."""
    cdef Entry *heap = t.heap
    cdef Py_ssize_t parent = 0, child = 1
    cdef Entry first = heap[0], last
    t.waiting -= 1
    last = heap[t.waiting]
    while child < t.waiting:
        if child + 1 < t.waiting and better(t, heap[child + 1], heap[child]):
            child += 1
        if not better(t, heap[child], last):
            break
        heap[parent] = heap[child]
        parent, child = child, 2 * child + 1
    heap[parent] = last
    return first
