"""The fixture ``gradcheck`` of pytest.

pytest imports this page when it starts (the entry point is in pyproject.toml), in every project
of the environment.  So NumPy and the checker are imported in the fixture only, and the page
does not stand in ``minillm.testing``, which imports them.
"""

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def gradcheck() -> Callable[..., float]:
    """Check the gradients of an op, or of anything that ``minillm.testing.as_op`` takes.

    gradcheck(op, x, W, b)             with these arguments
    gradcheck(op, "B T I, I O, O")     with random ones of these shapes, from 5 seeds

    ``seeds`` is another number of seeds, and ``tolerance`` another tolerance than 1e-6.  Further
    arguments go to ``minillm.testing.arrays``, such as ``T=3`` or ``kinks=0``; only ``dtype`` and
    ``kinks="between"`` go to ``check_gradients``.  Returns the worst relative error.
    """
    import numpy as np  # with the checker: 100 ms of each start of pytest

    from minillm.testing.legends import arrays, check_op

    def check(
        op: Any, *args: Any, seeds: int = 5, tolerance: float | None = None, **drawn: Any
    ) -> float:
        __tracebackhide__ = True
        options: dict[str, Any] = {} if tolerance is None else {"tolerance": tolerance}
        if isinstance(drawn.get("kinks"), str):
            options["kinks"] = drawn.pop("kinks")
        if "dtype" in drawn:
            options["dtype"] = drawn.pop("dtype")
        if args and isinstance(args[0], str):
            cases: list[Any] = [arrays(*args, seed=seed, **drawn) for seed in range(seeds)]
        elif drawn:
            raise TypeError(f"gradcheck: expected a legend with {', '.join(drawn)}, found arrays")
        else:
            cases = [args]
        worst = 0.0
        for seed, case in enumerate(cases):
            worst = max(worst, check_op(op, case, rng=np.random.default_rng(seed), **options))
        return worst

    return check
