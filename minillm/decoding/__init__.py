"""Decoding: reading on with a model, from its logits to tokens, and to texts."""

from minillm.decoding.batch import write
from minillm.decoding.beam import Hypothesis, beam_search
from minillm.decoding.causal import CausalReader
from minillm.decoding.chat import Chat, ChatSampling
from minillm.decoding.continuation import Continuation
from minillm.decoding.decoder import TargetDecoder
from minillm.decoding.hypotheses import TransformerDecoder
from minillm.decoding.mamba_reader import MambaReader
from minillm.decoding.pointer import PointerDecoder
from minillm.decoding.reader import Reader
from minillm.decoding.recurrent import (
    GatedConvolutionReader,
    NeuralNGramReader,
    RecurrentReader,
)
from minillm.decoding.sampling import Sampling, next_probabilities, sample
from minillm.decoding.translator import Translation, Translator

__all__ = [
    "CausalReader",
    "Chat",
    "ChatSampling",
    "Continuation",
    "GatedConvolutionReader",
    "Hypothesis",
    "MambaReader",
    "NeuralNGramReader",
    "PointerDecoder",
    "Reader",
    "RecurrentReader",
    "Sampling",
    "TargetDecoder",
    "TransformerDecoder",
    "Translation",
    "Translator",
    "beam_search",
    "next_probabilities",
    "sample",
    "write",
]
