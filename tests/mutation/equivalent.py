"""Mutants that no test can see, each with the reason.  Few: most of what looks like one is not."""

from .mutant import Mutant

# (file, a part of what the mutant is called, why no test can see it)
EQUIVALENT = [
    ("minillm/_kernels/gemm.pxi", "if k >>+ 4 < k1", "how far ahead the cache is filled"),
    (
        "minillm/_kernels/gemm.pxi",
        "K < SMALL",
        "the least work for two threads: the bits are the same",
    ),
    ("minillm/_kernels/recurrent_forward.pxi", "ahead = ", "how far ahead the cache is filled"),
]


def is_equivalent(mutant: Mutant) -> bool:
    return any(
        mutant.path.as_posix() == path and part in mutant.what for path, part, _ in EQUIVALENT
    )
