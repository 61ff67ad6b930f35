"""What the checker imports: other people's ops need nothing of ours but the notation."""

import json
import subprocess
import sys

LOADED = """
import json, sys
before = set(sys.modules)
import minillm.testing
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_the_checker_loads_numpy_and_itself():
    result = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    loaded = json.loads(result.stdout)
    ours = {name for name in loaded if name.partition(".")[0] == "minillm"}
    allowed = ("minillm.testing", "minillm.errors", "minillm.checks")
    assert [name for name in ours if name != "minillm" and not name.startswith(allowed)] == []
    tops = {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names
    tops = {name for name in tops if not name.startswith("_")}
    assert tops - {"cython_runtime"} == {"minillm", "numpy"}  # Cython's own, by NumPy
