"""Install what is in dist/ in bare environments, from files alone, and run it there.

    python distribution/check.py INTERPRETER ...

`make dist-check` runs it with the tools of `distribution/requirements.txt`.  Each INTERPRETER is a
command that runs a Python on Linux, such as python3.13, or "qemu-aarch64 -L ROOT
ROOT/usr/bin/python3.13".  The wheel of its platform is installed in an empty folder, without an
index.  A free-threaded Python compiles the source distribution instead; so does the first Python of
this machine with each of COMPILERS that is found, and with none.  With MODEL in the environment, a
file of a published chat model (.gguf), each answers a question, too.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from itertools import product
from pathlib import Path

DIST, BUILD = Path("dist").absolute(), Path("build/dist-check").absolute()
PACKAGES = BUILD / "packages"  # what minillm depends on, as files
PROJECT = tomllib.loads(Path("pyproject.toml").read_text())
COMPILERS = ("gcc", "clang", "clang-19")
NO_COMPILER = "false"  # a command that always fails
BEST = {"MINILLM_SETS": "best"}  # the kernels of this CPU's best instruction set, to save minutes
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
FROM_FILES = ["--quiet", "--no-index", "--find-links", str(PACKAGES)]
# The wheels that an interpreter on Linux accepts, by its C library: NumPy's are of several kinds.
ACCEPTED = {
    "gnu": ("linux", "manylinux_2_17", "manylinux2014", "manylinux_2_27", "manylinux_2_28"),
    "musl": ("linux", "musllinux_1_1", "musllinux_1_2"),
}

SMALL = ["--layers", "1", "--heads", "2", "--width", "32", "--context", "32", "--batch", "4"]

# What runs in each environment: `minillm` and two programs that need nothing else.
CHECKS = [
    ["{bin}/minillm", "--help"],
    ["{bin}/minillm", "gradcheck", "linear", "lstm", "additive_attention", "--seeds", "1"],
    ["{bin}/minillm", "train", "gpt", "--steps", "10", *SMALL, "--out", "run"],
    ["{bin}/minillm", "generate", "run", "--length", "20", "--seed", "1"],
    ["{tests}/ten_steps.py"],
    ["{tests}/eight_threads.py"],
]
if "MODEL" in os.environ:
    model = str(Path(os.environ["MODEL"]).absolute())
    CHECKS.append(["{bin}/minillm", "chat", model, "--length", "8"])
QUESTION = "What is the capital of France?"  # only chat reads it


def main() -> None:
    shutil.rmtree(BUILD, ignore_errors=True)
    (source,) = DIST.glob("*.tar.gz")
    interpreters = [shlex.split(interpreter) for interpreter in sys.argv[1:]]
    if not interpreters:
        sys.exit("expected an interpreter, found none")
    for interpreter in interpreters:
        abi, platforms = platform_of(interpreter)
        download(abi, platforms, *PROJECT["project"]["dependencies"])
        if abi.endswith("t"):
            download(abi, platforms, *PROJECT["build-system"]["requires"])
            wheel = compiled(source, interpreter, BEST)
        else:
            (wheel,) = (w for p in platforms for w in DIST.glob(f"*-abi3-{p}.whl"))
        run(interpreter, wheel, abi, platforms)
    here = [interpreter for interpreter in interpreters if len(interpreter) == 1]
    for interpreter, compiler in product(here[:1], (*filter(shutil.which, COMPILERS), NO_COMPILER)):
        abi, platforms = platform_of(interpreter)
        download(abi, platforms, *PROJECT["build-system"]["requires"])
        print(f"{source.name}, compiled with {compiler}:", flush=True)
        wheel = compiled(source, interpreter, BEST | {"CC": compiler})
        run(interpreter, wheel, abi, platforms, built=compiler != NO_COMPILER)
    print("all have passed")


def platform_of(interpreter: list[str]) -> tuple[str, list[str]]:
    """The ABI of an interpreter, such as cp313t, and the platforms whose wheels it accepts."""
    ask = "import sysconfig; print(sysconfig.get_config_var('SOABI'))"
    found = subprocess.check_output([*interpreter, "-c", ask], text=True).strip()
    match = re.fullmatch(r"cpython-(3\d+t?)-(\w+)-linux-(gnu|musl)", found)
    if not match:
        sys.exit(f"{shlex.join(interpreter)}: expected a CPython on Linux, found {found}")
    return f"cp{match[1]}", [f"{accepted}_{match[2]}" for accepted in ACCEPTED[match[3]]]


def tags(abi: str, platforms: list[str]) -> list[str]:
    """The options by which pip selects the wheels of another interpreter."""
    version = re.sub(r"cp3(\d+)t?", r"3.\1", abi)
    options = ["--only-binary", ":all:", "--implementation", "cp", "--python-version", version]
    return [*options, "--abi", abi, *(f"--platform={platform}" for platform in platforms)]


def download(abi: str, platforms: list[str], *packages: str) -> None:
    """Get the packages that an interpreter needs, before anything is installed."""
    command = [*PIP, "download", "--quiet", "--dest", str(PACKAGES), *tags(abi, platforms)]
    subprocess.run([*command, *packages], check=True)


def compiled(source: Path, interpreter: list[str], variables: dict[str, str]) -> Path:
    """The wheel that an interpreter of this machine makes of the source distribution."""
    folder = tempfile.mkdtemp(dir=BUILD)
    ask = [*interpreter, "-c", "import sys; print(sys.executable)"]
    path = subprocess.check_output(ask, text=True).strip()
    command = [*PIP, "--python", path, "wheel", *FROM_FILES, "--no-deps", "--no-cache-dir"]
    command += ["--wheel-dir", folder, str(source)]
    subprocess.run(command, env=os.environ | variables, check=True)
    (wheel,) = Path(folder).iterdir()
    return wheel


def run(
    interpreter: list[str], wheel: Path, abi: str, platforms: list[str], built: bool = True
) -> None:
    """Install a wheel in an empty folder, and run the checks there."""
    print(f"{shlex.join(interpreter)}: {wheel.name}", flush=True)
    failures = zipfile.ZipFile(wheel).read("minillm/_kernels/build.json")
    if built != (not json.loads(failures)):
        sys.exit(f"{wheel.name}: {failures.decode()}")
    with tempfile.TemporaryDirectory() as folder:
        install = [*PIP, "install", *FROM_FILES, *tags(abi, platforms), "--target", folder]
        subprocess.run([*install, str(wheel)], check=True)
        environment = os.environ | {"PYTHONPATH": folder, "MINILLM_CACHE": f"{folder}/cache"}
        environment["MINILLM_KERNELS"] = "cython" if built else "auto"
        for check in CHECKS:
            # -S: without the packages of the interpreter; -P: without the folder of the program
            program, *arguments = check
            program = program.format(bin=f"{folder}/bin", tests=Path("tests").absolute())
            command = [*interpreter, "-S", "-P", program, *arguments]
            done = subprocess.run(
                command,
                input=QUESTION,
                env=environment,
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                sys.exit(f"{shlex.join(command)}: exit status {done.returncode}\n{done.stderr}")
            if not done.stdout:
                sys.exit(f"{shlex.join(command)}: expected an output, found none")
            print(f"  {Path(program).name} {shlex.join(arguments)}: {done.stdout.splitlines()[-1]}")


if __name__ == "__main__":
    main()
