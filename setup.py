"""Build the Cython twins of the kernels: each topic once for each instruction set.

`minillm/_kernels/<topic>.pyx` becomes `minillm._kernels._<topic>_<instruction set>`,
and Python picks the best that the CPU has when the program runs: so a wheel
built on one machine runs on every machine of its architecture.  `_cpu` and
`_pool`, which all of them share, are built once.

The twins are optional.  Where they cannot be compiled the install still
succeeds, and `build.json` beside the kernels says why, for `minillm info`.
"""

import json
import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

PACKAGE = Path("minillm/_kernels")
TOPICS = sorted(path.stem for path in PACKAGE.glob("[a-z]*.pyx"))
X86 = platform.machine().lower() in ("x86_64", "amd64")

# MINILLM_BOUNDS (`make sanitize`) checks every index into an array.  Such kernels should be
# quick to compile, not quick.
BOUNDS = bool(os.environ.get("MINILLM_BOUNDS"))

# No -march=native: that would be this machine.  No -ffast-math: it lets the
# compiler assume that no NaN exists.  What we do take of it changes no result:
# no errno from sqrt, and no floating-point traps, which lets a choice between
# two values become a blend.
GCC = ["-O1" if BOUNDS else "-O3", "-g0", "-Wno-unused-function"]
GCC += ["-fno-math-errno", "-fno-trapping-math"]
GCC_SETS = {
    "baseline": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": [
        *("-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mavx2", "-mfma"),
        "-mprefer-vector-width=512",
    ],
}
MSVC = ["/O2", "/fp:precise"]


class Twin(Extension):
    """One topic for one instruction set; its source is a copy, named as the module."""

    def __init__(self, module: str, source: Path, instruction_set: str) -> None:
        copy = f"build/kernels/{module}.pyx"
        super().__init__(
            f"minillm._kernels.{module}", [copy], include_dirs=[str(PACKAGE)], optional=True
        )
        self.source, self.instruction_set = source, instruction_set


def twins() -> list[Extension]:
    # MSVC cannot ask the CPU what it has, and so builds the baseline alone.
    names = [name for name in GCC_SETS if name == "baseline" or (X86 and os.name != "nt")]
    return [Twin(shared, PACKAGE / f"{shared}.pyx", "baseline") for shared in ("_cpu", "_pool")] + [
        Twin(f"_{topic}_{name}", PACKAGE / f"{topic}.pyx", name)
        for topic in TOPICS
        for name in names
    ]


class BuildKernels(build_ext):
    """Cythonise and compile on all cores; note why where it fails."""

    def run(self) -> None:
        self.failures: dict[str, str] = {}
        super().run()
        folder = PACKAGE if self.inplace else Path(self.build_lib) / PACKAGE
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "build.json").write_text(json.dumps(self.failures, indent=1) + "\n")

    def build_extensions(self) -> None:
        self.openmp = self.openmp_flags()
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(self.build_one, self.extensions))

    def build_one(self, extension: Twin) -> None:
        source, name = extension.source, extension.instruction_set
        target = Path(self.get_ext_fullpath(extension.name))
        newest = max(path.stat().st_mtime for path in {Path(__file__), *sources_of(source)})
        if not self.force and target.exists() and target.stat().st_mtime > newest:
            return
        try:
            extension.sources = [cythonise(source, Path(extension.sources[0]))]
            if self.compiler.compiler_type == "msvc":
                extension.extra_compile_args = [*MSVC, *self.openmp]
            else:
                extension.extra_compile_args = [*GCC, *GCC_SETS[name], *self.openmp]
                extension.extra_link_args = self.openmp
            self.build_extension(extension)
        except Exception as error:  # whatever went wrong, NumPy still runs
            self.failures[name] = f"its build failed ({str(error).strip().splitlines()[-1]})"
            self.warn(f"{extension.name} was not built: {error}")
            target.unlink(missing_ok=True)

    def openmp_flags(self) -> list[str]:
        """What turns OpenMP on, if a program that uses it compiles and links.

        LDFLAGS too: setuptools passes it to libraries alone, and what CFLAGS has compiled for
        a sanitizer does not link without it.
        """
        flags = ["/openmp"] if self.compiler.compiler_type == "msvc" else ["-fopenmp"]
        with tempfile.TemporaryDirectory() as folder:
            probe = Path(folder, "probe.c")
            probe.write_text(
                "#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n"
            )
            try:
                objects = self.compiler.compile(
                    [str(probe)], output_dir=folder, extra_postargs=flags
                )
                link_flags = [*flags, *shlex.split(os.environ.get("LDFLAGS", ""))]
                self.compiler.link_executable(
                    objects, "probe", output_dir=folder, extra_postargs=link_flags
                )
            except Exception:  # no OpenMP, or no compiler at all: the build will say which
                return []
        return flags


def sources_of(path: Path) -> set[Path]:
    """A file and what it includes or cimports, and what that includes."""
    found, text = {path}, path.read_text()
    names = re.findall(r'"(\w+\.(?:pxi|h))"', text)
    names += [f"{name}.pxd" for name in re.findall(r"from minillm\._kernels\.(\w+) cimport", text)]
    for name in names:
        if (PACKAGE / name).exists():
            found |= sources_of(PACKAGE / name)
    return found


def cythonise(source: Path, copy: Path) -> str:
    """Translate a copy of `source`, named as its module; return the C file."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    text = source.read_text()
    if BOUNDS:
        text = text.replace("boundscheck=False", "boundscheck=True")
    copy.write_text(text)
    # A process of its own, so that several run at the same time.
    # -I . is for cimports, -I PACKAGE for what is included.
    command = ["-m", "cython", "-3", "-I", ".", "-I", str(PACKAGE), "--module-name"]
    command += [f"minillm._kernels.{copy.stem}", str(copy), "-o", str(copy.with_suffix(".c"))]
    subprocess.run([sys.executable, *command], check=True)
    return str(copy.with_suffix(".c"))


setup(ext_modules=twins(), cmdclass={"build_ext": BuildKernels})
