"""Quantised weights: matrices of small integers with scales, and GGUF's blocks and files."""

from minillm.quantised.low_rank import QuantisedLora as QuantisedLora
from minillm.quantised.matrix import Quantised as Quantised
from minillm.quantised.matrix import quantise as quantise
from minillm.quantised.matrix import quantised_linear as quantised_linear
