"""Layers: the parts that models are made of.

A layer is one op or a few whose weights are entries of a model's parameters, under
a prefix: ``layer(params, "output", x)`` reads ``output.W`` and ``output.b``.  It returns
its output and its backward, which returns the gradient by x and a dictionary of the
weights' gradients, keyed as the parameters are.

A layer with a state takes it beside x and returns the new one beside its output; its
backward takes and returns the gradients by both.  A state is a dictionary of arrays,
row (batch) first, keyed like the parameters: ``layers.0.h``.  A layer reads its own
entries and ignores all others.

Nothing is differentiated in this folder: the gradients are those of ``ops``.
"""
