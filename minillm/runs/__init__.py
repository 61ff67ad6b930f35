"""Runs: a model with its data, its settings, its measures, and the folder that holds them.

Nothing is imported here, so that ``minillm --help`` needs no NumPy: see :mod:`minillm.runs.kind`
for how a kind of model is declared, and :mod:`minillm.runs.run` for a run that is opened.
"""
