"""The page of ``minillm look`` about the gpt of docs/machinery/looks.py, on paper."""

from looked import draw

draw(__file__)
