"""The n-grams of a text, hashed into a fixed number of buckets.

    "not bad"  ->  not, bad; ^ not, not bad, bad $; ^ not bad, not bad $;
                   <n no ot t> <no not ot> ... of <not>, and of <bad>

No vocabulary of them is kept: each goes into the bucket of its hash, which a few may share.  There
are four groups, and each has a quarter of the buckets: words, pairs and triples of words, and
n-grams of 2 to 5 characters within words.  Pairs and triples know where the text begins and ends.
A word that was never seen still has characters that were.

Sources: Weinberger, Dasgupta, Langford, Smola and Attenberg (2009), "Feature hashing for large
scale multitask learning"; Joulin, Grave, Bojanowski and Mikolov (2016), "Bag of tricks for
efficient text classification", for the words; Bojanowski, Grave, Joulin and Mikolov (2017),
"Enriching word vectors with subword information", section 3.2, for the characters.
"""

import zlib
from collections.abc import Iterator, Sequence

WORDS = (1, 2, 3)  # how long the n-grams of words are: a group for each
CHARACTERS = (2, 3, 4, 5)  # how long those of characters are: one group
GROUPS = len(WORDS) + 1


def hashed_ngrams(words: Sequence[str], buckets: int) -> list[int]:
    """The buckets, in 0..buckets - 1, of the n-grams of a text, each once.

    Upper and lower case are alike.  ``buckets`` is a multiple of ``GROUPS``; group k has those from
    k buckets / GROUPS on.

    >>> hashed_ngrams(["Bad"], 1000) == hashed_ngrams(["bad"], 1000)
    True
    >>> len(hashed_ngrams(["bad"], 10**6))  # bad; ^ bad, bad $; ^ bad $; and 10 of characters
    14
    """
    share = buckets // GROUPS
    ids: dict[int, None] = {}  # a dictionary keeps its order, which a set does not
    for group, ngrams in enumerate(_groups([word.lower() for word in words])):
        for ngram in ngrams:
            ids[group * share + _hash(ngram) % share] = None
    return list(ids)


def _groups(words: Sequence[str]) -> Iterator[Iterator[str]]:
    """The n-grams of each group."""
    for n in WORDS:
        framed = words if n == 1 or not words else ["^", *words, "$"]
        yield (" ".join(framed[at : at + n]) for at in range(len(framed) - n + 1))
    marked = [f"<{word}>" for word in dict.fromkeys(words)]
    yield (w[at : at + n] for w in marked for n in CHARACTERS for at in range(len(w) - n + 1))


def _hash(text: str) -> int:
    """The same on every machine, which Python's own hash is not."""
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))
