"""Store the angles of transformers for the tests, which run without it.

Run from the root, with transformers and PyTorch installed:

    python tests/ops/make_scaling_vectors.py

Each entry of scaling_vectors.json has the width of a head, the base, the entries of a config.json,
the number of tokens, and transformers' angles and factor of cos and sin.
"""

import json
from pathlib import Path

from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

CONTEXT = 4096  # of all; it is divided by the original context where no factor is given


def longrope(D, **others):
    short = [round(1 + 0.03 * i, 2) for i in range(D // 2)]
    long = [round(1.1**i, 3) for i in range(D // 2)]
    return {"rope_type": "longrope", "short_factor": short, "long_factor": long, **others}


def yarn(factor=4.0, original=1024, **others):
    given = {"factor": factor} if factor else {"factor": None}
    return {
        "rope_type": "yarn",
        "original_max_position_embeddings": original,
        **given,
        **others,
    }


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
    (64, 1e6, yarn(mscale=1.0, mscale_all_dim=0.8)),
    (64, 1e6, yarn(mscale=0.707)),
    (64, 1e6, yarn(factor=None)),
    (16, 1e4, yarn(factor=0.5)),
    (8, 100.0, yarn(original=8, beta_fast=1.5, beta_slow=1.2)),
    (4, 10.0, yarn(original=20000)),
    (16, 1e4, longrope(16, original_max_position_embeddings=1024)),
    (64, 1e4, longrope(64, original_max_position_embeddings=1024, factor=16.0)),
    (64, 1e4, longrope(64, original_max_position_embeddings=1024, attention_factor=1.25)),
    (16, 1e4, longrope(16, original_max_position_embeddings=4096)),
]


def angles(D, base, entries, tokens):
    config = LlamaConfig(
        hidden_size=2 * D,
        num_attention_heads=2,
        max_position_embeddings=CONTEXT,
        rope_parameters={"rope_theta": base, **entries},
    )
    found, factor = ROPE_INIT_FUNCTIONS[entries["rope_type"]](config, "cpu", seq_len=tokens)
    return {"angles": [float(str(x)) for x in found.numpy()], "factor": factor}


vectors = [
    {"D": D, "base": base, "entries": entries, "tokens": n, **angles(D, base, entries, n)}
    for D, base, entries in CASES
    for n in ((1024, 1025) if entries["rope_type"] == "longrope" else (1,))
]
text = json.dumps({"context": CONTEXT, "vectors": vectors}, indent=None)
Path(__file__).with_name("scaling_vectors.json").write_text(text + "\n")
