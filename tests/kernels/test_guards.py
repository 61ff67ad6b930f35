"""No kernel touches what lies beside its memory, at sizes at which it uses several threads,
several blocks and rows that are no whole vectors: the tests of the kernels run once more, with
guard bytes around all that the kernels take, and arguments that end where a page does, behind
which a read is a crash (conftest.py)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TESTS = ("twins", "bfloat16", "scaled_attention", "scans", "step", "quantised", "ngram")
LEFT_OUT = "not (signatures or every_original or parts_of_one_array or raise or numpy)"


@pytest.mark.deep
@pytest.mark.skipif(os.name != "posix", reason="no mprotect here")
def test_no_kernel_touches_what_lies_beside_its_memory():
    pytest.importorskip("minillm._kernels._cpu", reason="the compiled kernels are not built")
    files = [HERE / f"test_{name}.py" for name in TESTS]
    files.append(HERE.parent / "models/test_word2vec.py")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    guards = {"TEST_GUARDS": "1", "MINILLM_GUARD": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *files, "-k", LEFT_OUT],
        env=os.environ | guards | {"HYPOTHESIS_PROFILE": "few"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
