"""Readers: a reader continues a text from a state, with a language model.

    reader = Reader(model)
    state = reader.zero_state(B)
    logits, state = reader.read(ids, state)     ids (B, T) -> (B, V), after the last id of each row

A text may be cut anywhere: reading continues from the state, and a single pass gives the same
logits.  The state given is not changed, and several threads may go on from it.
"""

from functools import singledispatch
from typing import Any

from minillm.decoding.causal import CausalReader
from minillm.decoding.mamba_reader import MambaReader
from minillm.decoding.recurrent import NeuralNGramReader, RecurrentReader
from minillm.models.base import CausalModel
from minillm.models.language_model import LanguageModel
from minillm.models.mamba import Mamba
from minillm.models.neural_ngram import NeuralNGram


@singledispatch
def Reader(model: Any) -> Any:
    """The reader of a model; a model that reads by itself, such as an n-gram model, is its own."""
    if not hasattr(model, "read"):
        raise TypeError(f"Reader: expected a language model, found {type(model).__name__}")
    return model


Reader.register(CausalModel, CausalReader)
Reader.register(Mamba, MambaReader)
Reader.register(LanguageModel, RecurrentReader)
Reader.register(NeuralNGram, NeuralNGramReader)
