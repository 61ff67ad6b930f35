"""Layers: the parts that models are made of.

A layer is one op or a few.  It reads its weights from a model's parameters, by a prefix:
``layer(params, "output", x)`` reads ``output.W`` and ``output.b``.  It returns its output and
its backward.  The backward returns the gradient with respect to x and a dictionary of the weights'
gradients, keyed as the parameters are.

A layer with a state takes it after x and returns the new one after its output.  Its backward
takes and returns the gradients of both.  A state is a dictionary of arrays, batch first,
keyed like the parameters: ``layers.0.h``.  A layer reads its own entries and ignores all
others.

No gradient is derived in this folder: all gradients come from ``ops``.
"""
