"""Numbers in words, in two languages: the smallest translation task that is not a toy."""

import random
from functools import partial

from minillm.data.pairs import Pair
from minillm.data.splits import split_by_hash
from minillm.errors import InputError, missing_extra


class Numbers:
    """``forty-two`` to ``quarante-deux``, from the package ``num2words``.

    22,000 numbers below a million.  All lengths from one digit to six are about equally frequent,
    if there are enough numbers of a length.  A hash of the number assigns 1,000 to validation and
    1,000 to test.
    """

    def __init__(self, source: str = "en", target: str = "fr", count: int = 22_000):
        try:
            from num2words import CONVERTER_CLASSES, num2words  # optional: the extra "data"
        except ImportError:
            raise missing_extra(f"numbers-{source}-{target}", "data") from None
        for language in (source, target):
            if language not in CONVERTER_CLASSES:
                raise InputError(
                    f"numbers-{source}-{target}: expected languages of num2words "
                    f"(en, fr, de, es, ...), found {language!r}"
                )
        self.numbers = split_by_hash(_spread(count), validation=1000, test=1000)
        self.in_words = partial(num2words, lang=source), partial(num2words, lang=target)
        self.written: dict[str, list[Pair]] = {}

    def pairs(self, part: str) -> list[Pair]:
        """(number in the source language, in the target language); the first call takes seconds."""
        if part not in self.written:
            source, target = self.in_words
            self.written[part] = [(source(n), target(n)) for n in self.numbers[part]]
        return self.written[part]


def _spread(count: int) -> set[int]:
    """Distinct numbers, the same every time: the number of digits is drawn, then the digits."""
    draw = random.Random(0).random  # Python guarantees that this sequence never changes
    numbers: set[int] = set()
    while len(numbers) < count:
        digits = 1 + int(6 * draw())
        numbers.add(int(draw() * 10**digits))
    return numbers
