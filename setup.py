"""Build the Cython twins of the kernels: each topic once for each instruction set.

Cython translates `minillm/_kernels/<topic>.pyx` to C once.  The C is compiled for each
instruction set, as `minillm._kernels._<topic>_<instruction set>`, and Python picks the best
that the CPU has when the program runs: so a wheel built on one machine runs on every machine of
its architecture.  What all topics share is built once (SHARED).  The kernels use Python's limited
API alone, so that one build serves every Python from `OLDEST` on.

A wheel has all instruction sets.  A build in place, for development, has the ones that this CPU
can run: compiling takes most of an install.  MINILLM_SETS=all builds all in place too, and
MINILLM_SETS=best the best of this CPU alone.  For .ci/run, MINILLM_SETS=check builds all, but with
little optimisation those that cannot run, because they need only compile.

The twins are optional.  Where they cannot be compiled the install still
succeeds, and `build.json` next to the kernels says why, for `minillm info`.
"""

import json
import os
import platform
import re
import sys
import sysconfig
import threading
import tomllib
from importlib import metadata
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

PACKAGE = Path("minillm/_kernels")
# The largest first, so that no core is idle while another compiles it.
SOURCES = sorted(PACKAGE.glob("[a-z]*.pyx"), key=lambda path: -path.stat().st_size)
TOPICS = [path.stem for path in SOURCES]

# distribution/build.py compiles for other platforms with zig, and gives zig's name of one.
TARGET = os.environ.get("MINILLM_TARGET", "")
X86 = (TARGET or platform.machine().lower()).startswith(("x86_64", "amd64"))
WINDOWS = "-windows-" in TARGET if TARGET else os.name == "nt"

# Every later Python has the limited API of the oldest.  A free-threaded Python has none: a build
# for it serves its version alone.
REQUIRED = tomllib.loads(Path("pyproject.toml").read_text())["project"]["requires-python"]
OLDEST = int(REQUIRED.removeprefix(">=3."))
ABI3 = not sysconfig.get_config_var("Py_GIL_DISABLED")
MACROS = [("Py_LIMITED_API", f"0x03{OLDEST:02X}0000")] if ABI3 else []

try:
    CYTHON = metadata.version("cython")
except metadata.PackageNotFoundError:  # every translation will fail, and say so
    CYTHON = "missing"
# What typed memoryviews need, which Cython would otherwise add to each topic: 25,000 lines of C.
# The modules that one version of Cython translates cannot use what another one made.
MEMORYVIEWS = "_memoryviews_" + re.sub(r"\W", "_", CYTHON)
SHARED = (MEMORYVIEWS, "_cpu", "_pool", "_threads")

# MINILLM_BOUNDS (`make sanitize`) checks every index into an array.  Such kernels are compiled
# with little optimisation, because they run only once.
BOUNDS = bool(os.environ.get("MINILLM_BOUNDS"))

# No -march=native: it compiles for the building machine alone.  No -ffast-math: it
# lets the compiler assume that no NaN exists.  The two parts of it that are used here
# change no result: sqrt sets no errno, and floating-point operations raise no traps,
# so that a choice between two values can become a blend.
GCC = ["-O1" if BOUNDS else "-O3", "-g0", "-Wno-unused-function"]
GCC += ["-fno-math-errno", "-fno-trapping-math"]
# Python is compiled with -fwrapv, and gives its flags to extensions.  No kernel lets a signed
# number overflow (`make undefined` looks), and without the flag GCC computes addresses in loops
# in fewer steps.
GCC += ["-fno-wrapv"]
GCC_SETS = {
    "baseline": [],
    "avx2": ["-mavx2", "-mfma", "-mf16c"],
    "avx512": [
        *("-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mavx2", "-mfma"),
        "-mprefer-vector-width=512",
    ],
}
SETS = list(GCC_SETS) if X86 else ["baseline"]


def twin(translated: str, instruction_set: str = "") -> Extension:
    """A C module, compiled for one instruction set under a name of its own."""
    name = f"{translated}_{instruction_set}" if instruction_set else translated
    made = Extension(
        f"minillm._kernels.{name}",
        [f"build/kernels/{name}.c"],
        include_dirs=[str(PACKAGE)],
        define_macros=MACROS,
        extra_compile_args=[*GCC, *GCC_SETS[instruction_set or "baseline"], "-pthread"],
        extra_link_args=["-pthread"],
        py_limited_api=ABI3,
        optional=True,
    )
    made.translated, made.instruction_set = translated, instruction_set
    return made


def runnable(cpu: str) -> list[str]:
    """The instruction sets that a CPU has, by /proc/cpuinfo; all of them where there is none."""
    needed = {name: {flag[2:] for flag in GCC_SETS[name] if "=" not in flag} for name in SETS}
    return [name for name in SETS if not cpu or needed[name] <= set(cpu.split())]


def chosen_sets(choice: str, in_place: bool, cpu: str) -> list[str]:
    """The instruction sets to build, by MINILLM_SETS and /proc/cpuinfo ("" where there is none)."""
    if choice not in ("", "all", "best", "check"):
        sys.exit(f"MINILLM_SETS: expected all, best or check, found {choice}")
    if choice in ("all", "check") or not (choice or in_place):
        return SETS
    return runnable(cpu)[-1:] if choice == "best" else runnable(cpu)


class BuildKernels(build_ext):
    """Translate and compile what is out of date, on all cores; note why where it fails."""

    def run(self) -> None:
        cpu = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
        self.choice = os.environ.get("MINILLM_SETS", "")
        self.sets, self.runnable = chosen_sets(self.choice, self.inplace, cpu), runnable(cpu)
        self.failures, self.translated, self.translating = {}, set(), threading.Lock()
        self.built = 0
        in_place, build_lib, self.parallel = self.inplace, self.build_lib, os.cpu_count()
        if in_place:  # and not in a folder from which setuptools would copy what is there
            self.inplace, self.build_lib = False, "."
            for path in PACKAGE.glob("*" + sysconfig.get_config_var("EXT_SUFFIX")) if ABI3 else ():
                path.unlink()  # Python would prefer it, because it is for its version alone
        super().run()
        show("compiled\n" if self.built else "")
        folder = Path(self.build_lib) / PACKAGE
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "build.json").write_text(json.dumps(self.failures, indent=1) + "\n")
        self.inplace, self.build_lib = in_place, build_lib

    def get_ext_filename(self, fullname: str) -> str:
        filename = super().get_ext_filename(fullname)
        return filename.replace(".abi3.so", ".pyd") if WINDOWS else filename

    def build_extension(self, ext: Extension) -> None:
        target, name = Path(self.get_ext_fullpath(ext.name)), ext.name.rpartition(".")[2]
        sources = [Path(__file__), source_of(ext.translated)]
        sources += [path for path in PACKAGE.iterdir() if path.suffix in (".h", ".pxd", ".pxi")]
        newest = max(path.stat().st_mtime for path in sources if path.exists())
        if target.exists() and target.stat().st_mtime > newest and not self.force:
            return
        target.unlink(missing_ok=True)  # or old code might be loaded
        if ext.instruction_set not in ("", *self.sets):
            return
        if self.choice == "check" and ext.instruction_set not in ("", *self.runnable):
            ext.extra_compile_args.append("-O1")
        try:
            with self.translating:  # while other cores compile
                if ext.translated not in self.translated:
                    translate(ext.translated)
                    self.translated.add(ext.translated)
            if name != ext.translated:  # the function by which Python finds a module
                renamed = f"#define PyInit_{ext.translated} PyInit_{name}\n"
                Path(ext.sources[0]).write_text(f'{renamed}#include "{ext.translated}.c"\n')
            if self.compiler.compiler_type == "msvc":
                raise RuntimeError("expected GCC or clang, found MSVC")
            super().build_extension(ext)
            self.built += 1
            show(f"compiled {self.built} of {len(SHARED) + len(TOPICS) * len(self.sets)} kernels")
        except Exception as error:  # whatever went wrong, NumPy still runs
            reason = str(error).strip().splitlines()[-1]
            self.failures[ext.instruction_set or "baseline"] = f"its build failed ({reason})"
            self.warn(f"{ext.name} was not built: {error}")


def show(progress: str) -> None:
    """Show it on the terminal, if there is one: pip keeps the output of a build to itself."""
    try:
        with open("/dev/tty", "w") as terminal:
            terminal.write(f"\r{progress}")
    except OSError:
        pass


def source_of(translated: str) -> Path:
    """The .pyx of a C module: attention.pyx of _attention, but _cpu.pyx of _cpu."""
    return PACKAGE / f"{translated if translated in SHARED else translated[1:]}.pyx"


def cython(translated: str) -> list[str]:
    """The command that writes build/kernels/<translated>.c, to be run where this file is."""
    target, module = f"build/kernels/{translated}.c", f"minillm._kernels.{translated}"
    command = [sys.executable, "-m", "cython", "-3", "--module-name", module]
    command += ["-X", "freethreading_compatible=True"]  # or an import would bring the GIL back
    if translated == MEMORYVIEWS:
        return [*command, "--generate-shared", target]
    source = source_of(translated)
    if BOUNDS:  # a copy of it
        checked = source.read_text().replace("boundscheck=False", "boundscheck=True")
        source = Path(f"build/kernels/{translated}.pyx")
        source.write_text(checked)
    # -I . is for cimports, -I PACKAGE for what is included.
    command += ["--shared", f"minillm._kernels.{MEMORYVIEWS}", "-I", ".", "-I", str(PACKAGE)]
    return [*command, str(source), "-o", target]


def translate(translated: str) -> None:
    """Write the C.  Cython stays loaded: a process for each topic would take twice the time."""
    Path("build/kernels").mkdir(parents=True, exist_ok=True)
    if TARGET and Path(f"build/kernels/{translated}.c").exists():
        return  # of another platform's build, as distribution/build.py starts in an empty folder
    from Cython.Compiler.Main import setuptools_main  # here, where its lack is noted as a failure

    ours, sys.argv = sys.argv, cython(translated)[2:]
    try:
        setuptools_main()
    except SystemExit:
        raise RuntimeError(f"Cython cannot translate {translated}") from None
    finally:
        sys.argv = ours


setup(
    ext_modules=[twin(name) for name in SHARED]
    + [twin(f"_{topic}", name) for topic in TOPICS for name in SETS],
    cmdclass={"build_ext": BuildKernels},
    options={"bdist_wheel": {"py_limited_api": f"cp3{OLDEST}"}} if ABI3 else {},
)
