"""The time before anything happens: `python -m benchmarks.startup`.

Targets: `import minillm` in less than 0.05 s, `minillm --help` in less than 0.15 s, each beyond
the interpreter itself, and `import minillm.testing` in less than 0.15 s beyond `import numpy`.
Medians of several processes, one after the other.
"""

import subprocess
import sys
import time
from statistics import median

ROUNDS = 15
COMMANDS = {
    "python": "pass",
    "import numpy": "import numpy",
    "import minillm": "import minillm",
    "import minillm.testing": "import minillm.testing",
    "minillm --help": "import minillm.cli; minillm.cli.main(['--help'])",
    "minillm train lm --help": "import minillm.cli; minillm.cli.main(['train', 'lm', '--help'])",
}


def main() -> None:
    """Print a line for each command."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, code in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - start)
    bare = median(seconds["python"])
    for name, times in seconds.items():
        print(f"{name:26} {median(times):.3f} s, {median(times) - bare:.3f} s beyond python's own")


if __name__ == "__main__":
    main()
