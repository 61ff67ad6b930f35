"""Handwritten digits: scikit-learn's bundled set."""

import numpy as np
from numpy.typing import NDArray

from minillm.data.splits import split_by_hash
from minillm.errors import missing_extra


class Digits:
    """1,797 images of 8 by 8 pixels, each 0 to 1, and the digits that they show.

    From the package scikit-learn (Alpaydin and Kaynak 1998, the test part).  A hash of the
    position in the set assigns 180 images to validation and 360 to test.  ``labels`` are
    the names of the ten digits.
    """

    def __init__(self) -> None:
        try:
            from sklearn.datasets import load_digits  # optional: the extra "data"
        except ImportError:
            raise missing_extra("digits", "data") from None
        pixels, digits = load_digits(return_X_y=True)
        self.labels = [str(digit) for digit in range(10)]
        self.images = (pixels / 16).astype(np.float32)  # (1797, 64)
        self.digits = digits.astype(np.int64)  # (1797,)
        rows = split_by_hash(range(len(digits)), validation=180, test=360)
        self.rows = {part: np.array(sorted(of_part)) for part, of_part in rows.items()}

    def part(self, part: str) -> tuple[NDArray, NDArray]:
        """Images (N, 64) and digits (N,) of "training", "validation" or "test"."""
        rows = self.rows[part]
        return self.images[rows], self.digits[rows]
