"""Build the Cython twins of the kernels: each topic once for each instruction set.

Cython translates `minillm/_kernels/<topic>.pyx` to C once.  The C is compiled for each
instruction set, as `minillm._kernels._<topic>_<instruction set>`, and Python picks the best
that the CPU has when the program runs: so a wheel built on one machine runs on every machine of
its architecture.  `_cpu`, `_pool` and `_threads`, which all share, are built once, and so is
what typed memoryviews need (`MEMORYVIEWS`), which Cython would otherwise add to each topic: 25,000
lines of C.  The kernels use Python's limited API alone, so that one build serves every Python from
`OLDEST` on.

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
import tomllib
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

PACKAGE = Path("minillm/_kernels")
TOPICS = sorted(path.stem for path in PACKAGE.glob("[a-z]*.pyx"))

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
# The modules that one version of Cython translates cannot use what another one made.
MEMORYVIEWS = "_memoryviews_" + re.sub(r"\W", "_", CYTHON)

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


class Twin(Extension):
    """The C module `translated`, compiled for one instruction set under a name of its own."""

    def __init__(self, translated: str, instruction_set: str = "") -> None:
        name = f"{translated}_{instruction_set}" if instruction_set else translated
        super().__init__(
            f"minillm._kernels.{name}",
            [f"build/kernels/{name}.c"],
            include_dirs=[str(PACKAGE)],
            define_macros=MACROS,
            py_limited_api=ABI3,
            optional=True,
        )
        self.translated, self.instruction_set = translated, instruction_set

    def write_source(self) -> None:
        """The C module again, with the function renamed by which Python finds a module."""
        source, (_, _, name) = Path(self.sources[0]), self.name.rpartition(".")
        if name != self.translated:
            renamed = f"#define PyInit_{self.translated} PyInit_{name}\n"
            source.write_text(f'{renamed}#include "{self.translated}.c"\n')


def twins() -> list[Extension]:
    shared = [Twin(name) for name in ("_cpu", "_pool", "_threads", MEMORYVIEWS)]
    return shared + [Twin(f"_{topic}", name) for topic in TOPICS for name in SETS]


def chosen_sets(choice: str, in_place: bool, cpu: str) -> list[str]:
    """The instruction sets to build, by MINILLM_SETS and /proc/cpuinfo ("" where there is none)."""
    if choice not in ("", "all", "best", "check"):
        sys.exit(f"MINILLM_SETS: expected all, best or check, found {choice}")
    if choice in ("all", "check") or not (choice or in_place):
        return SETS
    return runnable(cpu)[-1:] if choice == "best" else runnable(cpu)


def runnable(cpu: str) -> list[str]:
    """The instruction sets that a CPU has, by /proc/cpuinfo; all of them where there is none."""
    needed = {name: {flag[2:] for flag in GCC_SETS[name] if "=" not in flag} for name in SETS}
    return [name for name in SETS if not cpu or needed[name] <= set(cpu.split())]


class BuildKernels(build_ext):
    """Translate and compile what is out of date, on all cores; note why where it fails."""

    def run(self) -> None:
        self.failures: dict[str, str] = {}
        self.used_in_place = self.inplace  # setuptools compiles elsewhere, and copies what is there
        super().run()
        folder = PACKAGE if self.inplace else Path(self.build_lib) / PACKAGE
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "build.json").write_text(json.dumps(self.failures, indent=1) + "\n")

    def build_extensions(self) -> None:
        if self.used_in_place:
            for twin in self.extensions:  # of an earlier build, which may be older than in place
                Path(self.get_ext_fullpath(twin.name)).unlink(missing_ok=True)
            if ABI3:  # Python would prefer modules that were built for its version alone
                for path in PACKAGE.glob("*" + sysconfig.get_config_var("EXT_SUFFIX")):
                    path.unlink()
        cpu = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
        choice = os.environ.get("MINILLM_SETS", "")
        sets = chosen_sets(choice, self.used_in_place, cpu)
        self.only_checked = set(SETS) - set(runnable(cpu)) if choice == "check" else set()
        outdated = []
        for twin in self.extensions:
            if self.force or self.is_outdated(twin):
                if twin.instruction_set in ("", *sets):
                    outdated.append(twin)
                else:  # else old code might be loaded
                    self.target(twin).unlink(missing_ok=True)
        # The largest first, so that no core is idle while another compiles it.  Before them, what
        # is translated at once: a core compiles it while Cython translates the largest.
        outdated.sort(key=size_of_sources, reverse=True)
        outdated.sort(key=lambda twin: twin.translated != MEMORYVIEWS)
        with ThreadPoolExecutor(1) as translator, ThreadPoolExecutor(os.cpu_count()) as pool:
            names = dict.fromkeys(twin.translated for twin in outdated)
            translations = {name: translator.submit(translate, name) for name in names}
            needed = [translations[twin.translated] for twin in outdated]
            list(pool.map(self.build_twin, outdated, needed))

    def get_ext_filename(self, fullname: str) -> str:
        filename = super().get_ext_filename(fullname)
        return filename.replace(".abi3.so", ".pyd") if WINDOWS else filename

    def target(self, twin: Twin) -> Path:
        path = Path(self.get_ext_fullpath(twin.name))
        return PACKAGE / path.name if self.used_in_place else path

    def is_outdated(self, twin: Twin) -> bool:
        target = self.target(twin)
        sources = {Path(__file__), *sources_of(twin.translated)}
        newest = max(path.stat().st_mtime for path in sources)
        return not target.exists() or target.stat().st_mtime <= newest

    def build_twin(self, twin: Twin, translation: Future) -> None:
        instruction_set = twin.instruction_set or "baseline"
        try:
            translation.result()
            twin.write_source()
            if self.compiler.compiler_type == "msvc":
                raise RuntimeError("expected GCC or clang, found MSVC")
            twin.extra_compile_args = [*GCC, *GCC_SETS[instruction_set], "-pthread"]
            if instruction_set in self.only_checked:
                twin.extra_compile_args.append("-O1")
            twin.extra_link_args = ["-pthread"]
            self.build_extension(twin)
        except Exception as error:  # whatever went wrong, NumPy still runs
            reason = str(error).strip().splitlines()[-1]
            self.failures[instruction_set] = f"its build failed ({reason})"
            self.warn(f"{twin.name} was not built: {error}")
            self.target(twin).unlink(missing_ok=True)


def source_of(translated: str) -> Path:
    """The .pyx of a C module: attention.pyx of _attention, but _cpu.pyx of _cpu."""
    shared = PACKAGE / f"{translated}.pyx"
    return shared if shared.exists() else PACKAGE / f"{translated[1:]}.pyx"


def sources_of(translated: str) -> set[Path]:
    """The .pyx of a C module, and what it includes or cimports, and what that includes."""
    return set() if translated == MEMORYVIEWS else included(source_of(translated))


def size_of_sources(twin: Twin) -> int:
    return sum(path.stat().st_size for path in sources_of(twin.translated))


def included(path: Path) -> set[Path]:
    """A file and what it includes or cimports, and what that includes."""
    files, text = {path}, path.read_text()
    names = re.findall(r'"(\w+\.(?:pxi|h))"', text)
    names += [f"{name}.pxd" for name in re.findall(r"from minillm\._kernels\.(\w+) cimport", text)]
    for name in names:
        if (PACKAGE / name).exists():
            files |= included(PACKAGE / name)
    return files


def cython(translated: str) -> list[str]:
    """The command that writes build/kernels/<translated>.c, to be run where this file is."""
    target, module = f"build/kernels/{translated}.c", f"minillm._kernels.{translated}"
    command = [sys.executable, "-m", "cython", "-3", "--module-name", module]
    command += ["-X", "freethreading_compatible=True"]  # else an import would bring the GIL back
    if translated == MEMORYVIEWS:
        return [*command, "--generate-shared", target]
    # -I . is for cimports, -I PACKAGE for what is included.
    command += ["--shared", f"minillm._kernels.{MEMORYVIEWS}", "-I", ".", "-I", str(PACKAGE)]
    return [*command, str(checking_bounds(translated)), "-o", target]


def checking_bounds(translated: str) -> Path:
    """The .pyx of a C module, or for `make sanitize` a copy that has its bounds checked."""
    source = source_of(translated)
    if not BOUNDS:
        return source
    copy = Path(f"build/kernels/{translated}.pyx")
    copy.write_text(source.read_text().replace("boundscheck=False", "boundscheck=True"))
    return copy


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
    ext_modules=twins(),
    cmdclass={"build_ext": BuildKernels},
    options={"bdist_wheel": {"py_limited_api": f"cp3{OLDEST}"}} if ABI3 else {},
)
