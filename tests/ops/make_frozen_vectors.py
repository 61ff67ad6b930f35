"""Store results of PyTorch for the tests, which run without it.

Run from the root, with PyTorch installed:

    PYTHONPATH=tests python tests/ops/make_frozen_vectors.py

Each entry of frozen_vectors.npz is named op/role/number: the arguments in the order of
our signature, the upstream gradients, PyTorch's outputs and PyTorch's gradients.
"""

from pathlib import Path

import numpy as np
import torch_reference

rng = np.random.default_rng(20)
arrays: dict[str, np.ndarray] = {}


def freeze(op, args, upstream, theirs):
    outputs, gradients = theirs
    for role, group in [
        ("argument", args),
        ("upstream", upstream),
        ("output", outputs),
        ("gradient", gradients),
    ]:
        arrays.update({f"{op}/{role}/{k}": a for k, a in enumerate(group)})


B, T, I, H = 3, 4, 3, 2
for name, states, gates in [("rnn", 1, 1), ("lstm", 2, 4), ("gru", 1, 3)]:
    x, lengths = rng.standard_normal((B, T, I)), np.array([4, 1, 3])
    state = [rng.standard_normal((B, H)) for _ in range(states)]
    W_x, W_h = rng.standard_normal((I, gates * H)), rng.standard_normal((H, gates * H))
    biases = [rng.standard_normal(gates * H) for _ in range(2 if name == "gru" else 1)]
    upstream = [rng.standard_normal(s) for s in [(B, T, H)] + [(B, H)] * states]
    theirs = torch_reference.recurrent(name, x, state, W_x, W_h, biases, lengths, upstream)
    freeze(name, [x, *state, W_x, W_h, *biases, lengths], upstream, theirs)
for name in torch_reference.ELEMENTWISE:
    x, dy = 2 * rng.standard_normal((2, 3, 4))
    freeze(name, [x], [dy], torch_reference.elementwise(name, x, dy))
args = rng.standard_normal((2, 3, 4)), rng.standard_normal(4), rng.standard_normal(4)
dy = rng.standard_normal((2, 3, 4))
freeze("layer_norm", args, [dy], torch_reference.layer_norm(*args, dy))
args = rng.standard_normal((2, 3, 4)), rng.standard_normal((4, 5)), rng.standard_normal(5)
dy = rng.standard_normal((2, 3, 5))
freeze("linear", args, [dy], torch_reference.linear(*args, dy))
ids, E, dy = rng.integers(0, 5, (2, 6)), rng.standard_normal((5, 3)), rng.standard_normal((2, 6, 3))
freeze("embedding", [ids, E], [dy], torch_reference.embedding(ids, E, dy))
logits, targets = rng.standard_normal((2, 4, 6)), rng.integers(0, 6, (2, 4))
mask = np.array([[True, True, True, False], [True, False, False, False]])
theirs = torch_reference.cross_entropy(logits, targets, mask)
freeze("cross_entropy", [logits, targets, mask], [], theirs)
x, gain, dy = rng.standard_normal((2, 3, 4)), rng.standard_normal(4), rng.standard_normal((2, 3, 4))
freeze("rms_norm", [x, gain], [dy], torch_reference.rms_norm(x, gain, dy))
x, dy = rng.standard_normal((2, 2, 1, 3, 4))
positions = rng.integers(0, 100, (2, 3))
freeze("rotary", [x, positions], [dy], torch_reference.rotary(x, positions, 10000.0, dy))
q, dy = rng.standard_normal((2, 2, 4, 3, 2))
k, v = rng.standard_normal((2, 2, 2, 5, 2))
lengths, start = np.array([5, 2]), np.array([1, 0])
theirs = torch_reference.scaled_dot_product_attention(q, k, v, lengths, start, dy)
args = [q, k, v, np.array(True), lengths, start]
freeze("scaled_dot_product_attention", args, [dy], theirs)
source, targets = rng.integers(0, 6, (2, 5)), rng.integers(0, 6, (2, 3))
weights, dm = rng.random((2, 3, 5)), rng.standard_normal((2, 3))
theirs = torch_reference.copied_probability(weights, source, targets, dm)
freeze("copied_probability", [weights, source, targets], [dm], theirs)
logits, gates, copied = rng.standard_normal((2, 3, 4)), dm, rng.random((2, 3))
theirs = torch_reference.pointer_cross_entropy(logits, gates, copied, targets)
freeze("pointer_cross_entropy", [logits, gates, copied, targets], [], theirs)
lengths = np.array([3, 2])
freeze("coverage", [weights, lengths], [], torch_reference.coverage(weights, lengths))

np.savez_compressed(Path(__file__).with_name("frozen_vectors.npz"), **arrays)
