"""One pool of memory for all compiled kernels: limited, and what is freed goes back."""

import os
import platform
import sys

import programs
import pytest

from minillm.errors import InputError

pytest.importorskip("minillm._kernels._cpu", reason="the compiled kernels are not built")

# Every program begins with a product of `size` bytes, through the op as users call it.
START = """
import gc
import numpy as np
from minillm import ops

def product(size):
    columns = 4096
    x = np.ones((size // 4 // columns, 1), np.float32)
    return ops.linear(x, np.ones((1, columns), np.float32), np.zeros(columns, np.float32))[0]

def kept():
    from minillm._kernels import _pool
    return _pool.kept_bytes()

def resident():
    gc.collect()
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096

M = 1 << 20
"""


@pytest.fixture
def limit_of():
    from minillm._kernels import _pool

    return _pool.limit_of


def run(program, **environment):
    usual = {"MINILLM_KERNELS": "cython", "MINILLM_POOL_BYTES": "256M", "MINILLM_GUARD": "0"}
    return programs.run(program, **usual | environment)


def printed(program, **environment):
    done = run(START + program, **environment)
    assert done.returncode == 0, done.stderr
    return [int(number) for number in done.stdout.split()]


@pytest.mark.deep
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux's /proc")
@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="it keeps what is freed")
@pytest.mark.parametrize("limit", [0, 30])
def test_freed_memory_goes_back_to_the_system(limit):
    program = """
product(M)
before = resident()
for size in (20, 50, 100):
    y = product(size * M)
    assert resident() - before > size * M // 2
    del y
print(resident() - before)
"""
    (grown,) = printed(program, MINILLM_POOL_BYTES=f"{limit}M")
    assert grown <= (limit + 8) << 20


@pytest.mark.deep
@pytest.mark.skipif("glibc" not in platform.libc_ver(), reason="only glibc's malloc is set")
@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="it has its own malloc")
@pytest.mark.parametrize(("limit", "least", "most"), [(256, 95, 101), (20, -1, 22), (0, -1, 5)])
def test_malloc_keeps_as_much_for_numpy(limit, least, most):
    """Of 100 MB that NumPy frees.  Left alone, glibc keeps less than 1 MB.

    The system's count of pages is a little late, so that nothing kept may look like less.
    """
    program = """
kept()
before = resident()
# Few arrays: for a thousand, Python may take memory of its own that stays in between.
arrays = [np.ones(2 * M, np.uint8) for _ in range(50)]
del arrays
print((resident() - before) // M)
"""
    (grown,) = printed(program, MINILLM_POOL_BYTES=f"{limit}M")
    assert least <= grown <= most


def test_a_block_is_used_again_and_kernels_share_them():
    """The memory of a product becomes that of a gelu."""
    assert printed("""
y = product(4 * M)
address = y.ctypes.data
del y
print(kept() // M)
y = product(4 * M)
print(int(y.ctypes.data == address))
del y
z, backward = ops.gelu(np.ones(M, np.float32))
print(kept() // M)
del z, backward
gc.collect()
from minillm._kernels import _pool
_pool.clear()
print(kept())
""") == [4, 1, 0, 0]


@pytest.mark.deep
def test_the_longest_idle_is_freed_first():
    kept = printed(
        """
blocks = [product(size * M) for size in (2, 5, 1, 3)]
for _ in range(4):
    del blocks[0]
    print(kept() // M)
blocks = product(5 * M)  # is gone
print(kept() // M)
del blocks
print(kept() // M)
""",
        MINILLM_POOL_BYTES="7400k",
    )
    assert kept == [2, 7, 6, 4, 4, 5]


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("0", 0),
        ("1000", 1000),
        ("3k", 3 << 10),
        ("64M", 64 << 20),
        ("9" * 30 + "G", sys.maxsize),
        ("9" * 5000, sys.maxsize),
        ("0" * 5000, 0),
        ("0" * 5000 + "7K", 7 << 10),
    ],
)
def test_the_limit_is_a_number_of_bytes(limit_of, text, limit):
    assert limit_of(text) == limit


@pytest.mark.parametrize(
    "text", ["", "M", "-1", "1.5G", "1 G", "12KM", "lots", "\N{SUPERSCRIPT TWO}"]
)
def test_nonsense_is_refused(limit_of, text):
    with pytest.raises(InputError, match="MINILLM_POOL_BYTES: expected a number of bytes"):
        limit_of(text)


WRITE = "from minillm._kernels import _pool; _pool.write_at({}, {})"
BEHIND, IN_FRONT = "wrote past the end of a piece", "wrote in front of a piece"


@pytest.mark.parametrize(
    ("place", "size", "message"),
    [(1, 1, BEHIND), (199_999, 100_000, BEHIND), (-1, 1, IN_FRONT), (-100_000, 100_000, IN_FRONT)],
)
def test_a_guard_notices_a_write_beside_a_piece(place, size, message):
    """Even a whole piece away, where a wrong sign before an offset leads."""
    guarded = run(WRITE.format(place, size), MINILLM_GUARD="1")
    assert guarded.returncode != 0
    assert message in guarded.stderr or "AddressSanitizer" in guarded.stderr


@pytest.mark.deep
def test_a_guard_surrounds_small_outputs_as_well_and_finds_no_fault_within():
    program = """
import numpy as np
from minillm._kernels import _pool
from minillm.ops.activations import gelu_forward

_pool.write_at(0, 1)
_pool.write_at(99_999, 100_000)
print(type(gelu_forward(np.ones(3)).base).__name__)
"""
    for guard, base in (("0", "NoneType"), ("1", "Workspace")):
        done = run(program, MINILLM_GUARD=guard)
        assert (done.stdout.strip(), done.stderr) == (base, "")


@pytest.mark.deep
def test_a_training_keeps_the_blocks_of_a_step_beyond_the_usual_limit():
    """And returns what exceeds the limit at its end."""
    program = """
from minillm._kernels import keep_memory

blocks = [product(100 * M) for _ in range(6)]
with keep_memory():
    with keep_memory():  # of another training
        del blocks
    print(kept() // M)
print(kept() // M)
"""
    assert printed(program, MINILLM_POOL_BYTES="") == [600, 500]


@pytest.mark.parametrize(("limit", "expected"), [("", [10, 0]), ("4M", [2, 2])])
def test_kept_blocks_are_at_most_an_eighth_more_than_were_in_use(limit, expected):
    """A limit that is set remains the one of a training; no block beyond it is kept."""
    program = """
from minillm._kernels import keep_memory

with keep_memory():
    blocks = [product(size * M) for size in (2, 5, 3)]
    del blocks
    print(kept() // M)
    y = product(12 * M)  # fits no idle block
    print(kept() // M)
"""
    assert printed(program, MINILLM_POOL_BYTES=limit) == expected
