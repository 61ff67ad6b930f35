"""Readers: a reader continues a text from a state, with a language model.

    reader = Reader(model)
    state = reader.zero_state(B)
    logits, state = reader.read(ids, state)     ids (B, T) -> (B, V), after the last id of each row

A text may be cut anywhere: reading continues from the state, and a single pass gives the same
logits.  The state given is not changed, and several threads may go on from it.
"""

from typing import Any

from minillm.decoding.causal import CausalReader
from minillm.decoding.holder import Holder, holder
from minillm.decoding.mamba_reader import MambaReader
from minillm.decoding.recurrent import NeuralNGramReader, RecurrentReader
from minillm.models.base import CausalModel
from minillm.models.language_model import LanguageModel
from minillm.models.mamba import Mamba
from minillm.models.neural_ngram import NeuralNGram

READERS: dict[type, type[Holder]] = {
    CausalModel: CausalReader,
    Mamba: MambaReader,
    LanguageModel: RecurrentReader,
    NeuralNGram: NeuralNGramReader,
}


def Reader(model: Any) -> Any:
    """The reader of a model; a model that reads by itself, such as an n-gram model, is its own."""
    found = holder(READERS, model, "zero_state", "read")
    if found is None:
        raise TypeError(f"Reader: expected a language model, found {type(model).__name__}")
    return found
