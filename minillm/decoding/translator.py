"""An encoder-decoder with its vocabularies: from texts to texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minillm.data import Sequences
from minillm.data.sequences import batches_in_order
from minillm.decoding.beam import Hypothesis, beam_search
from minillm.decoding.decoder import TargetDecoder
from minillm.errors import InputError
from minillm.text import Vocabulary, unit_name
from minillm.text.open_words import OpenWords


@dataclass(frozen=True)
class Translation:
    """One output as text."""

    text: str
    hypothesis: Hypothesis
    cut: bool  # the source has more tokens than the translator reads


class Translator:
    """An encoder-decoder with its vocabularies: from texts to texts without the unknown word.

    >>> translator = Translator(model, source, target, longest=100)  # doctest: +SKIP
    >>> translator.translate(["speech"])[0][0].text  # doctest: +SKIP
    'S P IY CH'
    """

    def __init__(
        self,
        model: Any,
        source: Vocabulary,
        target: Vocabulary,
        longest: int,
        limit: int | None = None,
    ):
        """``longest`` tokens of a source are read, and ``limit`` tokens of an output are written.

        The limit counts EOS.
        """
        self.decoder, self.source, self.target = TargetDecoder(model), source, target
        self.longest, self.limit = longest, limit or longest

    def encode(self, texts: Sequence[str], places: Sequence[str] | None = None) -> Sequences:
        """The ids of whole texts.  InputError, with the place, for a text that has none."""
        encoded = Sequences()
        for number, text in enumerate(texts):
            place = places[number] if places else f"text {number + 1}"
            ids = self.source.encode(text, place)
            if not len(ids):
                unit = unit_name(self.source)
                raise InputError(f"{place}: expected a text of one {unit} or more, found none")
            encoded.append(ids)
        return encoded

    def translate(
        self,
        texts: Sequence[str],
        beam: int = 5,
        length_exponent: float = 1.0,
        places: Sequence[str] | None = None,
        batch: int = 64,
        keep_weights: bool = False,
        **rules: Any,
    ) -> list[list[Translation]]:
        """The outputs for each text, best first.

        Of a longer text, the first ``longest`` tokens are read.  Texts of similar length are
        decoded together, ``batch`` of them at a time.  For the other options see
        :func:`minillm.decoding.beam.beam_search`.
        """
        whole = self.encode(texts, places)
        cut = whole.lengths > self.longest
        encoded = Sequences(whole[row][: self.longest] for row in range(len(texts)))
        outputs: list[list[Translation]] = [[] for _ in texts]
        if self.target.unknown is not None:
            rules["banned"] = [self.target.unknown]
        keep_weights = keep_weights or isinstance(self.target, OpenWords)  # for the spelling
        order = np.argsort(encoded.lengths, kind="stable")
        for rows in batches_in_order(order, encoded.lengths, rows=batch):
            source, lengths = encoded.padded(rows)
            results = beam_search(
                self.decoder,
                source,
                lengths,
                beam,
                self.limit,
                length_exponent,
                keep_weights,
                **rules,
            )
            for row, hypotheses in zip(rows, results, strict=True):
                outputs[row] = [
                    Translation(self.target.write(h.ids, texts[row], h.weights), h, bool(cut[row]))
                    for h in hypotheses
                ]
        return outputs
