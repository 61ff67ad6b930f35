"""Numbers in words, in two languages: the smallest translation task that is not a toy."""

import random

from minillm.data.pairs import Pair
from minillm.data.splits import split_by_hash
from minillm.errors import InputError

BELOW = 1_000_000


class Numbers:
    """``forty-two`` to ``quarante-deux``, from the package ``num2words``.

    22,000 numbers below a million, as many of each count of digits as there are, or 4,400;
    1,000 of them are for validation, 1,000 for test, by a hash of the number: none of these
    is among those to train on.
    """

    source_unit = target_unit = "word"

    def __init__(self, source: str = "en", target: str = "fr", count: int = 22_000):
        try:
            from num2words import CONVERTER_CLASSES, num2words
        except ImportError:
            raise InputError(
                f"numbers-{source}-{target}: it needs the package num2words "
                "(pip install minillm[data])"
            ) from None
        for language in (source, target):
            if language not in CONVERTER_CLASSES:
                raise InputError(
                    f"numbers-{source}-{target}: expected languages of num2words "
                    f"(en, fr, de, es, ...), found {language!r}"
                )
        parts = split_by_hash(_spread(count), validation=1000, test=1000)
        self.parts: dict[str, list[Pair]] = {
            part: [(num2words(n, lang=source), num2words(n, lang=target)) for n in numbers]
            for part, numbers in parts.items()
        }

    def pairs(self, part: str) -> list[Pair]:
        """(in the source language, in the target language)."""
        return self.parts[part]


def _spread(count: int) -> set[int]:
    """Distinct numbers, the same ones every time, with short ones as likely as long ones."""
    draw = random.Random(0).random  # this generator's stream is promised never to change
    numbers: set[int] = set()
    while len(numbers) < count:
        digits = 1 + int(6 * draw())
        numbers.add(int(draw() * 10**digits))
    return numbers
