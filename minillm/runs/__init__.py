"""Runs: a model with its data, its settings, its figures, and the folder that holds them.

:mod:`minillm.runs.kind` is about declaring a kind of model, :mod:`minillm.runs.run` about using a
run.
"""
