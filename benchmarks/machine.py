"""The machine that a benchmark ran on, and the versions of what ran."""

import os
import platform
import re
import subprocess
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from minillm import _kernels, kernels_info

VERSION = 1  # of the files of results


def processor() -> str:
    """The name of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """The fingerprint of the machine, the versions of what runs, and the load."""
    info = kernels_info()
    return {
        "version": VERSION,
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "processor": processor(),
        "cores": os.cpu_count(),
        "caches": caches(),
        "instruction sets": [name for name in info["available"] if name != "numpy"],
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": blas(),
        "torch": _version("torch"),
        "jax": _version("jax"),
        "numba": _version("numba"),
        "kernels": info["kernels"],
        "held to AVX2": not HELD_TO_AVX2.items() - os.environ.items(),
        "compiler": compiler(),
        "commit": git("rev-parse", "HEAD"),
        "dirty": bool(git("status", "--porcelain", "--untracked-files=no")),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


# With these in the environment, NumPy's OpenBLAS and PyTorch use no more than AVX2.
HELD_TO_AVX2 = {
    "OPENBLAS_CORETYPE": "Haswell",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
}


def caches() -> dict[str, str]:
    """The caches of a core by name, where Linux lists them."""
    found = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        names = ("level", "type", "size")
        level, kind, size = ((index / name).read_text().strip() for name in names)
        found[f"L{level} {kind.lower()}"] = size
    return found


def blas() -> str:
    """The library that multiplies NumPy's matrices."""
    built: Any = np.show_config(mode="dicts")
    library = built["Build Dependencies"]["blas"]
    return f"{library.get('name')} {library.get('version')}"


def compiler() -> str | None:
    """The compiler of the kernels: it leaves its name in the modules."""
    for path in Path(_kernels.__file__).parent.glob("_matmul_*"):
        if found := re.search(rb"(GCC: |clang version )[ -~]+", path.read_bytes()):
            return found[0].decode()
    return None


def git(*arguments: str) -> str | None:
    """The output of git in the repository that the program runs in, if there is one."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def described(machine: dict[str, Any]) -> str:
    """The machine in three lines."""
    caches = ", ".join(f"{name} {size}" for name, size in machine["caches"].items())
    torch = f"PyTorch {machine['torch']}" if machine["torch"] else "no PyTorch"
    for name, package in (("JAX", "jax"), ("Numba", "numba")):  # older files lack them
        if version := machine.get(package):
            torch += f", {name} {version}"
    held = ", both held to AVX2" if machine.get("held to AVX2") else ""
    commit = (machine["commit"] or "unknown")[:10] + ", changed" * machine["dirty"]
    load = "unknown" if machine["load"] is None else f"{machine['load']:.1f}"
    return (
        f"{machine['processor']}, {machine['cores']} cores; {caches}\n"
        f"{machine['kernels']} kernels ({machine['compiler']}), Python {machine['python']}, "
        f"NumPy {machine['numpy']} ({machine['blas']}), {torch}{held}\n"
        f"commit {commit}; load {load}; {machine['date']}"
    )
