"""Build the wheels of all platforms on this one, and try those that can run here: `make wheels`.

The wheel `ziglang` brings a C compiler for every platform, with the headers and the C library of
each.  setup.py builds one platform after the other, and Cython translates only for the first.  As
the kernels use Python's limited API alone, a wheel serves every Python from 3.11 on, and compiles
without the headers of its platform's Python: only `pyconfig.h` differs, and is written here.

    python wheels.py [INTERPRETER ...]

Each INTERPRETER is a command that runs a Python on Linux, such as python3.13, or "qemu-aarch64 -L
ROOT ROOT/usr/bin/python3.13".  The wheel of its platform is installed in an empty folder, where the
interpreter trains ten steps (`tests/ten_steps.py`).
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import zipfile
from pathlib import Path

import abi3info
import ziglang

ZIG = Path(ziglang.__file__).with_name("zig")
BUILD = Path("build/wheels").absolute()
HEADERS = BUILD / "headers"
IMPORTS = BUILD / "python3.lib"
DIST = Path("dist").absolute()
# Bytes of a wheel.  The wheel for Windows is the largest, because zig links its whole runtime into
# each of some fifty modules: 70 kB, which are 35 kB when compressed.
LARGEST = 6_000_000

# The platform of a wheel, and zig's name of it.  glibc 2.17 is of 2012, musl 1.2 of 2020; Python
# itself needs macOS 10.13, and 11 on arm64.
PLATFORMS = {
    "manylinux_2_17_x86_64": "x86_64-linux-gnu.2.17",
    "manylinux_2_17_aarch64": "aarch64-linux-gnu.2.17",
    "musllinux_1_2_x86_64": "x86_64-linux-musl",
    "musllinux_1_2_aarch64": "aarch64-linux-musl",
    "macosx_10_13_x86_64": "x86_64-macos.10.13",
    "macosx_11_0_arm64": "aarch64-macos.11.0",
    "win_amd64": "x86_64-windows-gnu",
}
# The wheels that an interpreter on Linux accepts, by its C library: NumPy's are of several kinds.
ACCEPTED = {
    "gnu": ("manylinux_2_17", "manylinux2014", "manylinux_2_27", "manylinux_2_28"),
    "musl": ("musllinux_1_1", "musllinux_1_2"),
}

# The facts about a platform that the limited API needs.
PYCONFIG = """
#ifdef _WIN32
#define MS_WINDOWS 1
#define MS_WIN32 1
#define MS_WIN64 1
#define Py_ENABLE_SHARED 1 /* what is Python's comes from python3.dll */
#define HAVE_DECLSPEC_DLL 1
#define SIZEOF_LONG 4
#define SIZEOF_WCHAR_T 2
#else
#define _GNU_SOURCE 1 /* all of the C library, as Python itself asks for */
#define HAVE_SSIZE_T 1
#define SIZEOF_LONG 8
#define SIZEOF_WCHAR_T 4
#endif
#define HAVE_STDDEF_H 1
#define HAVE_WCHAR_H 1
#define SIZEOF_INT 4
#define SIZEOF_LONG_LONG 8
#define SIZEOF_PID_T 4
#define SIZEOF_SIZE_T 8
#define SIZEOF_VOID_P 8
"""


def main() -> None:
    for folder in (BUILD, Path("build/kernels"), DIST):  # nothing of an earlier build
        shutil.rmtree(folder, ignore_errors=True)
    write_headers()
    write_import_library()
    too_large = []
    for platform, target in PLATFORMS.items():
        begin = time.monotonic()
        wheel = build(platform, target)
        size = wheel.stat().st_size
        print(f"{wheel.name}: {size / 1e6:.1f} MB in {time.monotonic() - begin:.0f} s", flush=True)
        if size > LARGEST:
            too_large.append(f"{wheel.name}: expected at most {LARGEST} bytes, found {size}")
    subprocess.run([sys.executable, "-m", "abi3audit", "--strict", *DIST.glob("*.whl")], check=True)
    for interpreter in sys.argv[1:]:
        try_out(shlex.split(interpreter))
    if too_large:
        sys.exit("\n".join(too_large))


def write_headers() -> None:
    """The headers of this Python, with what differs between platforms replaced."""
    unused = shutil.ignore_patterns("internal")
    shutil.copytree(sysconfig.get_paths()["include"], HEADERS, ignore=unused)
    (HEADERS / "pyconfig.h").write_text(PYCONFIG)


def write_import_library() -> None:
    """The library with which modules for Windows find the stable ABI in python3.dll."""
    names = [symbol.name for symbol in abi3info.FUNCTIONS]
    names += [f"{symbol.name} DATA" for symbol in abi3info.DATAS]
    definition = BUILD / "python3.def"
    definition.write_text("\n".join(["LIBRARY python3.dll", "EXPORTS", *sorted(names)]) + "\n")
    command = ["dlltool", "-m", "i386:x86-64", "-d", str(definition), "-l", str(IMPORTS)]
    subprocess.run([ZIG, *command], check=True)


def build(platform: str, target: str) -> Path:
    """Build the wheel of a platform, and return its path."""
    compiler = f"{ZIG} cc -target {target}"
    link = f"{compiler} -shared -s"
    if "macos" in target:
        link += " -undefined dynamic_lookup"  # what is Python's, the interpreter has
    environment = {
        "MINILLM_TARGET": target,
        "CC": compiler,
        "LDSHARED": link,
        # Many of the loops are as short as a vector, and clang leaves those below 16 alone.
        "CFLAGS": "-DNDEBUG -fwrapv -mllvm -vectorizer-min-trip-count=2",
        "CPPFLAGS": f"-I{HEADERS}",
        "LDFLAGS": str(IMPORTS) if "windows" in target else "",
        "ZIG_GLOBAL_CACHE_DIR": str(BUILD / "cache"),
        "ZIG_LOCAL_CACHE_DIR": str(BUILD / "cache"),
        "PYTHONWARNINGS": "ignore:setup.py install is deprecated",  # bdist_wheel itself uses it
    }
    folder = BUILD / platform
    command = [sys.executable, "setup.py", "--quiet", "build", "--build-base", str(folder)]
    command += ["--build-lib", str(folder / "lib"), "bdist_wheel", "--dist-dir", str(DIST)]
    command += ["--plat-name", platform, "--bdist-dir", str(folder / "wheel")]
    subprocess.run(command, env=os.environ | environment, check=True)
    (wheel,) = DIST.glob(f"*-abi3-{platform}.whl")
    failures = zipfile.ZipFile(wheel).read("minillm/_kernels/build.json")
    if json.loads(failures):
        sys.exit(f"{wheel.name}: {failures.decode().strip()}")
    return wheel


def try_out(interpreter: list[str]) -> None:
    """Install the wheel of an interpreter's platform in an empty folder, and train there."""
    ask = "import sysconfig; print(sysconfig.get_config_var('SOABI'))"
    abi = subprocess.check_output([*interpreter, "-c", ask], text=True).strip()
    found = re.fullmatch(r"cpython-3(\d+)-(\w+)-linux-(gnu|musl)", abi)
    if not found:
        sys.exit(f"{shlex.join(interpreter)}: expected a CPython on Linux, found {abi}")
    minor, machine, library = found.groups()
    (wheel,) = DIST.glob(f"*-abi3-{ACCEPTED[library][-1][:9]}*_{machine}.whl")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--only-binary", ":all:"]
    install += ["--implementation", "cp", "--python-version", f"3.{minor}", "--abi", f"cp3{minor}"]
    install += [f"--platform={accepted}_{machine}" for accepted in ACCEPTED[library]]
    install += ["--ignore-requires-python"]  # pip would compare the Python that builds
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([*install, "--target", folder, str(wheel)], check=True)
        # -S: without the packages of the interpreter; -P: without the folder of the program
        program = [*interpreter, "-S", "-P", str(Path("tests/ten_steps.py").absolute())]
        environment = os.environ | {"PYTHONPATH": folder, "MINILLM_KERNELS": "cython"}
        subprocess.run(program, env=environment, cwd=folder, check=True)


if __name__ == "__main__":
    main()
