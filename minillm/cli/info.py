"""Show which kernels run."""

import platform

import numpy as np

import minillm


def info() -> int:
    """Show which kernels run, on how many threads, and why.

    examples:
      minillm info
      MINILLM_KERNELS=numpy minillm info     the same with the NumPy kernels
    """
    kernels = minillm.kernels_info()
    rows = {
        "minillm": minillm.__version__,
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "numpy": np.__version__,
        "kernels": f"{kernels['kernels']} ({kernels['why']})",
        "available": ", ".join(kernels["available"]),
        "threads": kernels["threads"],
    }
    rows |= {f"no {name}": why for name, why in kernels["missing"].items()}
    for name, value in rows.items():
        print(f"{name:12}{value}")
    return 0
