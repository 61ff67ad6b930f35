"""Dynamic evaluation: a language model goes on learning from the text that it predicts.

A text has names, words and habits of its own, and repeats them.  A recurrent state or a context
holds some of them, as far as it reaches; weights hold them for longer.  So the text is read in
windows, and a copy of the model learns from each window when it has been scored.  With the weights
W_0 of the training, for i = 1, 2, ...

    score window i: its loss is L_i(W_{i-1})
    learn from it:  W_i = W_{i-1} + a step that lowers L_i

**What it minimises.**  The figure is the sum of all L_i(W_{i-1}).  A step comes too late for the
window that it learns from, whose loss is already counted.  It helps if the next windows resemble
the windows before them.  This is online learning: compare the sum with the loss of any fixed
weights W.  If L_i is convex, it lies above its tangent, L_i(W) >= L_i(W_{i-1}) + g (W - W_{i-1}),
where g is its gradient at W_{i-1}; so

    sum of L_i(W_{i-1}) - sum of L_i(W) <= sum of g (W_{i-1} - W)

With steps W_i = W_{i-1} - rate g, expand |W_i - W|^2 = |W_{i-1} - W|^2 - 2 rate g (W_{i-1} - W) +
rate^2 |g|^2, and sum over i; the differences of the distances cancel but for the first and last:

    sum of g (W_{i-1} - W) <= |W_0 - W|^2 / (2 rate) + rate / 2 (sum of |g|^2)

The model pays for the distance from W_0 to the weights that suit this text, and for the size of its
steps; if weights that suit it are near W_0, the sum is almost as low as if they had been known from
the start.  The loss of a network is not convex, but near W_0 it is close enough to its tangent.

**The step.**  A gradient step is the W that minimises g W + |W - W_{i-1}|^2 / (2 rate).  The
gradients of a network's weights differ in size by orders of magnitude, so each weight W_j measures
its distance in a unit of its own, the root r_j of the mean of its squared gradients so far:

    minimise    g W + sum over j of r_j (W_j - V_j)^2 / (2 rate)         V = W_{i-1}
    slope       g_j + r_j (W_j - V_j) / rate = 0
    step        W_j = V_j - rate g_j / r_j

This is Adam without momentum, which would take its steps later, when they help less.  Krause et al.
measure r on the training text, and also pull W back to W_0, so that old windows count less.

**No token is scored after it was learned.**  L_i is computed with W_{i-1}, which depends on the
windows 1 to i - 1 alone; and within a window the model sees only the tokens before the one that it
predicts.  So this is the loss of a model that predicts one token at a time.

**Windows.**  A recurrent model carries its state from one window to the next; a step is taken every
``WINDOW`` tokens.  A causal Transformer reads windows that overlap by half; it scores and learns
the second half of each, with the first half as its context.

Sources: Mikolov, Karafiat, Burget, Cernocky and Khudanpur (2010), "Recurrent neural network based
language model", for a model that learns while it is evaluated; Krause, Kahembwe, Murray and Renals
(2018), "Dynamic evaluation of neural sequence models", for the windows and the division by r;
Krause, Kahembwe, Murray and Renals (2019), "Dynamic evaluation of Transformer language models";
Zinkevich (2003), "Online convex programming and generalized infinitesimal gradient ascent", theorem
1, for the bound; Tieleman and Hinton (2012), "RMSprop", for the mean of squares so far.
"""

from collections.abc import Callable, Iterator
from copy import copy
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.data import overlapping_windows, windows_once
from minillm.data.windows import Ids
from minillm.models.base import WindowModel
from minillm.training.optimisers import Adam
from minillm.training.packed import Packed
from minillm.training.progress import progress_bar

WINDOW = 32  # tokens from one step of a recurrent model to the next
RATE, MAMBA_RATE, BLOCKS_RATE = 0.3, 0.04, 0.013  # of models of width 1: see default_rate


class Adapted(NamedTuple):
    """A copy of a model that has learned a text, and what it had predicted."""

    model: Any
    losses: NDArray[np.float64]  # (T,) of each token after the first, in nats


def default_rate(model: Any) -> float:
    """The rate for a model of this width: 0.3 / H of one hidden layer, 0.04 / D of a Mamba, and
    0.013 / D of the blocks of a Transformer.

    The steps of a sum of H inputs add up, and so do the steps of the blocks of a stack.  Models of
    width D learn at about a thirtieth of the rate that ``train`` has for them by default.
    """
    config = model.config
    if hasattr(config, "hidden"):
        return RATE / config.hidden
    return (MAMBA_RATE if isinstance(model, WindowModel) else BLOCKS_RATE) / config.width


def adapt(model: Any, ids: Ids, rate: float | None = None, quiet: bool = True) -> Adapted:
    """Read a text of T + 1 tokens with a copy of the model, which learns each window once scored.

    The weights of ``model`` do not change.  rate: the size of an average step of a weight.
    ``quiet`` hides the progress, which is shown on terminals.
    """
    model, losses = copied(model), list[NDArray]()
    with progress_bar(None, "adapting", len(ids) - 1, unit=" tokens", quiet=quiet) as bar:
        for of_window in learn(model, ids, rate):
            losses.append(of_window)
            bar.update(len(of_window))
    return Adapted(model, np.concatenate(losses).astype(np.float64))


def copied(model: Any) -> Any:
    """A copy of a model, with weights of its own."""
    model = copy(model)
    model.params = {name: p.copy() for name, p in model.params.items()}
    return model


def learn(model: Any, ids: Ids, rate: float | None = None) -> Iterator[NDArray]:
    """Yield the losses of each window of a text; the model has learned from it.

    The ids of a window are looked up when it is asked for.
    """
    rate = default_rate(model) if rate is None else rate
    optimiser = Adam(model.params, beta1=0.0)
    for log_p, backward in _windows(model, ids):
        optimiser.step(backward(np.full_like(log_p, -1 / log_p.size)), rate)
        yield -log_p.ravel()


def _windows(model: Any, ids: Ids) -> Iterator[tuple[NDArray, Callable]]:
    """Yield the log-probabilities of the tokens of each window, and their backward.

    A window is computed when it is asked for, with the weights of that moment.
    """
    if not isinstance(model, WindowModel):
        likelihood = Packed(model).log_likelihood
        for inputs, targets, mask in overlapping_windows(ids, 1, model.config.context):
            yield likelihood((inputs, targets), mask=mask)
        return
    state = model.zero_state(1)
    for inputs, targets in windows_once(ids[:], 1, WINDOW):
        (logits, state), forward_backward = model.forward(inputs, state)
        log_p, likelihood_backward = ops.log_likelihood(logits, targets)

        def backward(dlog_p, output=likelihood_backward, network=forward_backward):
            return network(output(dlog_p))

        yield log_p, backward
