"""A look inside a model as it reads one text: its measurements, and a page that shows them."""

from minillm.look.inside import Activity, AttentionWeights, Copying, Inside
from minillm.look.page import Page

__all__ = ["Activity", "AttentionWeights", "Copying", "Inside", "Page"]
