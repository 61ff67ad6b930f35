"""The attention of a pronunciation model over a word."""

from kept_attention import draw

draw(__file__, left=60, top=28, cell=15.9, turned=False)
