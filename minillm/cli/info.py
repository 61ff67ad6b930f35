"""``minillm info``: what runs here, and why."""

import argparse
from typing import Any


def add_parser(verbs: Any) -> None:
    """Declares the verb."""
    parser = verbs.add_parser(
        "info",
        help="show which kernels run, on how many threads, and why",
        description="Show which kernels run, on how many threads, and why.",
        epilog="""\
MINILLM_KERNELS=numpy minillm info     the same with the NumPy kernels
""",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints versions and kernels, a line each."""
    import platform

    import numpy as np

    import minillm

    info = minillm.kernels_info()
    rows = {
        "minillm": minillm.__version__,
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "numpy": np.__version__,
        "kernels": f"{info['kernels']} ({info['why']})",
        "available": ", ".join(info["available"]),
        "threads": info["threads"],
        "openmp": "yes" if info["openmp"] else "no",
    }
    rows |= {f"no {name}": why for name, why in info["missing"].items()}
    for name, value in rows.items():
        print(f"{name:12}{value}")
    return 0
