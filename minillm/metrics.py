"""What a model is measured by."""

import math


def bits(nats: float) -> float:
    """Nats as bits: nats / ln 2."""
    return nats / math.log(2)


def perplexity(nats: float) -> float:
    """The perplexity exp(H) of a mean cross-entropy of H nats a token.

    A model with perplexity k is as unsure, on average, as a throw of a fair die of k sides.
    """
    try:
        return math.exp(nats)
    except OverflowError:
        return math.inf
