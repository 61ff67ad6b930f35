"""Timing of functions that do the same work: ``race`` takes a kernel of your own and its original.

    from minillm.timing import listing, race

    results = race({"NumPy": original, "mine": kernel}, sizes=(64, 256), arguments=make_arguments)
    print(listing(results))

asv and pyperf time one function after the other, each in processes of its own.  Here the question
is a ratio: the contestants take turns in one process, so that a machine that slows down for a while
slows down all of them.
"""

from minillm.timing.contest import race
from minillm.timing.results import listing

__all__ = ["listing", "race"]
