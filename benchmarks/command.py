"""The command line of a program of this folder."""

import argparse
import re


def parser(description: str) -> argparse.ArgumentParser:
    """Make a parser that shows a docstring as it is.  The program is the first that it names."""
    named = re.search(r"python -m [\w.]+( compare)?", description)
    return argparse.ArgumentParser(
        prog=named and named[0],
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
