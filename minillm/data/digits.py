"""Handwritten digits, and captions for them: scikit-learn's bundled set."""

import numpy as np
from numpy.typing import NDArray

from minillm.data.splits import split_by_hash
from minillm.errors import InputError

CLASSES = tuple(str(digit) for digit in range(10))
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class Digits:
    """1,797 images of 8 by 8 points, each 0 to 1, and the digit that each shows.

    From the package scikit-learn, which brings them along (Alpaydin and Kaynak 1998, the
    test part).  180 are for validation and 360 for test, by a hash of the place in the set.
    """

    def __init__(self) -> None:
        try:
            from sklearn.datasets import load_digits
        except ImportError:
            raise InputError(
                "digits: it needs the package scikit-learn (pip install minillm[data])"
            ) from None
        points, digits = load_digits(return_X_y=True)
        self.images = (points / 16).astype(np.float32)  # (1797, 64)
        self.labels = digits.astype(np.int64)  # (1797,)
        rows = split_by_hash(range(len(digits)), validation=180, test=360)
        self.rows = {part: np.array(sorted(of_part)) for part, of_part in rows.items()}

    def part(self, part: str) -> tuple[NDArray, NDArray]:
        """Images (N, 64) and digits (N,) of "training", "validation" or "test"."""
        rows = self.rows[part]
        return self.images[rows], self.labels[rows]


def caption(digit: int) -> str:
    """What is said of a digit.

    >>> caption(7)
    'a seven, which is odd'
    """
    article = "an" if NAMES[digit] == "eight" else "a"
    return f"{article} {NAMES[digit]}, which is {'odd' if digit % 2 else 'even'}"
