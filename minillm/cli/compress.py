"""Compress files with a language model, and give them back."""

from dataclasses import MISSING

from minillm.cli.arguments import argument
from minillm.compression import archive
from minillm.compression import report as reports
from minillm.data.files import read_all, reading, shown, write_file
from minillm.option import option
from minillm.runs.load import load

SUFFIX = ".mini"
MODEL = option(MISSING, "the run of a language model, or a file such as model.gguf", "RUN")


def compress(
    file: str = argument("any file, - for standard input", "FILE"),
    model: str = MODEL,
    out: str | None = option(None, f"the archive (default: FILE{SUFFIX})", "FILE"),
    adapt: bool = option(False, "let a copy of the network learn from the text as it reads it"),
    mix: bool = option(False, "mix it with n-grams of the text so far and of its training text"),
    report: bool = option(False, "compare it with xz and zstd, and write FILE.html: its bits"),
) -> int:
    """Compress a file with a language model.

    The archive is as long as the model's cross-entropy on the file says.  Only the same model gives
    the file back; where its products have the same bits on other kernels, on any of them.  With
    --report, its size is printed beside xz and zstd (the extra "compress"), alone and after the
    training text, and a page shows where the bits went.

    examples:
      minillm compress letters.txt --model runs/first --report
      minillm compress letters.txt --model SmolLM2-135M-Instruct.Q4_1.gguf
      minillm compress letters.txt --model runs/first --adapt --mix
    """
    if report:
        reports.programs()  # an extra that is missing is named before the work
    with reading(file) as opened:
        data = read_all(opened, shown(file))
    run = load(model)
    made = archive.compress(run, data, adapt, mix, quiet=False)
    path = out or file + SUFFIX
    write_file(path, made.data)
    print(f"{path}: {len(made.data):,} bytes, of {len(data):,}")
    if report:
        print(*reports.lines(run, data, made), sep="\n")
        write_file(f"{path}.html", reports.picture(run, made))
    return 0


def decompress(
    file: str = argument("an archive that minillm compress wrote", "FILE"),
    model: str = MODEL,
    out: str = option(MISSING, "the file to write", "FILE"),
) -> int:
    """Restore a file from an archive of minillm compress.

    The file is written when all of it has been checked.

    examples:
      minillm decompress letters.txt.mini --model runs/first --out again.txt
    """
    with reading(file) as opened:
        packed = read_all(opened, shown(file))
    write_file(out, archive.decompress(load(model), packed, shown(file), quiet=False))
    return 0
