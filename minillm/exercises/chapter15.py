"""Exercises of chapter 15: gaps, spans, vectors of texts, and masked diffusion."""

import numpy as np

from minillm import ops
from minillm.data import masking
from minillm.exercises.declaration import Bug, draw, exercise, find_the_bug
from minillm.ops.softmax import log_softmax


def _hide(ids, places, dice, drawn, mask):
    read = np.where(places & (dice < masking.HIDDEN + masking.REPLACED), drawn, ids)
    return np.where(places & (dice < masking.HIDDEN), mask, read)


def _tokens_to_hide(rng):
    for B, T in ((2, 12), (4, 30)):
        places = rng.random((B, T)) < 0.5
        yield (
            "",
            (
                rng.integers(5, 50, (B, T)),
                places,
                rng.random((B, T)),
                rng.integers(50, 99, (B, T)),
                4,
            ),
        )


@exercise(
    "hide tokens: 80 % masked, 10 % random, 10 % unchanged",
    level=1,
    minutes=5,
    reference=_hide,
    solution="minillm/data/masking.py: Masking.hide",
    cases=_tokens_to_hide,
    outputs=("read",),
    hints={
        "read": (
            "One die for each token decides among three fates: masked, drawn, unchanged.",
            "Below 0.8: mask, so dice < 0.8.  From there to 0.9: drawn.  The mask comes last, "
            "so masked_or_drawn may hold both: dice < 0.9.",
        ),
    },
)
def mask_tokens(ids, places, dice, drawn, mask):
    """Hide the tokens at the chosen positions from the model.

    ids (B, T); places (B, T), True at the tokens to predict; dice (B, T), uniform in 0..1;
    drawn (B, T), random tokens; mask, the id of [MASK] -> the ids that the model reads.
    """
    # two masks (B, T), by the dice alone
    masked = ...
    masked_or_drawn = ...
    read = np.where(places & masked_or_drawn, drawn, ids)
    read = np.where(places & masked, mask, read)
    return read


def _visible_token(P, v, kept, replaced):
    seen = P * replaced / len(P)
    seen[v] += P[v] * kept
    return seen / seen.sum()


def _contexts(rng):
    for V in (4, 7):
        yield "", (rng.dirichlet(np.ones(V)), 2, 0.1, 0.1)
    yield "", (rng.dirichlet(np.ones(5)), 4, 0.3, 0.05)
    yield "none is random", (rng.dirichlet(np.ones(5)), 1, 0.2, 0.0)
    yield "none is kept", (rng.dirichlet(np.ones(5)), 1, 0.0, 0.2)


@exercise(
    "how far a visible token is to be believed",
    level=2,
    minutes=20,
    reference=_visible_token,
    solution="minillm/exercises/chapter15.py: _visible_token",
    cases=_contexts,
    outputs=("p",),
    hints={
        "p": (
            "Bayes' rule: how probable is w from the context alone, times how probable it is to "
            "see v there if w is the original?  Both causes of v add up.",
            "likelihood = kept * (np.arange(V) == v) + replaced / V, since a random token is v "
            "with the probability 1 / V; then p is P * likelihood, divided by its sum.",
        ),
        "none is random": (
            "If no token is random, the one that is seen is the original.",
            "The likelihood of all w except v is 0 here: replaced / V with replaced = 0.",
        ),
        "none is kept": (
            "If no token is kept, seeing v says nothing: each original leads to it equally often.",
            "The likelihood is replaced / V for each w, v included, so p is P.",
        ),
    },
)
def visible_token(P, v, kept, replaced):
    """The probability of each original token at a position that is asked about and shows v.

    P (V,): the probability of each token by the context alone; v: the id that is seen.  A position
    that is asked about keeps its token with the probability ``kept``, and receives a random one of
    all V tokens with the probability ``replaced``; otherwise it shows [MASK], which v is not
    -> p (V,).
    """
    V = len(P)
    likelihood = ...
    p = ...
    return p


def _text_vector(x, lengths):
    m, pool_backward = ops.mean_pool(x, lengths)
    norm = np.linalg.norm(m, axis=1, keepdims=True)
    y = m / norm

    def backward(dy):
        return pool_backward((dy - y * (y * dy).sum(axis=1, keepdims=True)) / norm)

    return y, backward


def _texts(rng):
    yield "", (rng.standard_normal((2, 3, 4)), np.array([3, 3]))
    yield "lengths", (rng.standard_normal((3, 5, 4)), np.array([5, 2, 1]))


@exercise(
    "a vector of a text: the mean of its tokens, scaled to the length 1",
    level=2,
    minutes=25,
    reference=_text_vector,
    solution="minillm/ops/padding.py: mean_pool",
    cases=_texts,
    gradients=("dx",),
    hints={
        "y": (
            "The mean is a sum over the tokens of a text, divided by the number of these tokens.",
            "m = (x * mask[..., None]).sum(axis=1) / lengths[:, None]",
        ),
        "lengths": (
            "The padding takes no part: neither in the sum, nor in the number that divides it, "
            "nor in the gradient.",
            "Divide by lengths[:, None], and multiply by mask[..., None] both ways.",
        ),
        "dx": (
            "Two steps back.  The unit vector: dm is dy without its part along y, over the norm. "
            "The mean: each token that counts gets dm / length, the padding 0.  If m is a sum and "
            "no mean, y is the same, and the norm here is too large.",
            "dm = (dy - y * (y * dy).sum(axis=1, keepdims=True)) / norm (B, D), "
            "dx = mask[..., None] * (dm / lengths[:, None])[:, None].",
        ),
    },
)
def text_vector(x, lengths):
    """Compute a vector of length 1 for each text.

    x (B, T, D), lengths (B,): tokens past a row's length are padding -> y (B, D).
    ``backward(dy)`` -> dx.
    """
    mask = np.arange(x.shape[1]) < lengths[:, None]  # (B, T)
    m = ...
    norm = np.linalg.norm(m, axis=1, keepdims=True)  # (B, 1)
    y = m / norm

    def backward(dy):
        dm = ...
        dx = ...
        return dx

    return y, backward


def _diffusion_loss(logits, ids, places):
    weights = places / places.sum(axis=1, keepdims=True) / len(ids)
    one_hot = np.eye(logits.shape[-1])[ids]
    log_p = log_softmax(logits)

    def backward(dloss):
        return dloss * weights[..., None] * (np.exp(log_p) - one_hot)

    return -(weights * (one_hot * log_p).sum(axis=-1)).sum(), backward


def _noised(rng):
    for B, T, V in ((1, 4, 3), (3, 5, 4)):
        (logits,), ids = draw(rng, (B, T, V)), rng.integers(0, V, (B, T))
        places = rng.random((B, T)).argsort(axis=1) < rng.integers(1, T + 1, (B, 1))
        yield "", (logits, ids, places)


@exercise(
    "the loss of masked diffusion, forward and backward",
    level=2,
    minutes=20,
    reference=_diffusion_loss,
    solution="minillm/models/masked_diffusion.py: loss",
    cases=_noised,
    outputs=("loss",),
    gradients=("dlogits",),
    hints={
        "loss": (
            "First the mean over the masked tokens of each text, then the mean over the texts.",
            "(places * nats).sum(axis=1) / places.sum(axis=1), then .mean(), with nats = -ln p of "
            "the tokens (B, T).",
        ),
        "dlogits": (
            "p minus the one-hot token, times the weight of each prediction: 0 where the token is "
            "visible.",
            "The weight is places / (B times the number of masked tokens of the text), and dloss "
            "is a factor.",
        ),
    },
)
def diffusion_loss(logits, ids, places):
    """Compute the mean over texts of the mean cross-entropy of their masked tokens.

    logits (B, T, V) of the original tokens, ids (B, T) the original tokens, places (B, T): True
    where a token was masked, at least once in each row -> loss, an array without axes.
    ``backward(dloss)`` -> dlogits.
    """
    # as many lines as you need
    loss = ...

    def backward(dloss):
        dlogits = ...
        return dlogits

    return loss, backward


# --- transfer: the answer stands nowhere in the text ----------------------------------


def _layer_mix(layers, s):
    w, softmax_backward = ops.softmax(s)

    def backward(dy):
        dw = (layers * dy).sum(axis=(1, 2))
        return w[:, None, None] * dy, softmax_backward(dw)

    return np.einsum("l,lnd->nd", w, layers), backward


def _layers(rng):
    for L, n, D in ((1, 2, 3), (3, 2, 4), (4, 3, 2)):
        yield "", draw(rng, (L, n, D), L)


@exercise(
    "a learned mean of the layers",
    level=2,
    minutes=20,
    reference=_layer_mix,
    solution="minillm/exercises/chapter15.py: _layer_mix",
    cases=_layers,
    gradients=("dlayers", "ds"),
    hints={
        "y": (
            "One weight for each layer, and the weights are positive and sum to 1.",
            'w = np.exp(s) / np.exp(s).sum(); y = np.einsum("l,lnd->nd", w, layers).',
        ),
        "dlayers": (
            "Layer l has the slope w[l] in every entry of y.",
            "w[:, None, None] * dy.",
        ),
        "ds": (
            "A weight is used in all n tokens and all D features: uses add up to dw[l].  Then "
            "the softmax, whose weights depend on every score.",
            "dw = (layers * dy).sum(axis=(1, 2)); ds = w * (dw - (w * dw).sum()).",
        ),
    },
)
def layer_mix(layers, s):
    """Compute the mean of the layers of a model, weighted by softmax(s).

    layers (L, n, D): the vectors of n tokens after each layer; s (L,), learned -> y (n, D).
    ``backward(dy)`` -> dlayers, ds.
    """
    # as many lines as you need
    y = ...

    def backward(dy):
        dlayers, ds = ...
        return dlayers, ds

    return y, backward


def _pseudo_likelihood(predict, ids, mask):
    total = 0.0
    for t in range(len(ids)):
        hidden = ids.copy()
        hidden[t] = mask
        total += predict(hidden)[t, ids[t]]
    return total


def _masked_models(rng):
    def model(T, V):
        E, P, W = draw(rng, (V, 3), (T, 3), (3, V))

        def predict(ids):
            x = E[ids] + P[: len(ids)]
            return log_softmax((x + x.mean(axis=0)) @ W)

        return predict

    for T, V in ((1, 4), (3, 5), (6, 4)):
        yield "one token" * (T == 1), (model(T, V), rng.integers(1, V, T), 0)


@exercise(
    "how probable a masked language model finds a text",
    level=2,
    minutes=15,
    reference=_pseudo_likelihood,
    solution="minillm/exercises/chapter15.py: _pseudo_likelihood",
    cases=_masked_models,
    outputs=("total",),
    hints={
        "one token": (
            "A model that sees a token need not predict it: predict must read [MASK] there.  And "
            "whose log-probability is wanted, after that?",
            "Hide it in a copy, so that ids still has the token: hidden = ids.copy(); hidden[0] = "
            "mask; predict(hidden)[0, ids[0]].",
        ),
        "total": (
            "A text of one token is right.  Each token needs a reading of its own, in which it is "
            "hidden and all others are visible; and the result is a sum, not a mean.",
            "hidden = ids.copy(); hidden[t] = mask; add predict(hidden)[t, ids[t]], for each t.",
        ),
    },
)
def pseudo_likelihood(predict, ids, mask):
    """Sum the log-probability of each token, given all others.

    ``predict(ids)`` reads a text (T,) and returns the log-probabilities (T, V) of the tokens at
    each of its positions; ids (T,): a text; mask: the id of [MASK] -> total.
    """
    # as many lines as you need
    total = ...
    return total


# --- find the bug -------------------------------------------------------------------


def _pairs_of_texts(rng):
    for n, tau in ((3, 0.5), (4, 2.0)):
        yield "", (*draw(rng, (n, n), (n, n)), tau)


@find_the_bug(
    "find the bug: texts that find each other",
    level=3,
    minutes=25,
    cases=_pairs_of_texts,
    outputs=("loss",),
    gradients=("da", "db"),
    bugs=(
        Bug(
            "path",
            "(du - u * (u * du).sum(axis=1, keepdims=True)) / length_a",
            "du / length_a",
            "a is used twice in u = a / |a|: the length depends on it, too.",
        ),
        Bug("factor", " / n / tau", " / n", "scores = u v^T / tau: the slope has 1 / tau."),
        Bug(
            "order",
            "dscores.T @ u",
            "dscores @ u",
            "v is scored by every u: entry [i, j] belongs to v[j].",
        ),
        Bug(
            "value",
            "du = dscores @ v",
            "du = dscores @ b",
            "The scores are products of the unit vectors.",
        ),
        Bug("factor", " / n / tau", " / tau", "The loss is a mean over n rows."),
    ),
)
def find_contrast(a, b, tau):
    """Compute the mean of -log p[i, i], where row i of p is the softmax of the cosines by tau.

    a and b (n, D): text a[i] belongs to b[i]; a number tau -> loss.  ``backward(dloss)`` -> da, db.
    """
    n = len(a)
    length_a = np.linalg.norm(a, axis=1, keepdims=True)
    length_b = np.linalg.norm(b, axis=1, keepdims=True)
    u, v = a / length_a, b / length_b
    p = np.exp(u @ v.T / tau)
    p = p / p.sum(axis=1, keepdims=True)
    loss = -np.log(np.diag(p)).mean()

    def backward(dloss):
        dscores = dloss * (p - np.eye(n)) / n / tau
        du = dscores @ v
        dv = dscores.T @ u
        da = (du - u * (u * du).sum(axis=1, keepdims=True)) / length_a
        db = (dv - v * (v * dv).sum(axis=1, keepdims=True)) / length_b
        return da, db

    return loss, backward


def _sentinels(ids, spans, first):
    source, target, at = [], [], 0
    for number, (start, length) in enumerate(spans):
        source += [*ids[at:start], first - number]
        target += [first - number, *ids[start : start + length]]
        at = start + length
    return source + ids[at:], [*target, first - len(spans)]


def _spans(rng):
    yield "one span", ([11, 12, 13, 14, 15], [(1, 2)], 99)
    yield "", ([11, 12, 13, 14, 15, 16, 17], [(0, 1), (3, 2)], 99)
    yield "at the end", ([5, 6, 7, 8], [(1, 1), (3, 1)], 50)
    yield "", (rng.integers(0, 20, 12).tolist(), [(2, 3), (6, 1), (9, 2)], 40)


@exercise(
    "T5: write the hidden spans only",
    level=1,
    minutes=20,
    reference=_sentinels,
    solution="minillm/exercises/chapter15.py: _sentinels",
    cases=_spans,
    outputs=("source", "target"),
    hints={
        "source": (
            "What is visible, with one sentinel in the place of each span, whatever its length; "
            "each span has a sentinel of its own.",
            "Append ids[at:start] and first - number, and go on at start + length.",
        ),
        "target": (
            "Each span follows its sentinel.  How does a reader of the target know where the last "
            "span ends?",
            "Append first - number and ids[start : start + length] for each span, and one more "
            "sentinel, first - len(spans), at the end.",
        ),
        "at the end:source": (
            "Nothing is visible after the last span here, and nothing follows its sentinel.",
            "After the loop, append ids[at:], which may be empty.",
        ),
    },
)
def sentinels(ids, spans, first):
    """Make a pair of T5's pre-training: source and target together contain each token once.

    ids: a list of tokens; spans: pairs (start, length) from left to right, which do not touch;
    first: the id of the first sentinel, the next ones are first - 1, first - 2, and so on
    -> source: ids with a sentinel in the place of each span; target: each sentinel followed by its
    span, then one further sentinel.
    """
    # as many lines as you need
    source, target = ...
    return source, target
