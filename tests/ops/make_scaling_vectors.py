"""Store the angles of transformers for the tests, which run without it.

Run from the root, with transformers and PyTorch installed:

    python tests/ops/make_scaling_vectors.py

Each entry of scaling_vectors.json has the width of a head, the base, the entries of a config.json,
and transformers' angles and factor of cos and sin.
"""

import json
from pathlib import Path

from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

CONTEXT = 4096  # of all; it is divided by the original context where no factor is given


def yarn(factor=4.0, original=1024, **others):
    sizes = {"factor": factor, "original_max_position_embeddings": original}
    return {"rope_type": "yarn", **sizes, **others}


LLAMA3 = {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}
CASES = [
    (16, 1e4, {"rope_type": "linear", "factor": 2.5}),
    (64, 5e5, {"rope_type": "linear", "factor": 8}),
    (16, 1e4, LLAMA3 | {"factor": 8.0, "original_max_position_embeddings": 512}),
    (64, 5e5, LLAMA3 | {"factor": 32.0, "original_max_position_embeddings": 8192}),
    (16, 1e4, yarn()),
    (64, 1e6, yarn()),
    (64, 1e6, yarn(beta_fast=16, beta_slow=0.5)),
    (64, 1e6, yarn(truncate=False)),
    (64, 1e6, yarn(attention_factor=1.5)),
    (64, 1e6, yarn(factor=None)),
    (16, 1e4, yarn(factor=0.5)),
    (8, 100.0, yarn(original=8, beta_fast=1.5, beta_slow=1.2)),
    (4, 10.0, yarn(original=20000)),
]


def angles(D, base, entries):
    config = LlamaConfig(
        hidden_size=2 * D,
        num_attention_heads=2,
        max_position_embeddings=CONTEXT,
        rope_parameters={"rope_theta": base, **entries},
    )
    found, factor = ROPE_INIT_FUNCTIONS[entries["rope_type"]](config, "cpu")
    return {"angles": [float(str(x)) for x in found.numpy()], "factor": factor}


vectors = [
    {"D": D, "base": base, "entries": entries, **angles(D, base, entries)}
    for D, base, entries in CASES
]
text = json.dumps({"context": CONTEXT, "vectors": vectors}, indent=None)
Path(__file__).with_name("scaling_vectors.json").write_text(text + "\n")
