"""A look inside a model as it reads one text: its measurements, and a page that shows them."""

from minillm.look.page import Page
from minillm.look.trace import AttentionWeights, Trace

__all__ = ["AttentionWeights", "Page", "Trace"]
