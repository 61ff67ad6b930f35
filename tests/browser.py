"""Pages in a headless Chromium, for deep tests: what they show once their scripts have run."""

import shutil
import subprocess
from pathlib import Path

import pytest

needs_chromium = pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no chromium")


def document(address: str | Path, profile: Path, budget: int = 5) -> str:
    """The document of a page, as HTML; its scripts must write nothing on the console.

    profile: an empty folder of the browser's own.  budget: seconds that its clock, which jumps from
    timer to timer, may advance in all; a page that waits for a server needs more.
    """
    address = address.as_uri() if isinstance(address, Path) else address
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += [f"--user-data-dir={profile}", "--enable-logging=stderr"]
    command += [
        "--disable-background-networking",
        f"--virtual-time-budget={1000 * budget}",
        "--dump-dom",
    ]
    done = subprocess.run(
        [*command, address], capture_output=True, text=True, timeout=120, check=False
    )
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not console, console
    assert done.stdout, done.stderr
    return done.stdout
