"""Direct preference optimisation (DPO): to make the better of two answers more probable."""

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
