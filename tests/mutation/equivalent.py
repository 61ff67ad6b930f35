"""Mutants that no test can see, each with the reason.  Most that look like one are not."""

from .mutant import Mutant

AHEAD = "the distance by which the cache is filled ahead"
PADDING = "zeros that no result uses: they keep subnormal numbers, which are slow, out of padding"
TOO_FAR = "reads past the input terms, into padding: only the address sanitizer sees it"

TIME = "only the time differs"
HASH = "a poor hash: words are compared byte by byte, and it only costs time"
WHOLE_PANEL = (
    "n is 0 on AVX2 and AVX-512, whose tiles have all outputs of a panel; on others it shows"
)
ONE_VECTOR = "v is 0 on AVX-512, where a vector holds a panel; with AVX2 a test fails"
THREADS = "the least work for several threads: the bits are the same"
RACE = "heads of other parts, which write the same numbers: only the sanitizer of threads sees it"

# Of each file: a part of the mutant's description, and the reason.
EQUIVALENT = {
    "minillm/_kernels/activations.pyx": {
        "(N + size >>- 1) // size": "pieces of no numbers at the end"
    },
    "minillm/_kernels/attention.h": {
        "s = position < 0 ? 0 : position >>+ 1": "two more keys, of which no query's is hidden",
        "sum[l] >>+= w[s * ld + l]": "the sums of a backward are only compared with 0",
    },
    "minillm/_kernels/cross_entropy.h": {"enum { BLOCK": f"the size of a block: {TIME}"},
    "minillm/_kernels/bpe.pyx": {
        "memcmp(data + start, data >>+ seen.start": f"a known word is merged again: {TIME}",
        "hash_of(data >>+ start": HASH,
        "memmove(ranks + at, ranks + at + 1, (n - at >>- 1)": "two more ranks than are read",
        "ending(data + at, N >>- at)": "the data end with a zero byte, which is part of no ending",
        "if at < n >>- 1": "the rank behind the last pair, which nothing reads",
        "hash = (hash ^ word[i]) >>*": HASH,
    },
    "minillm/_kernels/bpe_training.pxi": {
        "if child >>+ 1 < t.waiting": "the entry behind the heap is the one that sinks",
        "return >>-1": "only when no memory is left",
        "left, right, 0, >>-1, -1": "the first place is written when the pair is entered",
        "t.words[i >>- 1]": "a link from a word's first token, before which no pair begins",
        "slot = (slot >>+ 1)": "a table may be searched downwards as well as upwards",
    },
    "minillm/_kernels/embedding.pyx": {"threads_for((N >>+ V) * D": THREADS},
    "minillm/_kernels/step.pyx": {"lanes >>*= PACKED": f"shares that begin within a panel: {TIME}",
        "n0, n1 = part >>* s.D": "each part copies the columns before its own as well, unchanged",
        "keys + m0 >>* s.width": RACE, "(q >>* s.M + m0)": RACE, "found.size": THREADS,
        "LEAST_GROUP >>* threads": f"rows or columns: {TIME}",
        "<= CACHE": f"which of two products reads the weights: {TIME}"},
    "minillm/_kernels/gemm.pxi": {"if k >>+ 4 < k1": AHEAD, "K < SMALL": THREADS,
        "FEW_BYTES": f"which of two functions reads B: {TIME}",
        "memset(panels + (last - n0)": PADDING,
        "groups = ceil_div(ceil_div(r1 >>- r0": f"smaller groups: {TIME}",
        "range(g0, g0 >>+ t1": AHEAD},
    "minillm/_kernels/matmul.pyx": {"NARROW >>* M": f"which matrix is laid out: {TIME}",
        "M * N >>* K < SMALL": THREADS},
    "minillm/_kernels/quantised.h": {"m = M < 2 >>* MOST_ROWS": f"strips for fewer rows: {TIME}"},
    "minillm/_kernels/quantised_tile.h": {"* PANEL >>+ n": WHOLE_PANEL, "codes >>+ 4": WHOLE_PANEL,
        ">>+ v * LANES_OF_TILE": ONE_VECTOR, "v >>* LANES_OF_TILE": ONE_VECTOR,
        "__builtin_prefetch(": AHEAD},
    "minillm/_kernels/recurrent_backward.pxi": {"memset(dh, 0, 2": PADDING},
    "minillm/_kernels/recurrent_forward.pxi": {"ahead = ": AHEAD,
        "start[m], min(w.columns, H >>- j)": TOO_FAR, "memset(h, 0, 3": PADDING,
        "(columns - count) >>* sizeof(floating)": PADDING},
    "minillm/_kernels/recurrent_step.pxi": {"memset(cells, 0, 11": PADDING},
    "minillm/_kernels/word2vec.pyx": {"size, rows.round >>+ 1)": AHEAD, "j >>+= 64": AHEAD,
        "rows = (rows + AT_ONCE >>- 1)": "memory for more rows, which nothing touches",
        "S // (PIECES >>* threads)": f"fewer pieces, which threads share less evenly: {TIME}",
        "if t >>+ AHEAD < length": AHEAD,
        "rows.next = scratch.sum.predictions >>+ ROUND": f"an exchange before each word: {TIME}"},
    "minillm/ops/gated_delta_rule.py": {"-2: minus dropped": "the last but one of four axes is 2"},
    "minillm/layers/attention.py": {"np.zeros_like(query): returned": "zero is its own negative"},
}  # fmt: skip


def is_equivalent(mutant: Mutant) -> bool:
    return any(part in mutant.what for part in EQUIVALENT.get(mutant.path.as_posix(), ()))
