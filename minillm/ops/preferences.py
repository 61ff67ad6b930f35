"""Losses of preferences and rewards: DPO, and group relative policy optimisation (GRPO)."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm.checks import op
from minillm.ops.activations import logistic


@op(
    "chosen: P, rejected: P, reference_chosen: P constant, reference_rejected: P constant, "
    "beta: positive -> loss:"
)
def preference_loss(
    chosen: NDArray,
    rejected: NDArray,
    reference_chosen: NDArray,
    reference_rejected: NDArray,
    beta: float = 0.1,
) -> tuple[np.floating, Callable]:
    """The mean over pairs of -log P(the chosen answer is preferred).

        margin = (chosen - reference_chosen) - (rejected - reference_rejected)
        loss = mean of -log sigmoid(beta margin)

    chosen and rejected (P,) are the log-probabilities of whole answers, the sums over their tokens;
    reference_chosen and reference_rejected (P,) are the same by the model before the training,
    which is constant.
    -> loss, a scalar.  ``backward(dloss=1.0)`` -> dchosen, drejected (P,).  Keeps the margins.

    Where it comes from.  In reinforcement learning from preferences, a reward R(x, y) is learned
    first, by which an answer y to x is preferred with probability sigmoid(R(x, y) - R(x, y')).
    Then the model P is trained for the highest mean of R(x, y) - beta log P(y|x) / P_0(y|x): for
    reward, but near the model P_0 that it began as.  The best P for a given R is known,

        P(y|x) = P_0(y|x) exp(R(x, y) / beta) / Z(x)

    so R(x, y) = beta log P(y|x) / P_0(y|x) + beta log Z(x).  In the difference of two rewards Z
    cancels, and the loss of the reward is a loss of P itself: no reward is learned, and no answer
    is drawn.

    The derivative of -log sigmoid(z) is -sigmoid(-z), so that a pair counts as much as it is
    mistaken:

        dchosen = -beta sigmoid(-beta margin) / P        drejected = -dchosen

    Source: Rafailov, Sharma, Mitchell, Ermon, Manning and Finn (2023), "Direct preference
    optimization: your language model is secretly a reward model", equations 4 to 7.
    """
    P, dtype = len(chosen), chosen.dtype
    z = dtype.type(beta) * ((chosen - reference_chosen) - (rejected - reference_rejected))
    loss = np.logaddexp(dtype.type(0), -z).sum() / dtype.type(P)  # -log sigmoid(z) = log(1 + e^-z)

    def backward(dloss=1.0):
        # loss = mean of -log sigmoid(z)
        dz = -logistic(-z) * dtype.type(dloss / P)
        # z = beta (chosen - rejected + constant)
        dchosen = dtype.type(beta) * dz
        return dchosen, -dchosen

    return loss, backward


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
