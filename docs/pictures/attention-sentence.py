"""The attention of a translator over a sentence."""

from attention_map import draw

draw(__file__, height=5.2, turned=True)
