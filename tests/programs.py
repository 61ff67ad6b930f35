"""Python programs in a process of their own."""

import os
import subprocess
import sys


def run(program, *, cwd=None, **environment):
    """Run a program with these variables in its environment, and return what came of it."""
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
