"""The public names are those of tests/public.txt: a change of them is a decision on the version."""

from pathlib import Path

import public

LIST = Path(__file__).with_name("public.txt")


def test_the_public_names_are_those_of_the_list():
    listed, found = LIST.read_text().splitlines(), list(public.lines())
    gone, new = sorted(set(listed) - set(found)), sorted(set(found) - set(listed))
    assert listed == found, (
        f'public names that are gone: {gone}; new: {new}.  CONTRIBUTING.md, "Versions", says what '
        "this means for the version; then: python tests/public.py > tests/public.txt"
    )
