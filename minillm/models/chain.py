"""Chains: the best path, and the sum over all paths, of states that follow each other.

    score(s) = start[s_1] + scores_1[s_1]
             + sum over t > 1 of transitions[s_{t-1}, s_t] + scores_t[s_t]
    Z = sum over all K^T paths s of exp(score(s))

The distributive law computes log Z in T steps: *forward*.  Its slope with respect to any number r
in the scores is

    d log Z / dr = sum over the paths that contain r of exp(score) / Z = p(the path contains r)

where p(s) = exp(score(s)) / Z.  So the gradient of log Z holds probabilities of states and of pairs
of states, and the algorithm known as forward-backward is the backward pass of forward.

Hidden Markov models (:mod:`minillm.models.hidden_markov`) are chains whose scores are logarithms of
probabilities.  In a conditional random field, the scores are the outputs of any model.

Legend: B chains, T steps, K states.

Sources: Baum, Petrie, Soules and Weiss (1970), "A maximization technique occurring in the
statistical analysis of probabilistic functions of Markov chains"; Viterbi (1967), "Error bounds for
convolutional codes and an asymptotically optimum decoding algorithm"; Eisner (2016),
"Inside-outside and forward-backward algorithms are just backprop".
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm.layers.types import Ids


def logsumexp(x: NDArray) -> NDArray:
    """log of the sum of exp(x) over the last axis."""
    m = x.max(axis=-1)
    return m + np.log(np.exp(x - m[..., None]).sum(axis=-1))


def forward(start: NDArray, transitions: NDArray, scores: NDArray) -> NDArray:
    """log alpha (B, T, K): log of the sum over all paths that end in state j at step t.

        log alpha_t[j] = scores_t[j] + log sum over i of exp(log alpha_{t-1}[i] + transitions[i, j])

    start (K,), transitions (K, K), scores (B, T, K).  Transitions are above -700.
    """
    log_alpha, A = start + scores, np.exp(transitions)
    for t in range(1, scores.shape[1]):
        m = log_alpha[:, t - 1].max(axis=1, keepdims=True)
        log_alpha[:, t] = scores[:, t] + m + np.log(np.exp(log_alpha[:, t - 1] - m) @ A)
    return log_alpha


def log_partition(
    start: NDArray, transitions: NDArray, scores: NDArray
) -> tuple[NDArray, Callable]:
    """log Z of each of B chains: log of the sum over all paths of exp(score).

    start (K,), transitions (K, K), scores (B, T, K) -> (B,).  ``backward(dlog_Z)`` -> dstart,
    dtransitions, dscores: posteriors, times dlog_Z.  Keeps log alpha.
    """
    log_alpha, A = forward(start, transitions, scores), np.exp(transitions)
    log_Z = logsumexp(log_alpha[:, -1])

    def backward(dlog_Z):
        dtransitions, dscores = np.zeros_like(A), np.empty_like(scores)
        # log Z = log sum of exp(log alpha_T):
        dlog_alpha = dlog_Z[:, None] * np.exp(log_alpha[:, -1] - log_Z[:, None])
        for t in reversed(range(1, scores.shape[1])):
            # log alpha_t = scores_t + m + log(exp(log alpha_{t-1} - m) A), for any m:
            dscores[:, t] = dlog_alpha
            x = log_alpha[:, t - 1]
            e = np.exp(x - x.max(axis=1, keepdims=True))
            share = dlog_alpha / (e @ A)
            dtransitions += e.T @ share * A
            dlog_alpha = share @ A.T * e
        dscores[:, 0] = dlog_alpha  # log alpha_1 = start + scores_1
        return dlog_alpha.sum(axis=0), dtransitions, dscores

    return log_Z, backward


def best_paths(start: NDArray, transitions: NDArray, scores: NDArray) -> Ids:
    """The path of the largest score of each chain, (B, T): Viterbi's algorithm.

    It is `forward` with the largest term in place of the sum.
    """
    best, came_from = start + scores[:, 0], []
    for t in range(1, scores.shape[1]):
        through = best[:, :, None] + transitions  # (B, from i, to j)
        came_from.append(through.argmax(axis=1))
        best = through.max(axis=1) + scores[:, t]
    path = [best.argmax(axis=1)]
    for states in reversed(came_from):
        path.append(np.take_along_axis(states, path[-1][:, None], axis=1)[:, 0])
    return np.stack(path[::-1], axis=1)
