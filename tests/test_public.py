"""The public names are those of tests/public.txt: a change of them is a decision on the version."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_the_public_names_are_those_of_the_list():
    """In a process of its own: other tests declare kinds of models."""
    command = [sys.executable, str(HERE / "public.py")]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    listed = (HERE / "public.txt").read_text().splitlines()
    gone, new = sorted(set(listed) - set(found)), sorted(set(found) - set(listed))
    assert listed == found, (
        f'public names that are gone: {gone}; new: {new}.  CONTRIBUTING.md, "Versions", says what '
        "this means for the version; then: python tests/public.py > tests/public.txt"
    )
