"""The n-grams of a text, hashed into a fixed number of buckets.

    "not bad"  ->  not, bad; ^ not, not bad, bad $; ^ not bad, not bad $;
                   <n no ot t> <no not ot> ... of <not>, and of <bad>

There is no vocabulary of n-grams: each goes into the bucket of its hash, which a few may share.
There are four groups with a quarter of the buckets each: words, pairs of words, triples of words,
and n-grams of 2 to 5 characters within words.  Pairs and triples mark the beginning and the end of
the text.  A word that was never seen still has n-grams of characters that were.

Sources: Weinberger, Dasgupta, Langford, Smola and Attenberg (2009), "Feature hashing for large
scale multitask learning"; Joulin, Grave, Bojanowski and Mikolov (2016), "Bag of tricks for
efficient text classification", for the words; Bojanowski, Grave, Joulin and Mikolov (2017),
"Enriching word vectors with subword information", section 3.2, for the characters.
"""

import zlib
from collections.abc import Iterator, Sequence

WORDS = (1, 2, 3)  # lengths of the n-grams of words, a group for each
CHARACTERS = (2, 3, 4, 5)  # lengths of the n-grams of characters, one group
GROUPS = len(WORDS) + 1


def hashed_ngrams(words: Sequence[str], buckets: int) -> list[int]:
    """The buckets, in 0..buckets - 1, of the n-grams of a text, each once.

    Case is ignored.  ``buckets`` is a multiple of ``GROUPS``; group k has the buckets from
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
    """A hash that is the same on every machine, unlike Python's."""
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))
