"""Build what is uploaded, in dist/: the source distribution, and the wheels of all platforms.

    python distribution/build.py [PLATFORM ...]

`make dist` runs it with the tools of `distribution/requirements.txt`.  The source distribution
contains tracked files only, and the wheels are built from it, unpacked.  The wheel `ziglang` brings
a C compiler for every platform, with the headers and the C library of each.  setup.py builds one
platform after the other, and Cython translates only for the first.  As the kernels use Python's
limited API alone, a wheel serves every Python from 3.11 on, and compiles without the headers of its
platform's Python: only `pyconfig.h` differs, and is written here.

Two builds of one commit with the same Python are equal byte for byte.  SOURCE_DATE_EPOCH, by
default the date of the commit, is the date of all files.
"""

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import time
import zipfile
from pathlib import Path

import abi3info
import ziglang

ZIG = Path(ziglang.__file__).with_name("zig")
BUILD = Path("build/dist").absolute()
HEADERS = BUILD / "headers"
IMPORTS = BUILD / "python3.lib"
DIST = Path("dist").absolute()
# Bytes of a wheel.  The wheel for Windows is the largest, because zig links its whole runtime into
# each of some fifty modules: 70 kB, which are 35 kB when compressed.
LARGEST = 8_000_000

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
    platforms = sys.argv[1:] or list(PLATFORMS)
    for platform in platforms:
        if platform not in PLATFORMS:
            sys.exit(f"expected a platform of {', '.join(PLATFORMS)}; found {platform}")
    for folder in (BUILD, DIST):  # nothing of an earlier build
        shutil.rmtree(folder, ignore_errors=True)
    os.umask(0o022)  # the modes of files are in the archives
    if "SOURCE_DATE_EPOCH" not in os.environ:
        command = ["git", "log", "-1", "--format=%ct"]
        os.environ["SOURCE_DATE_EPOCH"] = subprocess.check_output(command, text=True).strip()
    source = build_source()
    print(f"{source.name}: {source.stat().st_size / 1e6:.1f} MB", flush=True)
    with tarfile.open(source) as archive:
        archive.extractall(BUILD / "unpacked", filter="data")
    (unpacked,) = (BUILD / "unpacked").iterdir()
    write_headers()
    write_import_library()
    too_large = []
    for platform in platforms:
        begin = time.monotonic()
        wheel = build(unpacked, platform)
        size = wheel.stat().st_size
        print(f"{wheel.name}: {size / 1e6:.1f} MB in {time.monotonic() - begin:.0f} s", flush=True)
        if size > LARGEST:
            too_large.append(f"{wheel.name}: expected at most {LARGEST} bytes, found {size}")
    files = sorted(DIST.iterdir())
    wheels = [file for file in files if file.suffix == ".whl"]
    subprocess.run([sys.executable, "-m", "abi3audit", "--strict", *wheels], check=True)
    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *files], check=True)
    for file in files:
        print(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}")
    if too_large:
        sys.exit("\n".join(too_large))


def build_source() -> Path:
    """The source distribution, made in a copy of the tracked files."""
    tree, made = BUILD / "tree", BUILD / "sdist"
    for name in subprocess.check_output(["git", "ls-files", "-z"], text=True).split("\0")[:-1]:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(name, tree / name)  # without its mode
    command = [sys.executable, "setup.py", "--quiet", "sdist", "--dist-dir", str(made)]
    subprocess.run(command, cwd=tree, check=True)
    (written,) = made.iterdir()
    DIST.mkdir()
    with (
        tarfile.open(written) as files,
        gzip.GzipFile(DIST / written.name, "wb", mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w") as archive,
    ):
        for entry in sorted(files, key=lambda entry: entry.name):
            entry.mtime, entry.pax_headers = int(os.environ["SOURCE_DATE_EPOCH"]), {}
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            archive.addfile(entry, files.extractfile(entry) if entry.isfile() else None)
    return DIST / written.name


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


def build(unpacked: Path, platform: str) -> Path:
    """Build the wheel of a platform from the unpacked source, and return its path."""
    target = PLATFORMS[platform]
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
    subprocess.run(command, env=os.environ | environment, cwd=unpacked, check=True)
    (wheel,) = DIST.glob(f"*-abi3-{platform}.whl")
    failures = zipfile.ZipFile(wheel).read("minillm/_kernels/build.json")
    if json.loads(failures):
        sys.exit(f"{wheel.name}: {failures.decode().strip()}")
    return wheel


if __name__ == "__main__":
    main()
