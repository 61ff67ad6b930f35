"""Show which kernels run, on how many threads, and why.

examples:
  minillm info
  MINILLM_KERNELS=numpy minillm info     the same with the NumPy kernels
"""

import argparse
import platform

import numpy as np

import minillm


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare no arguments."""


def run(args: argparse.Namespace) -> int:
    """Print versions and kernels, a line each."""
    info = minillm.kernels_info()
    rows = {
        "minillm": minillm.__version__,
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "numpy": np.__version__,
        "kernels": f"{info['kernels']} ({info['why']})",
        "available": ", ".join(info["available"]),
        "threads": info["threads"],
    }
    rows |= {f"no {name}": why for name, why in info["missing"].items()}
    for name, value in rows.items():
        print(f"{name:12}{value}")
    return 0
