"""Start time: nothing heavy is imported before it is used."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "statement",
    ["import minillm", "import minillm.cli; minillm.cli.main(['train', 'lm', '--help'])"],
)
def test_nothing_heavy_is_imported_before_it_is_used(statement):
    code = f"""\
import sys
try:
    {statement}
except SystemExit:
    pass
heavy = {{"numpy", "matplotlib", "tqdm", "safetensors", "hypothesis"}} & sys.modules.keys()
sys.exit(f"imported: {{heavy}}" if heavy else 0)
"""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
