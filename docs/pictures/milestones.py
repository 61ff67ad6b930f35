"""The milestones: the picture, and a table for each kept run of the study.

After a new run, copy its milestones.json to docs/outputs/milestones-TEXT-MINUTES.json, and start
this script.
"""

import importlib
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
OUTPUTS = HERE.parent / "outputs"
sys.path.insert(0, str(HERE.parents[1]))
study = importlib.import_module("benchmarks.studies.milestones")


def command(results):
    """The command of a run."""
    file = "" if results["text"] == "the built-in corpus" else f"{results['text']} "
    return f"$ python -m benchmarks.studies.milestones {file}--minutes {results['minutes']:g}"


folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
for kept in sorted(OUTPUTS.glob("milestones-*.json")):
    results = json.loads(kept.read_text())
    text = f"```console\n{command(results)}\n```\n\n{study.page(results)}"
    ((folder or OUTPUTS) / f"{kept.stem}.md").write_text(text)
    if kept.stem.startswith("milestones-builtin-"):
        picture = study.pictures.milestones(results["models"])
        ((folder or HERE) / "milestones.svg").write_bytes(picture)
