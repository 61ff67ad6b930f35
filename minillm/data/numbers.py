"""Numbers in words, in two languages: the smallest translation task that is not a toy."""

import random

from minillm.data.pairs import Pair
from minillm.data.splits import Split, split_by_hash
from minillm.errors import InputError, missing_extra


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
