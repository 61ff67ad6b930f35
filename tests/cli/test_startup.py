"""Start time: nothing is imported before it is used."""

import subprocess
import sys

import pytest

CHECK = """
import sys
import {imports}
try:
    {statement}
except SystemExit:
    pass
forbidden = {{{forbidden}}} & sys.modules.keys()
sys.exit(f"imported: {{forbidden}}" if forbidden else 0)
"""


@pytest.mark.parametrize(
    ("imports", "statement", "forbidden"),
    [
        ("minillm", "pass", "'numpy', 'argparse', 'tqdm', 'safetensors'"),
        ("minillm.cli", "minillm.cli.main(['--help'])", "'numpy', 'minillm.cli.fill', 'tqdm'"),
        ("minillm.cli", "minillm.cli.main(['info'])", "'minillm.runs', 'minillm.models', 'tqdm'"),
        (
            "minillm.cli",
            "minillm.cli.main(['fill', '--help'])",
            "'minillm.cli.train', 'matplotlib'",
        ),
        (
            "minillm.cli",
            "minillm.cli.main(['train', 'gpt', '--help'])",
            "'minillm.runs.kinds.masked', 'minillm.runs.kinds.pairs', 'matplotlib'",
        ),
    ],
)
def test_nothing_is_imported_before_it_is_used(imports, statement, forbidden):
    code = CHECK.format(imports=imports, statement=statement, forbidden=forbidden)
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
