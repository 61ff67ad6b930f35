"""A look inside a model as it reads one text: its measurements, and a page that shows them."""

from minillm.look.page import Page
from minillm.look.trace import Activity, AttentionWeights, Trace

__all__ = ["Activity", "AttentionWeights", "Page", "Trace"]
