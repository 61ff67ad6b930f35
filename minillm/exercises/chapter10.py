"""Exercises of chapter 10: attention, and the search for the best output."""

import numpy as np

from minillm import ops
from minillm.exercises.declaration import Bug, draw, exercise, find_the_bug
from minillm.ops.padding import length_mask
from minillm.ops.softmax import log_softmax, softmax_backward
from minillm.ops.softmax import masked_softmax as softmax_of_allowed


def _dot_scores(query, keys):
    def backward(dscores):
        return dscores @ keys, dscores.transpose(0, 2, 1) @ query

    return query @ keys.transpose(0, 2, 1), backward


def _queries_and_keys(rng):
    for B, T, S, D in ((1, 2, 3, 4), (3, 4, 2, 5)):
        yield "", (rng.standard_normal((B, T, D)), rng.standard_normal((B, S, D)))


@exercise(
    "the scores of dot attention, and their gradients",
    level=1,
    minutes=15,
    reference=_dot_scores,
    solution="minillm/ops/attention.py: multiplicative_attention",
    cases=_queries_and_keys,
    outputs=("scores",),
    gradients=("dquery", "dkeys"),
    hints={
        "scores": (
            "The score of query t and key j is the sum over d of query[b, t, d] keys[b, j, d].",
            "A product of matrices for each b: (T, D) (D, S).  keys.transpose(0, 2, 1) is "
            "(B, D, S).",
        ),
        "dquery": (
            "Query t is compared with every key j, with the slope keys[b, j].  Uses add up.",
            "dquery must be (B, T, D): multiply dscores (B, T, S) by keys (B, S, D).",
        ),
        "dkeys": (
            "Key j is compared with every query t, with the slope query[b, t].  Uses add up.",
            "dkeys must be (B, S, D): multiply dscores, transposed to (B, S, T), by query.",
        ),
    },
)
def dot_scores(query, keys):
    """Score each query with each key of its row by their dot product.

    query (B, T, D), keys (B, S, D) -> scores (B, T, S).  ``backward(dscores)`` -> dquery, dkeys.
    """
    scores = ...

    def backward(dscores):
        dquery = ...
        dkeys = ...
        return dquery, dkeys

    return scores, backward


def _masked_softmax(scores, lengths):
    allowed = length_mask(lengths, scores.shape[-1])[:, None]
    weights, _ = softmax_of_allowed(scores, allowed)
    return weights, lambda dweights: np.where(allowed, softmax_backward(dweights, weights), 0)


def _scores(rng):
    yield "", (rng.standard_normal((2, 3, 4)), np.array([4, 4]))
    yield "lengths", (rng.standard_normal((3, 2, 5)), np.array([5, 1, 3]))
    yield "large scores", (rng.standard_normal((2, 2, 3)) + 1000, np.array([3, 2]))


@exercise(
    "the softmax over the keys that are not padding",
    level=2,
    minutes=15,
    reference=_masked_softmax,
    solution="minillm/ops/softmax.py: masked_softmax",
    cases=_scores,
    outputs=("weights",),
    gradients=("dscores",),
    hints={
        "weights": (
            "The weights of a row add up to 1 over the real keys.  Is the sum below the fraction "
            "over these alone?",
            "Set the scores of the padding to -np.inf before the softmax, with np.where.",
        ),
        "large scores": (
            "exp(1000) is infinite.  A number that is added to all scores of a row cancels.",
            "Subtract the maximum of each row before exp.",
        ),
        "dscores": (
            "A score has an effect on all weights of its row: the sum below the fraction has it.",
            "weights * (dweights - (weights * dweights).sum(axis=-1, keepdims=True))",
        ),
    },
)
def masked_softmax(scores, lengths):
    """Compute the softmax over the first lengths[b] keys; all other weights are zero.

    scores (B, T, S), lengths (B,), at least 1 -> weights (B, T, S).
    ``backward(dweights)`` -> dscores.
    """
    allowed = (np.arange(scores.shape[-1]) < lengths[:, None])[:, None]  # (B, 1, S)
    weights = ...

    def backward(dweights):
        dscores = ...
        return dscores

    return weights, backward


def _only_context(op):
    """Leave the weights out of an attention's outputs."""

    def attention(*args):
        (context, _), backward = op(*args)
        return context, backward

    return attention


def _attention_inputs(rng):
    for B, T, S, D, E in ((1, 1, 3, 2, 2), (2, 3, 4, 2, 5)):
        yield "", draw(rng, (B, T, D), (B, S, D), (B, S, E))


_SOFTMAX_FIRST = "If dquery and dkeys are both wrong, look at dscores first: "
_SCORES_FIRST = (
    "If all but dvalues are wrong, look at dscores first: the softmax subtracts a mean.  "
)


@exercise(
    "dot attention, forward and backward",
    level=3,
    minutes=30,
    reference=_only_context(ops.multiplicative_attention),
    solution="minillm/ops/attention.py: attend_backward",
    cases=_attention_inputs,
    outputs=("context",),
    gradients=("dquery", "dkeys", "dvalues"),
    hints={
        "context": (
            "Scores of all queries with all keys, a softmax over the keys, the weighted mean of "
            "the values.",
            "query @ keys.transpose(0, 2, 1); the softmax over the last axis; weights @ values.",
        ),
        "dvalues": (
            "Value j is in the mean of every query t, with the slope weights[b, t, j].",
            "dvalues must be (B, S, E): weights, transposed to (B, S, T), times dcontext.",
        ),
        "dquery": (
            _SOFTMAX_FIRST
            + "the backward pass of the softmax subtracts a mean.  Then query t gets a "
            "part from each key.",
            "dscores = weights * (dweights - (weights * dweights).sum(axis=-1, keepdims=True)); "
            "dquery = dscores @ keys.",
        ),
        "dkeys": (
            _SOFTMAX_FIRST
            + "the backward pass of the softmax subtracts a mean.  Then key j gets a "
            "part from each query.",
            "dscores = weights * (dweights - (weights * dweights).sum(axis=-1, keepdims=True)); "
            "dkeys = dscores.transpose(0, 2, 1) @ query.",
        ),
    },
)
def dot_attention(query, keys, values):
    """Compute the context of each query: the mean of the values by the softmax of the scores.

    query (B, T, D), keys (B, S, D), values (B, S, E) -> context (B, T, E).
    ``backward(dcontext)`` -> dquery, dkeys, dvalues.
    """
    scores = ...
    exp = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights = ...
    context = ...

    def backward(dcontext):
        # context = weights values
        dweights = ...
        dvalues = ...
        # weights = softmax(scores)
        dscores = ...
        # scores = query keys^T
        dquery = ...
        dkeys = ...
        return dquery, dkeys, dvalues

    return context, backward


def _additive_inputs(rng):
    for B, T, S, D, C, E, A in ((1, 1, 2, 2, 3, 2, 2), (2, 3, 4, 2, 3, 5, 6)):
        yield "", draw(rng, (B, T, D), (B, S, C), (B, S, E), (D, A), (C, A), A)


@exercise(
    "the backward pass of additive attention",
    level=3,
    minutes=45,
    reference=_only_context(ops.additive_attention),
    solution="minillm/ops/attention.py: additive_attention_backward",
    cases=_additive_inputs,
    outputs=("context",),
    gradients=("dquery", "dkeys", "dvalues", "dW_q", "dW_k", "dv"),
    hints={
        "dvalues": (
            "Value j is in the mean of every query t, with the slope weights[b, t, j].",
            "dvalues must be (B, S, E): weights, transposed to (B, S, T), times dcontext.",
        ),
        "dv": (
            "v is used in every pair of a query and a key, in each row, with the slope hidden.",
            "Sum dscores[..., None] * hidden over the axes 0, 1 and 2.",
        ),
        "dquery": (
            _SCORES_FIRST + "If dv is right and dkeys is wrong, look at dz: tanh has a slope.  "
            "query W_q has one row for each t, which is used in the pairs of all keys: over which "
            "axis of dz do the uses add up?",
            "dscores = weights * (dweights - (weights * dweights).sum(axis=-1, keepdims=True)); "
            "dq = dz.sum(axis=2), since axis 2 of (B, T, S, A) counts the keys; dquery = dq W_q^T.",
        ),
        **{
            f"d{x}:only": (
                f"dW_{x[0]} is right, so d{x[0]} is.  What remains is the input of a linear layer.",
                f"d{x} = d{x[0]} @ W_{x[0]}.T.",
            )
            for x in ("query", "keys")
        },
        "dW_q": (
            "query W_q is a linear layer.  Its dW is the sum of query^T dq over the rows and the "
            "queries, and dq is dz with the uses of all keys added up.",
            'dq = dz.sum(axis=2); dW_q = np.einsum("btd,bta->da", query, dq).',
        ),
        "dkeys": (
            "keys W_k has one row for each key, which is used in the pairs of all queries: "
            "over which axis of dz do the uses add up?",
            "dk = dz.sum(axis=1), since axis 1 of (B, T, S, A) counts the queries; "
            "dkeys = dk W_k^T.",
        ),
        "dW_k": (
            "keys W_k is a linear layer.  Its dW is the sum of keys^T dk over the rows and the "
            "keys, and dk is dz with the uses of all queries added up.",
            'dk = dz.sum(axis=1); dW_k = np.einsum("bsc,bsa->ca", keys, dk).',
        ),
    },
)
def additive_attention(query, keys, values, W_q, W_k, v):
    """Compute attention with the score v . tanh(query W_q + key W_k).

    query (B, T, D), keys (B, S, C), values (B, S, E), W_q (D, A), W_k (C, A), v (A,)
    -> context (B, T, E).  ``backward(dcontext)`` -> dquery, dkeys, dvalues, dW_q, dW_k, dv.
    """
    q, k = query @ W_q, keys @ W_k  # (B, T, A), (B, S, A)
    hidden = np.tanh(q[:, :, None] + k[:, None])  # (B, T, S, A)
    scores = hidden @ v  # (B, T, S)
    exp = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights = exp / exp.sum(axis=-1, keepdims=True)

    def backward(dcontext):
        # context = weights values
        dweights = dcontext @ values.transpose(0, 2, 1)
        dvalues = ...
        # weights = softmax(scores)
        dscores = ...
        # scores = hidden v
        dv = ...
        # hidden = tanh(z), z = q + k for each pair
        dz = ...
        # q = query W_q, k = keys W_k
        dq = ...
        dk = ...
        dquery = ...
        dW_q = ...
        dkeys = ...
        dW_k = ...
        return dquery, dkeys, dvalues, dW_q, dW_k, dv

    return weights @ values, backward


def _greedy(step, state, bos, eos, limit):
    ids, last = [], bos
    while len(ids) < limit:
        logits, state = step(last, state)
        last = int(np.argmax(logits))
        if last == eos:
            break
        ids.append(last)
    return ids


def _decoders(rng):
    """Draw models whose state counts their steps: they end at a step, or never."""

    def decoder(table):
        def step(token, state):
            state = state + 1
            return table[state % len(table), token], state

        return step

    eos, bos = 4, 5
    for end, label in ((5, ""), (3, ""), (0, "an empty output"), (None, "the limit")):
        table = rng.standard_normal((7, 6, 6))
        table[..., [eos, bos]] = -9.0
        if end is not None:
            table[1 + end, :, eos] = 9.0
        yield label, (decoder(table), 0, bos, eos, 6)


@exercise(
    "greedy search",
    level=1,
    minutes=15,
    reference=_greedy,
    solution="minillm/exercises/chapter10.py: _greedy",
    cases=_decoders,
    outputs=("ids",),
    hints={
        "ids": (
            "Each step reads the token before and the state before, and gives both for the next "
            "step.  The first token read is BOS.",
            "logits, state = step(last, state); then last = int(np.argmax(logits)).  Stop at EOS.",
        ),
        "an empty output": (
            "EOS ends the output and is not part of it, even if it is the first token.",
            "Stop before appending, if last is eos.",
        ),
        "the limit": (
            "A model may never predict EOS.  The output has at most `limit` tokens.",
            "for _ in range(limit)",
        ),
    },
)
def greedy(step, state, bos, eos, limit):
    """Write the most probable token at each step, until EOS or until there are ``limit`` tokens.

    ``step(id, state)`` reads one token and returns logits (V,) for the next token, and the state
    after it.  BOS is read first.  Return the list of ids, without EOS.
    """
    ids, last = [], bos
    for _ in range(limit):
        logits, state = ...
        last = ...
        ended = ...
        if ended:
            break
        ids.append(last)
    return ids


def _beam_step(totals, logits, beam):
    sums = totals[:, None] + log_softmax(logits)  # (K, V)
    best = np.argsort(-sums, axis=None)[:beam]
    parents, ids = np.divmod(best, logits.shape[1])
    return parents, ids, sums[parents, ids]


def _hypotheses(rng):
    yield "one hypothesis", (np.zeros(1), log_softmax(rng.standard_normal((1, 6))), 3)
    for label in ("log probabilities", "", ""):
        for K, V, beam in ((3, 6, 3), (4, 5, 4), (1, 5, 3)):
            totals = np.sort(-2 * rng.random(K))[::-1].copy()
            logits = 2 * rng.standard_normal((K, V)) + 3 * rng.standard_normal((K, 1))
            yield label, (totals, log_softmax(logits) if label else logits, beam)


@exercise(
    "one step of beam search",
    level=2,
    minutes=25,
    reference=_beam_step,
    solution="minillm/decoding/beam.py: _extend",
    cases=_hypotheses,
    outputs=("parents", "ids", "new_totals"),
    hints={
        "one hypothesis:ids": (
            "There is one hypothesis, and its logits are log probabilities already.  The best "
            "extension comes first.  An index of the flattened array (K V) is parent times V plus "
            "id.",
            "np.argsort sorts upwards: np.argsort(-sums, axis=None)[:beam], then "
            "parents, ids = np.divmod(best, V).",
        ),
        "log probabilities:parents": (
            "The logits are log probabilities already.  All K V extensions compete with each "
            "other, by the log probability of the whole hypothesis: the parent's total plus the "
            "token's log probability.",
            "sums is totals[:, None] + log probabilities, (K, V).  np.argsort(-sums, axis=None) "
            "orders all of them, not those of each row.",
        ),
        "log probabilities:new_totals": (
            "The new total of a hypothesis is that of its parent plus the log probability of its "
            "new token.  Each row of logits holds log probabilities already, and normalising it "
            "again changes nothing.",
            "sums[parents, ids].  The log of the sum of exp(logits) is one number for each row.",
        ),
        "parents": (
            "Logits are not log probabilities: each row must be normalised first.",
            "sums = totals[:, None] + log_p with log_p = logits - log of the sum of exp(logits) of "
            "each row: np.log(np.exp(logits).sum(axis=1, keepdims=True)).",
        ),
        "ids": (
            "An index of the flattened array (K V) is parent times V plus id.",
            "parents, ids = np.divmod(best, V)",
        ),
        "new_totals": (
            "The new total of a hypothesis is that of its parent plus the log probability of its "
            "new token.",
            "sums[parents, ids]",
        ),
    },
)
def beam_step(totals, logits, beam):
    """Choose the ``beam`` most probable extensions of K hypotheses, the best first.

    totals (K,): the log probability of each hypothesis; logits (K, V) for its next token.
    Return parents, ids, new_totals, (beam,) each: which hypothesis is continued, by which token,
    and the log probability of the result.
    """
    K, V = logits.shape
    sums = ...
    best = ...
    parents, ids = ...
    new_totals = ...
    return parents, ids, new_totals


# --- transfer: the answer stands nowhere in the text ----------------------------------


def _beam_search(step, state, bos, eos, limit, beam):
    kept = [(0.0, [], state, bos)]
    for _ in range(limit):
        candidates = []
        for total, ids, state, last in kept:
            if last == eos:
                candidates.append((total, ids, state, last))
                continue
            log_p, after = step(last, state)
            candidates += [(total + log_p[k], [*ids, k], after, k) for k in range(len(log_p))]
        kept = sorted(candidates, key=lambda candidate: -candidate[0])[:beam]
    total, ids, _, last = kept[0]
    return (ids[:-1] if last == eos else ids), total


def _branching(rng):
    """Draw models whose next token depends on the last one and on the number of steps."""

    def decoder(table):
        def step(token, state):
            return table[state % len(table), token], state + 1

        return step

    eos, bos = 3, 4
    for label, beam, limit in (
        ("a beam of 1", 1, 4),
        ("a beam of 3", 3, 4),
        ("a beam of 3", 4, 5),
        ("an end that waits", 3, 6),
    ):
        found = False
        while not found:  # until a greedy search finds a worse output
            logits = 1.5 * rng.standard_normal((6, 5, 5))
            logits[..., bos] = -9
            logits[..., eos] = 1 if label == "an end that waits" else -9
            case = decoder(log_softmax(logits)), 0, bos, eos, limit
            found = beam == 1 or _beam_search(*case, beam) != _beam_search(*case, 1)
        yield label, (*case, beam)


@exercise(
    "a whole beam search",
    level=3,
    minutes=45,
    reference=_beam_search,
    solution="minillm/exercises/chapter10.py: _beam_search",
    cases=_branching,
    outputs=("ids", "total"),
    hints={
        "a beam of 1": (
            "With one hypothesis, this is greedy search, and total sums the log-probabilities.",
            "Each hypothesis has its own total, ids, state and last token; step(last, state) gives "
            "log_p and the state for all its extensions.",
        ),
        "a beam of 3": (
            "All extensions of all hypotheses compete, by the total of the whole hypothesis.",
            "Collect (total + log_p[k], ids + [k], state, k) for each hypothesis and token k, and "
            "keep the ``beam`` largest totals.",
        ),
        "an end that waits": (
            "A hypothesis that ended with EOS is not extended, but it stays in the competition.",
            "If its last token is EOS, it is a candidate as it is; EOS counts in the total, and is "
            "not one of the ids that are returned.",
        ),
    },
)
def beam_search(step, state, bos, eos, limit, beam):
    """Find a probable output by a search that keeps the ``beam`` best hypotheses.

    ``step(id, state)`` reads one token, BOS first, and returns the log-probabilities (V,) of the
    next one, and the state after it; it changes no state.  At each of ``limit`` steps, every
    hypothesis that has not ended is extended by each of the V tokens; those that ended with EOS
    stay as they are; of all of them, the ``beam`` most probable are kept -> ids of the best one, a
    list without EOS, and its log-probability, with that of EOS if it ended.
    """
    # as many lines as you need
    ids, total = ...
    return ids, total


def _location_attention(c, b, values):
    distance = np.arange(values.shape[1]) - c[:, None]
    weights = np.exp(-b[:, None] * distance**2)
    y = np.einsum("bs,bse->be", weights, values)

    def backward(dy):
        down = np.einsum("be,bse->bs", dy, values) * weights
        dc = (down * 2 * b[:, None] * distance).sum(axis=1)
        db = -(down * distance**2).sum(axis=1)
        return dc, db, weights[..., None] * dy[:, None]

    return y, backward


def _looks(rng):
    for B, S, E in ((1, 3, 2), (3, 5, 2)):
        c, b = rng.uniform(0, S - 1, B), rng.uniform(0.2, 1, B)
        yield "", (c, b, *draw(rng, (B, S, E)))


@exercise(
    "attention by position",
    level=2,
    minutes=30,
    reference=_location_attention,
    solution="minillm/exercises/chapter10.py: _location_attention",
    cases=_looks,
    gradients=("dc", "db", "dvalues"),
    hints={
        "y": (
            "Position s has the weight exp(-b (s - c)^2), the largest at the centre, and the "
            "weights are not divided by their sum.",
            'np.einsum("bs,bse->be", weights, values), with the positions np.arange(S).',
        ),
        "dc": (
            "c moves the weights of all positions.  The slope of exp(u) is exp(u), times the slope "
            "of u = -b (s - c)^2 with respect to c.",
            "The sum over s of dweights * weights * 2 * b * (s - c), with dweights = dy . values.",
        ),
        "db": (
            "b scales all exponents: the slope of -b (s - c)^2 with respect to b is -(s - c)^2.",
            "-(dweights * weights * (s - c)**2).sum(axis=1), with dweights = dy . values.",
        ),
        "dvalues": (
            "A value has the slope of its weight.",
            "weights[..., None] * dy[:, None].",
        ),
    },
)
def location_attention(c, b, values):
    """Look at values by their position alone: y = sum over s of exp(-b (s - c)^2) values[s].

    c (B,): the centre of each row, not always a whole number; b (B,): its sharpness; values
    (B, S, E) at the positions s = 0 to S - 1 -> y (B, E).  ``backward(dy)`` -> dc, db, dvalues.
    """
    # as many lines as you need
    y = ...

    def backward(dy):
        dc, db, dvalues = ...
        return dc, db, dvalues

    return y, backward


# --- find the bug -------------------------------------------------------------------


def _square_additive(rng):
    for n in (3, 4):  # as many keys as queries, so that a wrong axis has the same shape
        yield "", draw(rng, (n, 2), (n, 2), (n, n), 2)


@find_the_bug(
    "find the bug: additive attention",
    level=3,
    minutes=25,
    cases=_square_additive,
    outputs=("context",),
    gradients=("dq", "dk", "dvalues", "dv"),
    bugs=(
        Bug(
            "axis", "dq = dz.sum(axis=1)", "dq = dz.sum(axis=0)", "Query t is used with every key."
        ),
        Bug(
            "path",
            "weights * (dweights - (weights * dweights).sum(axis=1, keepdims=True))",
            "weights * dweights",
            "Each score acts on all weights of its row: the softmax divides by their sum.",
        ),
        Bug(
            "factor",
            "(1 - hidden**2)",
            "(1 - hidden)",
            "The slope of tanh, written with its output, is 1 - its square.",
        ),
        Bug(
            "value",
            'np.einsum("ts,tsa->a", dscores, hidden)',
            'np.einsum("ts,tsa->a", dweights, hidden)',
            "v is used in scores = hidden v: its upstream gradient is dscores.",
        ),
        Bug(
            "order",
            "weights.T @ dcontext",
            "weights @ dcontext",
            "Value s is in the context of every query t.",
        ),
    ),
)
def find_additive_attention(q, k, values, v):
    """Compute attention with the score v . tanh(q_t + k_s) of each query and key.

    q (T, A), k (S, A), values (S, E), v (A,) -> context (T, E).
    ``backward(dcontext)`` -> dq, dk, dvalues, dv.
    """
    hidden = np.tanh(q[:, None] + k)  # (T, S, A)
    scores = hidden @ v
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights = weights / weights.sum(axis=1, keepdims=True)
    context = weights @ values

    def backward(dcontext):
        dvalues = weights.T @ dcontext
        dweights = dcontext @ values.T
        dscores = weights * (dweights - (weights * dweights).sum(axis=1, keepdims=True))
        dv = np.einsum("ts,tsa->a", dscores, hidden)
        dz = dscores[..., None] * v * (1 - hidden**2)
        dq = dz.sum(axis=1)
        dk = dz.sum(axis=0)
        return dq, dk, dvalues, dv

    return context, backward
