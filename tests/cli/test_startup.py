"""Start time: nothing is imported before it is used."""

import subprocess
import sys

# Each step, and the modules that it does not import.
STEPS = [
    ("import minillm", {"numpy", "argparse", "tqdm", "safetensors"}),
    ("from minillm.cli import main", {"argparse"}),
    ("main(['--help'])", {"numpy", "minillm.cli.fill", "tqdm"}),
    ("main(['info'])", {"minillm.runs", "minillm.models", "tqdm"}),
    ("main(['fill', '--help'])", {"minillm.cli.train", "matplotlib"}),
    (
        "main(['train', 'gpt', '--help'])",
        {"minillm.runs.kinds.masked", "minillm.runs.kinds.pairs", "matplotlib"},
    ),
]


def test_nothing_is_imported_before_it_is_used():
    """And nothing slow comes between the start of Python and the handling of signals."""
    code = f"""
import contextlib, sys
names = {{}}
for step, absent in {STEPS!r}:
    with contextlib.suppress(SystemExit):
        exec(step, names)
    assert not absent & sys.modules.keys(), (step, absent & sys.modules.keys())
    if "cli import" in step:
        ours = {{name for name in sys.modules if name.startswith("minillm")}}
        few = {{"", ".cli", ".cli.process", ".errors", ".mpi"}}
        assert ours == {{f"minillm{{name}}" for name in few}}, ours
"""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
