"""Train ten steps with each of the kernels that run here: their losses must agree with NumPy's.

It needs nothing but minillm and what that depends on, because `make dist-check` runs it where only
the wheel is installed.
"""

import math
import platform
import sysconfig

import numpy as np

import minillm
from minillm.data import Windows, builtin_corpus
from minillm.models.gpt import GPT, GPTConfig
from minillm.models.language_model import LanguageModel, LanguageModelConfig
from minillm.text import Characters
from minillm.training.optimisers import AdamW

STEPS = 10


def losses(ids: np.ndarray, vocabulary: int) -> list[float]:
    """Train a recurrent language model and a GPT, and return the losses of both."""
    rng = np.random.default_rng(0)
    recurrent = LanguageModel(LanguageModelConfig(vocabulary=vocabulary, hidden=64), rng)
    gpt = GPT(GPTConfig(vocabulary=vocabulary, context=32, layers=2, heads=2, width=64), rng)
    optimisers = AdamW(recurrent.params), AdamW(gpt.params)
    windows, state, seen = Windows(ids, batch=8, window=32), recurrent.zero_state(8), []
    for _ in range(STEPS):
        inputs, targets = windows.next()
        (first, state), first_backward = recurrent.window_loss(inputs, targets, state)
        second, second_backward = gpt.loss((inputs, targets))
        for optimiser, backward in zip(optimisers, (first_backward, second_backward), strict=True):
            optimiser.step(backward(), learning_rate=3e-3)
        seen += [float(first), float(second)]
    return seen


def main() -> None:
    text = builtin_corpus()
    vocabulary = Characters.from_text(text)
    ids = vocabulary.encode(text)
    # On arm64, products of NumPy raise flags that mean nothing.
    with minillm.use_kernels("numpy"), np.errstate(all="ignore"):
        expected = losses(ids, len(vocabulary))
    info = minillm.kernels_info()
    for name in info["available"][1:]:
        with minillm.use_kernels(name):
            found = losses(ids, len(vocabulary))
        if not np.allclose(found, expected, rtol=1e-4, atol=0):
            raise SystemExit(f"{name}: expected the losses {expected}, found {found}")
    if not expected[-2] < math.log(len(vocabulary)) > expected[-1]:
        raise SystemExit(f"expected the losses to fall, found {expected}")
    where = f"Python {platform.python_version()}, {sysconfig.get_config_var('SOABI')}"
    kernels = ", ".join(info["available"])
    print(f"{where}: {STEPS} steps with {kernels}: {expected[0]:.3f} to {expected[-2]:.3f} nats")


main()
