"""Damaged files for every reader: nothing but InputError may come of them.

    python -m tests.fuzz --inputs 1000000 --seed 0
    python -m tests.fuzz --inputs 20000 --readers arpa word2vec-text

``samples`` makes small valid files, ``damage`` changes them at random, ``readers`` reads them as
the commands do, ``driver`` counts what comes of it.  Input number i of a reader follows from the
seed and i alone.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # of the modules that tests share
