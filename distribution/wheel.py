"""Install the wheel of this system, which is in dist/, in an environment of its own, and run it.

    python distribution/wheel.py

It runs where there is no `make`: on Windows and macOS, too.  `check.py` does more, on Linux alone.
"""

import os
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = ("tests/ten_steps.py", "tests/eight_threads.py")


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        venv.create(folder, with_pip=True)
        python = str(Path(folder, "Scripts" if os.name == "nt" else "bin", "python"))

        def run(*command: object) -> None:
            subprocess.run([python, *map(str, command)], cwd=folder, check=True)

        pip = ("-m", "pip", "install", "--quiet", "--only-binary", ":all:")
        run(*pip, *project["dependencies"])
        run(*pip, "--no-index", "--find-links", ROOT / "dist", project["name"])
        run("-m", "minillm", "info")
        run("-m", "minillm", "gradcheck", "linear", "lstm", "additive_attention", "--seeds", "1")
        small = ["--layers", "1", "--heads", "2", "--width", "32", "--context", "32"]
        run("-m", "minillm", "train", "gpt", "--steps", "10", *small, "--out", "run")
        run("-m", "minillm", "generate", "run", "--length", "20", "--seed", "1")
        for program in PROGRAMS:
            run(ROOT / program)


if __name__ == "__main__":
    sys.exit(main())
