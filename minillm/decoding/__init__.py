"""Decoding: from a model's logits to tokens, and to texts."""

from minillm.decoding.beam import Hypothesis, beam_search, sample_outputs
from minillm.decoding.chat import Chat, ChatSampling
from minillm.decoding.sampling import Sampling, next_probabilities, sample
from minillm.decoding.translator import Translation, Translator
from minillm.decoding.writer import Writer

__all__ = [
    "Chat",
    "ChatSampling",
    "Hypothesis",
    "Sampling",
    "Translation",
    "Translator",
    "Writer",
    "beam_search",
    "next_probabilities",
    "sample",
    "sample_outputs",
]
