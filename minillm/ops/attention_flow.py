"""Attention flow: attention between a text and a question about it, in both directions."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm.checks import op
from minillm.ops.padding import OptionalLengths, length_mask, zero_padding
from minillm.ops.softmax import masked_softmax


@op(
    "h: B T D, u: B J D, w_h: D, w_u: D, w_hu: D, lengths: B <= T or T, "
    "question_lengths: B <= J or J -> g: B T 4D"
)
def attention_flow(
    h: NDArray,
    u: NDArray,
    w_h: NDArray,
    w_u: NDArray,
    w_hu: NDArray,
    lengths: OptionalLengths = None,
    question_lengths: OptionalLengths = None,
) -> tuple[NDArray, Callable]:
    """Describe each word of a text by its relation to a question about the text.

    Every word t of the text is compared with every word j of the question (* by components):

        s_tj = w_h . h_t + w_u . u_j + (h_t * w_hu) . u_j

    From the text to the question: a mean of the question's words for each word of the text:

        a_t = softmax over j of s_tj        v_t = sum over j of a_tj u_j

    From the question to the text: a mean of the text's words that are close to the question:

        b = softmax over t of (max over j of s_tj)        c = sum over t of b_t h_t

    The text is not reduced to one vector: each word keeps its own, joined with the two means:

        g_t = [h_t, v_t, h_t * v_t, h_t * c]

    h (B, T, D) of the text, u (B, J, D) of the question, w_h, w_u and w_hu (D,); lengths (B,) of
    the texts and question_lengths (B,) of the questions, or None -> g (B, T, 4D), zero in the
    padding.  ``backward(dg)`` -> dh, du, dw_h, dw_u, dw_hu.  Keeps h, u, v, a, b, c and, for
    each t, the j with the largest score, to which the gradient of the maximum goes.

    Source: Seo, Kembhavi, Farhadi and Hajishirzi (2017), "Bidirectional attention flow for
    machine comprehension", equations 1 and 2.
    """
    h, u = zero_padding(h, lengths), zero_padding(u, question_lengths)
    question_mask = length_mask(question_lengths, u.shape[1])[:, None]  # (B, 1, J)

    # s_tj - w_h . h_t, which is the same for all j: (h_t * w_hu + w_u) . u_j
    q = h * w_hu + w_u  # (B, T, D)
    scores = q @ u.mT  # (B, T, J)
    a, _ = masked_softmax(scores, question_mask)
    v = a @ u  # (B, T, D)

    scores = np.where(question_mask, scores, -np.inf)
    closest = scores.argmax(axis=2)[..., None]  # (B, T, 1)
    best = np.take_along_axis(scores, closest, axis=2)[..., 0] + h @ w_h  # (B, T)
    b = masked_softmax(best, length_mask(lengths, h.shape[1]))[0][:, None]  # (B, 1, T)
    c = b @ h  # (B, 1, D)

    g = zero_padding(np.concatenate([h, v, h * v, h * c], axis=2), lengths)

    def backward(dg):
        # g = [h, v, h v, h c]
        dh, dv, dhv, dhc = np.split(zero_padding(dg, lengths), 4, axis=2)
        dh = dh + dhv * v + dhc * c
        dv = dv + dhv * h
        dc = (dhc * h).sum(axis=1, keepdims=True)  # (B, 1, D)
        # c = b h
        dh = dh + b.mT * dc
        db = dc @ h.mT  # (B, 1, T)
        # b = softmax(best), best_t = the largest s_tj + w_h . h_t
        dbest = (b * (db - (b * db).sum(axis=2, keepdims=True))).mT  # (B, T, 1)
        dh = dh + dbest * w_h
        dw_h = (dbest * h).sum(axis=(0, 1))
        # v = a u, a = softmax(scores)
        da = dv @ u.mT  # (B, T, J)
        du = a.mT @ dv
        dscores = a * (da - (a * da).sum(axis=2, keepdims=True))
        to_closest = np.take_along_axis(dscores, closest, axis=2) + dbest
        np.put_along_axis(dscores, closest, to_closest, axis=2)
        # scores = q u^T
        dq = dscores @ u
        du = du + dscores.mT @ q
        # q = h w_hu + w_u
        dh = dh + dq * w_hu
        dw_u, dw_hu = dq.sum(axis=(0, 1)), (dq * h).sum(axis=(0, 1))
        return zero_padding(dh, lengths), zero_padding(du, question_lengths), dw_h, dw_u, dw_hu

    return g, backward
