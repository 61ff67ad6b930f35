"""Store results of PyTorch for the tests, which run without it.

Run from the root, with PyTorch installed:

    PYTHONPATH=tests python tests/ops/make_frozen_vectors.py

Each entry of frozen_vectors.npz is named op/role/number: the arguments in the order of
our signature, the upstream gradients, PyTorch's outputs and PyTorch's gradients.  An argument
without an entry is None.
"""

from pathlib import Path

import numpy as np
import torch_reference

arrays: dict[str, np.ndarray] = {}
for name in torch_reference.OPS:
    seed, args = 0, [object()]
    while not all(a is None or a is True or isinstance(a, (np.ndarray, float)) for a in args):
        seed += 1  # with a flag that is set, such as causal, and without a whole mask
        args, upstream = torch_reference.case_of(name, np.random.default_rng(seed))
    outputs, gradients = torch_reference.op(name, args, upstream)
    roles = {"argument": args, "upstream": upstream, "output": outputs, "gradient": gradients}
    for role, group in roles.items():
        arrays |= {f"{name}/{role}/{k}": np.array(a) for k, a in enumerate(group) if a is not None}

np.savez_compressed(Path(__file__).with_name("frozen_vectors.npz"), **arrays)
