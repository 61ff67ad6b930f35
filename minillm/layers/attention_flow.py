"""Attention flow: a question and a text look at each other, and each word of the text keeps both.

Every word t of the text (the context) is compared with every word j of the question:

    s_tj = w_h . h_t + w_u . u_j + (h_t * w_hu) . u_j        * is by components

From the context to the question: what each word of the context asks of it,

    a_t = softmax over j of s_tj        v_t = sum over j of a_tj u_j

and from the question to the context: the words of it that some word of the question is close to,

    b = softmax over t of max over j of s_tj        c = sum over t of b_t h_t, the same for all t

Nothing is summed up into one vector for the whole text: all goes on side by side, to be read by
the next layer,

    g_t = [h_t, v_t, h_t * v_t, h_t * c]

Legend: B batch, T words of the context, J of the question, M width.

Source: Seo, Kembhavi, Farhadi and Hajishirzi (2017), "Bidirectional attention flow for machine
comprehension", equations 1 and 2.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm.layers.feed_forward import uniform
from minillm.ops._padding import cut, valid
from minillm.ops.attention import softmax_of_allowed, transposed

Params = dict[str, NDArray]


def new_layer(prefix: str, M: int, rng: np.random.Generator, dtype: type = np.float32) -> Params:
    """Fresh ``w_h``, ``w_u`` and ``w_hu`` (M,): at first, words are compared by their product."""
    w_h, w_u, w_hu = (uniform((M,), rng, dtype) for _ in range(3))
    return {f"{prefix}.w_h": w_h, f"{prefix}.w_u": w_u, f"{prefix}.w_hu": w_hu}


def attention_flow(
    params: Params,
    prefix: str,
    h: NDArray,
    u: NDArray,
    lengths: NDArray[np.integer],
    question_lengths: NDArray[np.integer],
) -> tuple[NDArray, Callable]:
    """h (B, T, M) of the context, u (B, J, M) of the question -> g (B, T, 4M).

    lengths (B,) and question_lengths (B,), at least 1: what stands behind counts for nothing, and
    g is zero there.  ``backward(dg)`` -> dh, du, gradients.
    """
    names = [f"{prefix}.{name}" for name in ("w_h", "w_u", "w_hu")]
    w_h, w_u, w_hu = (params[name] for name in names)
    h, u = cut(h, lengths), cut(u, question_lengths)
    B, T, M = h.shape
    allowed = valid(question_lengths, u.shape[1])[:, None]  # (B, 1, J)

    q = h * w_hu + w_u
    scores = q @ transposed(u)  # (B, T, J), without w_h . h_t, which no softmax over j sees
    a, _ = softmax_of_allowed(scores, allowed)
    v = a @ u  # (B, T, M)

    closest = np.where(allowed, scores, -np.inf).argmax(axis=2)[..., None]  # (B, T, 1)
    best = np.take_along_axis(scores, closest, axis=2)[..., 0] + h @ w_h  # (B, T)
    b, _ = softmax_of_allowed(best, valid(lengths, T))
    c = b[:, None] @ h  # (B, 1, M)

    g = np.concatenate([h, v, h * v, h * c], axis=2)
    g = cut(g, lengths)

    def backward(dg):
        dg = cut(dg, lengths)
        dh, dv, dhv, dhc = (dg[..., k * M : (k + 1) * M] for k in range(4))
        # g = [h, v, h v, h c]
        dv = dv + dhv * h
        dc = (dhc * h).sum(axis=1, keepdims=True)  # (B, 1, M)
        dh = dh + dhv * v + dhc * c
        # c = sum over t of b_t h_t, b = softmax(best)
        dh = dh + transposed(b[:, None]) @ dc
        db = (h @ transposed(dc))[..., 0]  # (B, T)
        dbest = b * (db - (b * db).sum(axis=1, keepdims=True))
        # best_t = s_tj of the closest j + w_h . h_t
        dh = dh + dbest[..., None] * w_h
        dw_h = (dbest[..., None] * h).sum(axis=(0, 1))
        # v = a u, a = softmax(scores)
        du = transposed(a) @ dv  # (B, J, M)
        da = dv @ transposed(u)
        dscores = a * (da - (a * da).sum(axis=2, keepdims=True))
        closest_dscores = np.take_along_axis(dscores, closest, axis=2) + dbest[..., None]
        np.put_along_axis(dscores, closest, closest_dscores, axis=2)
        # scores = q u^T
        dq = dscores @ u
        du = du + transposed(dscores) @ q
        # q = h w_hu + w_u
        dh = dh + dq * w_hu
        gradients = (dw_h, dq.sum(axis=(0, 1)), (dq * h).sum(axis=(0, 1)))
        return cut(dh, lengths), cut(du, question_lengths), dict(zip(names, gradients, strict=True))

    return g, backward
