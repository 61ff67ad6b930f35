"""The page of ``minillm look`` about the ngram of docs/machinery/looks.py, on paper."""

from looked import draw

draw(__file__)
