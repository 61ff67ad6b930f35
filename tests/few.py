"""Of many cases that take a process each, the first are for ``make test`` and the rest deep."""

import pytest


def few(cases, kept=3):
    """The cases, all but the first ``kept`` of them marked as deep."""
    values = [case if isinstance(case, tuple) else (case,) for case in cases]
    return list(cases[:kept]) + [pytest.param(*v, marks=pytest.mark.deep) for v in values[kept:]]
