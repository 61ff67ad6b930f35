"""Group relative policy optimisation (GRPO): to make answers with a reward more probable."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm.checks import op


@op("log_p: N, reference: N constant, advantage: N constant, beta: not_negative -> loss:")
def policy_loss(
    log_p: NDArray, reference: NDArray, advantage: NDArray, beta: float = 0.04
) -> tuple[np.floating, Callable]:
    """A loss that makes good answers more probable, and keeps the model near its beginning.

        distance = exp(reference - log_p) - (reference - log_p) - 1
        loss = mean over tokens of -advantage log_p + beta distance

    log_p (N,) are the log-probabilities of N tokens by the model that drew them, reference (N,)
    the same by the model before the training, and advantage (N,) says how much better than others
    the answer of each token was.  The last two are constant.
    -> loss, a scalar.  ``backward(dloss=1.0)`` -> dlog_p (N,).

    Where it comes from.  The mean reward R of answers that P draws has the slope of the mean of
    R log P(answer), with R held constant: drawing has no derivative, but the probability of what is
    drawn has one (Williams 1992).  The same holds for R minus any constant, and a good constant
    makes the slopes vary less.  In GRPO it is the mean reward of a group of answers to the same
    question, and the difference is divided by their standard deviation:

        advantage = (R - mean of the group) / standard deviation of the group

    The distance keeps the model near its beginning.  Its mean over tokens that P draws is the
    Kullback-Leibler divergence KL(P || reference), and it is never negative (Schulman 2020).

    The slope:

        dlog_p = (-advantage + beta (1 - exp(reference - log_p))) / N

    GRPO's own loss has the ratio of P to the model that drew the answer in place of log P, and
    clips it.  With one step for each group, the ratio is 1 and has this slope.

    Source: Shao et al. (2024), "DeepSeekMath: pushing the limits of mathematical reasoning in open
    language models", equations 3, 4 and 20.
    """
    N, dtype = len(log_p), log_p.dtype
    toward, kept_advantage = np.exp(reference - log_p), advantage.copy()
    distance = toward - (reference - log_p) - 1
    loss = (dtype.type(beta) * distance - advantage * log_p).sum() / dtype.type(N)

    def backward(dloss=1.0):
        # loss = mean of -advantage log_p + beta distance
        slope = dtype.type(beta) * (1 - toward) - kept_advantage
        return slope * dtype.type(dloss / N)

    return loss, backward
