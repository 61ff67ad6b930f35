"""Make frozen_blocks.npz: blocks of each type, and their numbers by the package gguf 0.19.0.

python tests/quantised/make_frozen_blocks.py
"""

from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants

HALVES = {  # the places of the float16 of a block
    "Q8_0": [0], "Q5_1": [0, 2], "Q5_0": [0], "Q4_1": [0, 2], "Q4_0": [0], "IQ4_NL": [0],
    "Q6_K": [208], "Q5_K": [0, 2], "Q4_K": [0, 2], "IQ4_XS": [0], "Q3_K": [108], "Q2_K": [80, 82],
}  # fmt: skip

if __name__ == "__main__":
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 256)).astype(np.float32)
    x[1, :32] = np.abs(x[1, :32])
    frozen = {"x": x}
    for name, places in HALVES.items():
        number = GGMLQuantizationType[name]
        rows = rng.integers(0, 256, (3, GGML_QUANT_SIZES[number][1])).astype(np.uint8)
        for at in places:
            rows[:, at : at + 2] = rng.normal(size=(3, 1)).astype("<f2").view(np.uint8)
        frozen[f"{name}.rows"] = rows
        frozen[f"{name}.numbers"] = quants.dequantize(rows, number)
        try:
            frozen[f"{name}.encoded"] = quants.quantize(x, number)
        except NotImplementedError:  # it only reads the type
            continue
    np.savez_compressed(Path(__file__).parent / "frozen_blocks.npz", **frozen)
