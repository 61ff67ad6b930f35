"""The attention of a pronunciation model over a word."""

from attention_map import draw

draw(__file__, height=3.9, turned=False)
