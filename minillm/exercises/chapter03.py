"""Exercises of chapter 3: before networks."""

import numpy as np

from minillm import ops
from minillm.exercises.declaration import Bug, draw, exercise, find_the_bug
from minillm.models import chain
from minillm.models.class_ngram import mutual_information

# --- hidden Markov models -------------------------------------------------------------


def _log_probabilities(rng, *shape, axis=-1):
    p = rng.uniform(0.1, 1, shape)
    return np.log(p / p.sum(axis=axis, keepdims=True))


def _texts(rng):
    for label, K, V, T in (("one token", 2, 3, 1), ("", 2, 3, 4), ("", 3, 4, 6)):
        start, transitions = _log_probabilities(rng, K), _log_probabilities(rng, K, K)
        emissions = _log_probabilities(rng, V, K, axis=0)
        yield label, (start, transitions, emissions, rng.integers(0, V, T))


def _one_chain(start, transitions, scores):
    log_Z, chain_backward = chain.log_partition(start, transitions, scores[None])

    def backward(dlog_Z):
        dstart, dtransitions, dscores = chain_backward(np.reshape(dlog_Z, 1))
        return dstart, dtransitions, dscores[0]

    return log_Z[0], backward


def _chains(rng):
    for label, K, T in (("one step", 2, 1), ("", 2, 3), ("", 3, 5)):
        yield label, draw(rng, K, (K, K), (T, K))


@exercise(
    "forward-backward, as the backward pass of forward",
    level=3,
    minutes=30,
    reference=_one_chain,
    solution="minillm/models/chain.py: log_partition",
    cases=_chains,
    outputs=("log_Z",),
    gradients=("dstart", "dtransitions", "dscores"),
    hints={
        "zero": (
            "No gradient arrives: log_Z is a function of the last row of log_alpha.",
            "The slope of a logarithm of a sum of exponentials is a softmax of its terms.",
        ),
        "dscores": (
            "scores[t] is added to log_alpha[t], so both have the same gradient: the probability "
            "of each state at t, which sums to 1 (times dlog_Z).  If the first step alone is "
            "wrong, it was forgotten below the loop.",
            "At the end, dlog_alpha = dlog_Z * np.exp(log_alpha[-1] - log_Z).  A step back is the "
            "sum of pairs over the later state, axis 1.",
        ),
        "dtransitions": (
            "transitions[i, j] is one of the terms of log_alpha[t, j], and has a use at each step.",
            "share has, for each j, the softmax over i: pairs = share * dlog_alpha, and "
            "dtransitions adds it up.",
        ),
        "dstart": (
            "start is added to log_alpha[0], as scores[0] is.",
            "dstart is dlog_alpha after the loop.  With one step there is no loop, and it is "
            "dlog_Z * np.exp(log_alpha[-1] - log_Z).",
        ),
    },
)
def forward_backward(start, transitions, scores):
    """Compute log Z of a chain: start (K,), transitions (K, K), scores (T, K) -> log_Z.

    ``backward(dlog_Z)`` -> dstart, dtransitions, dscores.
    """
    log_alpha = start + scores
    for t in range(1, len(scores)):
        terms = log_alpha[t - 1][:, None] + transitions  # from i, to j
        log_alpha[t] = scores[t] + np.log(np.exp(terms).sum(axis=0))
    log_Z = np.log(np.exp(log_alpha[-1]).sum())

    def backward(dlog_Z):
        dtransitions, dscores = np.zeros_like(transitions), np.zeros_like(scores)
        dlog_alpha = ...
        for t in reversed(range(1, len(scores))):
            dscores[t] = dlog_alpha
            share = np.exp(log_alpha[t - 1][:, None] + transitions + scores[t] - log_alpha[t])
            pairs = ...
            dtransitions += pairs
            dlog_alpha = ...
        dscores[0] = dlog_alpha
        dstart = ...
        return dstart, dtransitions, dscores

    return log_Z, backward


def _viterbi(start, transitions, scores):
    path = chain.best_paths(start, transitions, scores[None])[0]
    steps = scores[np.arange(len(path)), path].sum() + transitions[path[:-1], path[1:]].sum()
    return path, start[path[0]] + steps


@exercise(
    "Viterbi: the best path",
    level=2,
    minutes=20,
    reference=_viterbi,
    solution="minillm/models/chain.py: best_paths",
    cases=_chains,
    outputs=("path", "score"),
    hints={
        "path": (
            "The last state is the best of the last step.  Each state before it is the one that "
            "the best path to its successor came from.",
            "through has a row for each i: came_from[t] = through.argmax(axis=0); then "
            "path[t - 1] = came_from[t, path[t]].",
        ),
        "score": (
            "best[j] is the largest score of a path that ends in j: as in forward, with the "
            "largest term in place of the sum.",
            "best = through.max(axis=0) + scores[t]; at the end, the score is best.max().",
        ),
    },
)
def viterbi(start, transitions, scores):
    """Find the path of the largest score, and its score.

    The score of a path s is start[s_1], the scores[t, s_t] of all its steps, and the
    transitions[s_t, s_t+1] between them: start (K,), transitions (K, K), scores (T, K) ->
    path (T,), integers, and score.
    """
    T, K = scores.shape
    path, came_from = np.zeros(T, int), np.zeros((T, K), int)
    best = start + scores[0]
    for t in range(1, T):
        through = best[:, None] + transitions  # from i, to j
        came_from[t] = ...
        best = ...
    path[-1] = best.argmax()
    for t in reversed(range(1, T)):
        path[t - 1] = ...
    score = ...
    return path, score


# --- class n-grams ----------------------------------------------------------------------


def _information(pairs, class_of):
    C = class_of.max() + 1
    one_hot = np.eye(C)[class_of]
    n = one_hot.T @ pairs @ one_hot
    return n, mutual_information(n)


def _words_in_classes(rng):
    yield "", (rng.integers(1, 9, (4, 4)).astype(float), np.array([0, 1, 0, 1]))
    yield "", (rng.integers(1, 9, (6, 6)).astype(float), np.array([2, 0, 1, 1, 0, 2]))
    pairs = np.array([[0.0, 5, 5], [3, 0, 0], [7, 0, 0]])
    yield "a pair that never occurs", (pairs, np.array([0, 1, 1]))


@exercise(
    "the mutual information of classes",
    level=2,
    minutes=20,
    reference=_information,
    solution="minillm/models/class_ngram.py: mutual_information",
    cases=_words_in_classes,
    outputs=("n", "information"),
    hints={
        "n": (
            "n[c, d] adds up all pairs whose first word is in class c and whose second is in d.",
            "np.add.at(n, (class_of[:, None], class_of), pairs), or two products with a one-hot "
            "matrix of the classes.",
        ),
        "information": (
            "Compare each pair of classes with what it would be if neighbours were independent: "
            "p(c, d) against p(c) p(d), whose sums run over different axes.",
            "p = n / n.sum(); the sum of p * np.log(p / np.outer(p.sum(axis=1), p.sum(axis=0))).",
        ),
        "a pair that never occurs:information": (
            "0 times the logarithm of 0 counts as 0, and NumPy makes it nan.",
            "Sum only where p > 0.",
        ),
    },
)
def class_information(pairs, class_of):
    """Count the pairs of classes, and compute the mutual information of neighbours, in nats.

    pairs (V, V): pairs[a, w] is how often word w was seen after word a; class_of (V,), the class
    of each word, from 0 to C - 1 -> n (C, C), information.
    """
    C = class_of.max() + 1
    n = np.zeros((C, C))
    # as many lines as you need
    n = ...
    information = ...
    return n, information


# --- transfer: the answer stands nowhere in the text ----------------------------------


def _crf(x, W, transitions, tags):
    scores, linear_backward = ops.linear(x, W)
    log_Z, chain_backward = _one_chain(np.zeros(len(transitions)), transitions, scores)
    t = np.arange(len(x))
    loss = log_Z - scores[t, tags].sum() - transitions[tags[:-1], tags[1:]].sum()

    def backward(dloss):
        _, dtransitions, dscores = chain_backward(dloss)
        np.add.at(dtransitions, (tags[:-1], tags[1:]), -dloss)
        dscores[t, tags] -= dloss
        return *linear_backward(dscores), dtransitions

    return np.asarray(loss), backward


def _tagged(rng):
    for label, T, D, K in (("one step", 1, 2, 3), ("", 3, 3, 2), ("", 5, 2, 3)):
        tags = rng.integers(0, K, T)
        tags[-1] = tags[0]
        yield label, (*draw(rng, (T, D), (D, K), (K, K)), tags)


@exercise(
    "a conditional random field",
    level=3,
    minutes=45,
    name="crf",
    reference=_crf,
    solution="minillm/exercises/chapter03.py: _crf",
    cases=_tagged,
    outputs=("loss",),
    gradients=("dx", "dW", "dtransitions"),
    hints={
        "loss": (
            "p(tags) = exp(score of the tags) / Z, where Z sums over all K^T sequences of tags: "
            "forward computes it.  There is no start: its scores are 0.",
            "log Z minus (x @ W)[t, tags[t]] of all t, minus transitions[tags[t], tags[t + 1]].",
        ),
        "one step:loss": (
            "With one step there are no transitions: it is the cross-entropy of x W.",
            "log of the sum of exp(x @ W), minus (x @ W)[0, tags[0]].",
        ),
        "dtransitions": (
            "Expected minus observed: how often the model expects a pair of tags, minus how often "
            "it stands in the tags, which may be twice.",
            "np.add.at(dtransitions, (tags[:-1], tags[1:]), -1), on top of the gradient of log Z.",
        ),
        "dW": (
            "Let dscores be the probability of each tag at each step, minus 1 at the right tag.  "
            "The rest is a linear layer.",
            "dscores from forward-backward; dscores[t, tags[t]] -= 1; dW = x.T @ dscores.",
        ),
        "dx": ("The scores are x W, a linear layer.", "dx = dscores @ W.T."),
        "all": (
            "Every gradient is expected minus observed, times dloss.",
            "Multiply the gradients of log Z and of the score of the tags by dloss.",
        ),
    },
)
def conditional_random_field(x, W, transitions, tags):
    """Compute the loss of a linear-chain conditional random field on one sequence.

    x (T, D), W (D, K), transitions (K, K), tags (T,) -> -log p(tags | x), an array without axes.
    A sequence s of tags has the score sum of (x W)[t, s_t] + sum of transitions[s_t, s_t+1], and
    p(s | x) is the softmax of the scores of all sequences.  ``backward(dloss)`` -> dx, dW,
    dtransitions.
    """
    # as many lines as you need
    loss = ...

    def backward(dloss):
        dx, dW, dtransitions = ...
        return dx, dW, dtransitions

    return loss, backward


def _any_features(f, targets, weights):
    loss, loss_backward = ops.cross_entropy(f @ weights, targets)

    def backward(dloss):
        dlogits = loss_backward(dloss)
        return dlogits[:, :, None] * weights, np.einsum("nv,nvm->m", dlogits, f)

    return np.asarray(loss), backward


def _features(rng):
    for n, V, M in ((1, 3, 2), (4, 3, 5)):
        f = rng.integers(0, 2, (n, V, M)).astype(float)
        yield "", (f, rng.integers(0, V, n), rng.standard_normal(M))


@exercise(
    "maximum entropy with any features",
    level=2,
    minutes=20,
    name="any-features",
    reference=_any_features,
    solution="minillm/exercises/chapter03.py: _any_features",
    cases=_features,
    outputs=("loss",),
    gradients=("df", "dweights"),
    hints={
        "loss": (
            "The logit of word v is the sum of the weights of its features; softmax, and the mean "
            "of -log p of the targets.",
            "logits = f @ weights, (n, V).",
        ),
        "dweights": (
            "Expected minus observed, averaged over the n contexts: the features of all words by "
            "their probabilities, minus the features of the target.",
            "dlogits = dloss * (p - one_hot) / n; dweights = np.einsum('nv,nvm->m', dlogits, f).",
        ),
        "df": (
            "A feature has the gradient of its word's logit, times its weight.",
            "dlogits[:, :, None] * weights.",
        ),
    },
)
def any_features(f, targets, weights):
    """Compute the mean cross-entropy of a log-linear model, and its gradient.

    f (n, V, M) has the M features of each word in each of n contexts, targets (n,), weights (M,)
    -> the loss, an array without axes.  ``backward(dloss)`` -> df, dweights.
    """
    # as many lines as you need
    loss = ...

    def backward(dloss):
        df, dweights = ...
        return df, dweights

    return loss, backward


# --- find the bug -------------------------------------------------------------------


def _probabilities(rng):
    for _, (start, transitions, emissions, _) in _texts(rng):
        V = len(emissions)
        ids = np.append(rng.permutation(V), rng.integers(0, V, 3))
        yield "", (np.exp(start), np.exp(transitions), np.exp(emissions), ids)


@find_the_bug(
    "find the bug: a step of Baum-Welch",
    level=2,
    minutes=25,
    cases=_probabilities,
    outputs=("A", "E"),
    bugs=(
        Bug(
            "order",
            "alpha[t - 1] @ A",
            "A @ alpha[t - 1]",
            "alpha_t[j] sums over the state i before it, and row i of A starts there.",
            lead="Does the last row of alpha sum to p(text)?  Sum two tokens by hand.",
        ),
        Bug(
            "value",
            "beta[t] = A @ (E[ids[t + 1]] * beta[t + 1])",
            "beta[t] = A @ (E[ids[t]] * beta[t + 1])",
            "beta_t is the probability of the tokens from t + 1 on.",
            lead="At each t, the sum of alpha times beta is p(text).  Is it?",
        ),
        Bug(
            "path",
            "E[ids[t + 1]] * beta[t + 1]) * A / p",
            "beta[t + 1]) * A / p",
            "A path from i to j also writes the token at t + 1 in state j.",
            lead="The states are right.  What is a pair made of, in whole?",
        ),
        Bug(
            "axis",
            "pairs.sum(axis=1, keepdims=True)",
            "pairs.sum(axis=0, keepdims=True)",
            "The transitions from one state, a row, sum to 1.",
            lead="Which sums of the new A are 1?",
        ),
        Bug(
            "axis",
            "words.sum(axis=0)",
            "words.sum(axis=1, keepdims=True)",
            "The emissions of one state, a column, sum to 1.",
            lead="Which sums of the new E are 1?",
        ),
        Bug(
            "range",
            "for t in range(T - 1):",
            "for t in range(T - 2):",
            "T tokens have T - 1 pairs of neighbours.",
            lead="How many transitions does a text of three tokens have?",
        ),
    ),
)
def find_baum_welch(start, A, E, ids):
    """One step of EM, in probabilities: the new transitions A and the new emissions E.

    start (K,), A (K, K) from row to column, E (V, K), ids (T,) -> A, E.
    """
    T, K = len(ids), len(start)
    alpha, beta = np.zeros((T, K)), np.ones((T, K))
    alpha[0] = start * E[ids[0]]
    for t in range(1, T):
        alpha[t] = alpha[t - 1] @ A * E[ids[t]]
    for t in reversed(range(T - 1)):
        beta[t] = A @ (E[ids[t + 1]] * beta[t + 1])
    p = alpha[-1].sum()
    states = alpha * beta / p
    pairs, words = np.zeros_like(A), np.zeros_like(E)
    for t in range(T - 1):
        pairs += np.outer(alpha[t], E[ids[t + 1]] * beta[t + 1]) * A / p
    np.add.at(words, ids, states)
    A = pairs / pairs.sum(axis=1, keepdims=True)
    E = words / words.sum(axis=0)
    return A, E
