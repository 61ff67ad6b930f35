"""Runs: a model with its data, its settings, its figures, and the folder that holds them.

See :mod:`minillm.runs.kind` for how a kind of model is declared, and :mod:`minillm.runs.run` for
a run that is opened.
"""
