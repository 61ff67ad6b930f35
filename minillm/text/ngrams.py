"""N-grams of words and of characters, hashed into a fixed number of buckets.

    "not bad"  ->  not, bad, not bad;  <n no ot t> <no not ot> ... of <not>, and of <bad>

No vocabulary of them is kept: each goes into the bucket of its hash, which a few share.  Those of
words have the first half of the buckets, those of characters the second.  A word that was never
seen still has characters that were.

Source: Weinberger, Dasgupta, Langford, Smola and Attenberg (2009), "Feature hashing for large
scale multitask learning"; Joulin, Grave, Bojanowski and Mikolov (2016), "Bag of tricks for
efficient text classification", for the words; Bojanowski, Grave, Joulin and Mikolov (2017),
"Enriching word vectors with subword information", section 3.2, for the characters.
"""

import zlib
from collections.abc import Sequence

WORDS = (1, 2)  # how long an n-gram of words is, at least and at most
CHARACTERS = (2, 5)


def hashed_ngrams(words: Sequence[str], buckets: int) -> list[int]:
    """The buckets, in 0..buckets - 1, of the n-grams of a text, each once.

    Upper and lower case are alike.  ``buckets`` is even.

    >>> hashed_ngrams(["Bad"], 1000) == hashed_ngrams(["bad"], 1000)
    True
    >>> len(hashed_ngrams(["bad"], 10**6))  # bad; <b ba ad d> <ba bad ad> <bad bad> <bad>
    11
    """
    half = buckets // 2
    lower = [word.lower() for word in words]
    found: dict[int, None] = {}  # a set that keeps its order
    for n in range(WORDS[0], WORDS[1] + 1):
        for at in range(len(lower) - n + 1):
            found[_hash(" ".join(lower[at : at + n])) % half] = None
    for word in dict.fromkeys(lower):
        framed = f"<{word}>"
        for n in range(CHARACTERS[0], CHARACTERS[1] + 1):
            for at in range(len(framed) - n + 1):
                found[half + _hash(framed[at : at + n]) % half] = None
    return list(found)


def _hash(text: str) -> int:
    """The same on every machine, which Python's own hash is not."""
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))
