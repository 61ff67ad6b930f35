"""The gated delta rule: a memory of keys and values that corrects itself.

A head's memory is a matrix S (K, V) that maps a key to a value, v = S^T k.  Linear attention adds
each pair to it, S + k v^T, and never takes anything away.  The delta rule (Widrow and Hoff 1960)
looks first at what the memory answers already, and writes the difference:

    S' = alpha_t S_{t-1}                    forget: alpha_t is between 0 and 1
    e_t = v_t - S'^T k_t                    the error of the memory's answer
    S_t = S' + beta_t k_t e_t^T             correct a part beta_t of it
    o_t = S_t^T q_t                         read

With keys of length 1 and beta = 1, the memory answers k_t with v_t from then on, whatever it
answered before: an entry is replaced.  It is a step of gradient descent, of size beta_t, on
|S^T k_t - v_t|^2 / 2.

Legend: B batch, N heads, T time, K width of keys and queries, V width of values.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm._kernels import twinned
from minillm.checks import op
from minillm.ops.recurrence import Array


@op(
    "q: B N T K, k: B N T K, v: B N T V, alpha: B N T, beta: B N T, "
    "S0: B N K V -> o: B N T V, S_last: B N K V"
)
def gated_delta_rule(
    q: NDArray, k: NDArray, v: NDArray, alpha: NDArray, beta: NDArray, S0: NDArray
) -> tuple[tuple[NDArray, NDArray], Callable]:
    """The answers of a memory that is corrected at each step.

        S_t = alpha_t (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T        o_t = S_t^T q_t

    q and k (B, N, T, K), v (B, N, T, V), alpha and beta (B, N, T), S0 (B, N, K, V)
    -> o (B, N, T, V), S_last (B, N, K, V).
    ``backward(do, dS_last=None)`` -> dq, dk, dv, dalpha, dbeta, dS0.  Keeps the arguments.  The
    memories are computed again.

    Backward, from the last step to the first:

        dS_t += q_t do_t^T        dq_t = S_t do_t
        de = beta_t dS_t^T k_t        dbeta_t = k_t^T dS_t e_t        dv_t = de
        dk_t = beta_t dS_t e_t - S' de
        dS' = dS_t - k_t de^T        dalpha_t = sum of dS' * S_{t-1}        dS_{t-1} = alpha_t dS'

    Sources: Yang, Kautz and Hatamizadeh (2024), "Gated delta networks: improving Mamba2 with delta
    rule", equation 10; Schlag, Irie and Schmidhuber (2021), "Linear transformers are secretly fast
    weight programmers", for the delta rule; Widrow and Hoff (1960), "Adaptive switching circuits".
    """
    o, S_last = gated_delta_rule_forward(q, k, v, alpha, beta, S0)

    def backward(do, dS_last=None):
        return gated_delta_rule_backward(do, dS_last, q, k, v, alpha, beta, S0)

    return (o, S_last), backward


@twinned
def gated_delta_rule_forward(
    q: Array, k: Array, v: Array, alpha: Array, beta: Array, S0: Array
) -> tuple[Array, Array]:
    """-> o (B, N, T, V), S_last (B, N, K, V)."""
    S, o = S0, np.empty_like(v)
    for t in range(q.shape[2]):
        _, _, S = _write(S, k[:, :, t], v[:, :, t], alpha[:, :, t], beta[:, :, t])
        o[:, :, t] = _answer(S, q[:, :, t])
    return o, S


def _write(
    S_prev: Array, k: Array, v: Array, alpha: Array, beta: Array
) -> tuple[Array, Array, Array]:
    """k (B, N, K), v (B, N, V), alpha, beta (B, N) -> S' (B, N, K, V), e (B, N, V), S."""
    S_kept = alpha[:, :, None, None] * S_prev
    e = v - _answer(S_kept, k)
    return S_kept, e, S_kept + beta[:, :, None, None] * _outer(k, e)


def _answer(S: Array, q: Array) -> Array:
    """S^T q: S (B, N, K, V), q (B, N, K) -> (B, N, V)."""
    return (q[:, :, None, :] @ S)[:, :, 0]


def _outer(k: Array, v: Array) -> Array:
    """k v^T: k (B, N, K), v (B, N, V) -> (B, N, K, V)."""
    return k[:, :, :, None] * v[:, :, None, :]


def _transposed_answer(S: Array, v: Array) -> Array:
    """S v: S (B, N, K, V), v (B, N, V) -> (B, N, K)."""
    return (S @ v[:, :, :, None])[..., 0]


@twinned
def gated_delta_rule_backward(
    do: Array,
    dS_last: Array,
    q: Array,
    k: Array,
    v: Array,
    alpha: Array,
    beta: Array,
    S0: Array,
) -> tuple[Array, Array, Array, Array, Array, Array]:
    """-> dq, dk, dv, dalpha, dbeta, dS0."""
    steps, S = [], S0
    for t in range(q.shape[2]):
        steps.append((S, *_write(S, k[:, :, t], v[:, :, t], alpha[:, :, t], beta[:, :, t])))
        S = steps[-1][-1]
    dq, dk, dv = np.empty_like(q), np.empty_like(k), np.empty_like(v)
    dalpha, dbeta = np.empty_like(alpha), np.empty_like(beta)
    dS = dS_last
    for t in reversed(range(q.shape[2])):
        S_prev, S_kept, e, S = steps[t]
        k_t, beta_t = k[:, :, t], beta[:, :, t, None]
        # o = S^T q
        dS = dS + _outer(q[:, :, t], do[:, :, t])
        dq[:, :, t] = _transposed_answer(S, do[:, :, t])
        # S = S' + beta k e^T
        dS_e = _transposed_answer(dS, e)
        de = beta_t * _answer(dS, k_t)
        dbeta[:, :, t] = (k_t * dS_e).sum(axis=-1)
        # e = v - S'^T k
        dv[:, :, t] = de
        dk[:, :, t] = beta_t * dS_e - _transposed_answer(S_kept, de)
        dS_kept = dS - _outer(k_t, de)
        # S' = alpha S_prev
        dalpha[:, :, t] = (dS_kept * S_prev).sum(axis=(-2, -1))
        dS = alpha[:, :, t, None, None] * dS_kept
    return dq, dk, dv, dalpha, dbeta, dS
