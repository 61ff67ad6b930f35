"""Word vectors: similar words, analogies, and a map."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from minillm.errors import InputError, did_you_mean

Floats = NDArray[np.floating]


class Vectors:
    """Words and their vectors, with the method names of gensim's KeyedVectors.

    Similarity is the cosine.  Raises InputError for a word without a vector; the message
    suggests similar spellings.
    """

    def __init__(self, words: Sequence[str], vectors: Floats):
        self.words = list(words)
        self.vectors = vectors
        self.ids = {word: row for row, word in enumerate(self.words)}
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        self.directions = vectors / np.where(length > 0, length, 1)

    @property
    def index_to_key(self) -> list[str]:
        """The words in order: gensim's name of ``words``."""
        return self.words

    @property
    def vector_size(self) -> int:
        """The length of a vector."""
        return self.vectors.shape[1]

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self.ids

    def __getitem__(self, word: str) -> Floats:
        """The vector of a word: (D,)."""
        return self.vectors[self.id(word)]

    def id(self, word: str) -> int:
        """The row of a word's vector."""
        if word not in self.ids:
            raise InputError(
                f"the word {word!r} is not among the {len(self.words):,} that the model knows"
                f"{did_you_mean(word, self.words)}"
            )
        return self.ids[word]

    def similarity(self, a: str, b: str) -> float:
        """The cosine of two words' vectors."""
        return float(self.directions[self.id(a)] @ self.directions[self.id(b)])

    def most_similar(
        self,
        positive: str | Sequence[str] = (),
        negative: str | Sequence[str] = (),
        topn: int = 10,
    ) -> list[tuple[str, float]]:
        """The words most similar to a word, with their similarities.

        Of several words, the directions are added; of ``negative`` words, they are subtracted.
        """
        added, subtracted = ([w] if isinstance(w, str) else [*w] for w in (positive, negative))
        words = [*added, *subtracted]
        if not words:
            raise InputError("expected a word or more, found none", "positive")
        directions = self.directions[[self.id(word) for word in words]]
        target = directions[: len(added)].sum(axis=0) - directions[len(added) :].sum(axis=0)
        length = np.linalg.norm(target)
        scores = self.directions @ (target / (length if length > 0 else 1))
        scores[[self.ids[word] for word in words]] = -np.inf
        best = np.argsort(-scores, kind="stable")[: min(topn, len(scores) - len(set(words)))]
        return [(self.words[row], float(scores[row])) for row in best]

    def analogy(self, a: str, b: str, c: str, topn: int = 10) -> list[tuple[str, float]]:
        """Words that are to c as b is to a: the nearest to b - a + c, except the three.

        With unit vectors, these words are most similar to b and c and least similar to a, with
        equal weights (Mikolov, Yih and Zweig 2013; "3CosAdd").
        """
        return self.most_similar([b, c], [a], topn)

    def map(self, words: Sequence[str]) -> Floats:
        """The coordinates of words in the plane of their largest variance: (N, 2).

        They are the first two principal components (Pearson 1901) of the words' directions.
        """
        directions = self.directions[[self.id(word) for word in words]]
        centred = directions - directions.mean(axis=0)
        _, _, axes = np.linalg.svd(centred, full_matrices=False)
        return centred @ axes[:2].T
