"""Rules about what an output may contain: banned ids, no repetition, a least length.

The rules make tokens impossible.  The model's probabilities of the others stay as they are: they
are not normalised again.
"""

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray


def forbidden(
    logits: NDArray,
    written: NDArray,
    eos: int,
    banned: Sequence[int] = (),
    no_repeat: int = 0,
    no_repeat_window: int = 0,
    least: int = 0,
) -> NDArray[np.bool_] | None:
    """A mask of the tokens that must not come next, or None if all may.

    logits (B, K, V), written (B, K, t) -> mask (B, K, V).  An output that no other token may
    continue ends with EOS, however short it is.

    banned: ids that are never written.  no_repeat: n, if no n-gram may occur twice in an output; 0:
    any may.  no_repeat_window: the number of last tokens that must not be written again at once.
    least: the number of tokens before which EOS is not written.

    Source: Paulus, Xiong and Socher (2018), "A deep reinforced model for abstractive
    summarization", section 2.5, for no_repeat.
    """
    t = written.shape[-1]
    if not (banned or no_repeat or no_repeat_window or t < least):
        return None
    mask = np.zeros(logits.shape, bool)
    # An absent hypothesis may have the word of a source that has left the batch.
    written = np.minimum(written, logits.shape[-1] - 1)
    mask[..., list(banned)] = True
    if no_repeat:
        mask[repetitions(written, no_repeat)] = True
    if no_repeat_window:
        np.put_along_axis(mask, written[..., -no_repeat_window:], True, axis=-1)
    mask[..., eos] = False
    if t < least:
        possible = ~mask & (logits > -np.inf)
        possible[..., eos] = False
        mask[..., eos] = possible.any(axis=-1)
    return mask


def repetitions(written: NDArray, n: int) -> tuple[NDArray, NDArray, NDArray]:
    """Indices (b, k, id) of each token that would complete an n-gram for the second time.

    The last n - 1 tokens of written (B, K, t) are compared with the beginning of each n-gram.
    """
    t = written.shape[-1]
    if t < n:
        return (np.zeros(0, np.int64),) * 3
    grams = sliding_window_view(written, n, axis=-1)  # (B, K, t - n + 1, n)
    last = written[..., t - n + 1 :]  # (B, K, n - 1)
    again = (grams[..., :-1] == last[..., None, :]).all(axis=-1)  # (B, K, t - n + 1)
    b, k, start = np.nonzero(again)
    return b, k, grams[b, k, start, -1]
