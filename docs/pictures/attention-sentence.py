"""The attention of a translator over a sentence."""

from kept_attention import draw

draw(__file__, left=98, top=72, cell=18.8, turned=True)
