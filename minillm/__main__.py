"""``python -m minillm``: the command line."""

import sys

from minillm.cli import main

sys.exit(main())
