"""Make frozen_blocks.npz: blocks of each type, and their numbers by the package gguf 0.19.0.

python tests/quantised/make_frozen_blocks.py
"""

from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("frozen_blocks.npz")
SIZES = {  # bytes of a block
    "F16": 2, "BF16": 2, "Q8_0": 34, "Q5_1": 24, "Q5_0": 22, "Q4_1": 20, "Q4_0": 18, "IQ4_NL": 18,
    "Q6_K": 210, "Q5_K": 176, "Q4_K": 144, "IQ4_XS": 136, "Q3_K": 110, "Q2_K": 84,
}  # fmt: skip
HALVES = {  # the places of the float16 of a block
    "F16": [0], "BF16": [0], "Q8_0": [0], "Q5_1": [0, 2], "Q5_0": [0], "Q4_1": [0, 2],
    "Q4_0": [0], "IQ4_NL": [0], "Q6_K": [208], "Q5_K": [0, 2], "Q4_K": [0, 2], "IQ4_XS": [0],
    "Q3_K": [108], "Q2_K": [80, 82],
}  # fmt: skip


def random_blocks(rng, type, count):
    """Blocks of any bytes, but whose float16 are finite, one in each row."""
    rows = rng.integers(0, 256, (count, SIZES[type])).astype(np.uint8)
    for at in HALVES[type]:
        rows[:, at : at + 2] = rng.normal(size=(count, 1)).astype("<f2").view(np.uint8)
    return rows


def computed(rng, type, x, count):
    """Random blocks and their numbers; x (N, I) as blocks, or None if gguf only reads the type."""
    from gguf import GGMLQuantizationType, quants

    number = GGMLQuantizationType[type]
    rows = random_blocks(rng, type, count)
    try:
        encoded = np.ascontiguousarray(quants.quantize(x, number))
        encoded = encoded.view(np.uint8).reshape(len(x), -1)
    except NotImplementedError:
        encoded = None
    return rows, np.ascontiguousarray(quants.dequantize(rows, number)), encoded


def frozen(type):
    """x, and the same from the file."""
    with np.load(FILE) as arrays:
        names = (f"{type}.{name}" for name in ("rows", "numbers", "encoded"))
        return arrays["x"], *(arrays.get(name) for name in names)


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 256)).astype(np.float32)
    x[1, :32] = np.abs(x[1, :32])
    arrays = {"x": x}
    for type in HALVES:
        found = zip(("rows", "numbers", "encoded"), computed(rng, type, x, 3), strict=True)
        arrays |= {f"{type}.{name}": array for name, array in found if array is not None}
    np.savez_compressed(FILE, **arrays)
