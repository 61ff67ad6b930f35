"""Compress a file with a language model, and give it back."""

from dataclasses import MISSING
from pathlib import Path

from minillm.cli.arguments import argument
from minillm.cli.process import say
from minillm.compression import compress as compress_data
from minillm.compression import decompress as decompress_data
from minillm.data.files import read_all, reading, shown, write_file
from minillm.option import option
from minillm.runs.load import load

SUFFIX = ".mini"
MODEL = option(MISSING, "the run of a language model, or a file such as model.gguf", "DIR")


def compress(
    file: str = argument("any file, - for standard input", "FILE"),
    model: str = MODEL,
    out: str | None = option(None, f"the archive (default: FILE{SUFFIX})", "FILE"),
    adapt: bool = option(False, "let the model learn from the text as it reads it"),
    mix: bool = option(False, "mix it with n-grams of the text so far and of its training text"),
) -> int:
    """Compress a file with a language model.

    examples:
      minillm compress letters.txt --model runs/first
      minillm decompress letters.txt.mini --model runs/first --out again.txt
    """
    with reading(file) as opened:
        data = read_all(opened, shown(file))
    made = compress_data(load(model), data, adapt, mix, quiet=False)
    path = out or f"{file}{SUFFIX}"
    write_file(path, made.data)
    say(f"{path}: {len(data):,} bytes in {len(made.data):,}")
    return 0


def decompress(
    file: str = argument("an archive of minillm compress", "FILE"),
    model: str = MODEL,
    out: str | None = option(None, f"the file to write (default: FILE without {SUFFIX})", "FILE"),
) -> int:
    """Give a file back that minillm compress has compressed.

    examples:
      minillm decompress letters.txt.mini --model runs/first
    """
    with reading(file) as opened:
        archive = read_all(opened, shown(file))
    path = out or str(Path(file).with_suffix(""))
    write_file(path, decompress_data(load(model), archive, shown(file), quiet=False))
    return 0
