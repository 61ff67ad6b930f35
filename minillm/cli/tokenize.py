"""``minillm tokenize``: a text as shards of ids on the disk."""

import argparse
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minillm.cli.options import integer

if TYPE_CHECKING:
    from minillm.data import Shards


def add_parser(verbs: Any) -> None:
    """Declares the verb."""
    parser = verbs.add_parser(
        "tokenize",
        help="turn a text into shards of token ids, to train on more than memory holds",
        description="""\
Encode texts, a block at a time, into a folder of shards: files of ids that `minillm train gpt`
reads from the disk as it needs them. If it is stopped, the same command goes on where it was.
Under mpiexec the work is dealt to the ranks; the shards are the same.""",
        epilog="""\
examples:
  minillm tokenize *.txt --out corpus --tokenizer runs/tokenizer
  minillm tokenize python-source --out corpus --tokenizer runs/gpt
        with the vocabulary of another run
  mpiexec -n 4 minillm tokenize pages.jsonl.zst *.txt.gz --out corpus --tokenizer runs/tokenizer \\
      --deduplicate --shuffle
        on four ranks: documents that are there twice are dropped, the others shuffled
  minillm train gpt corpus --out runs/big
""",
    )
    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="UTF-8 text, plain or compressed with gzip or zstandard; .jsonl: JSON lines, whose "
        '"text" is a document each; - for standard input; none: the built-in corpus',
    )
    parser.add_argument("--out", required=True, metavar="SHARDS", help="the folder to be made")
    parser.add_argument(
        "--tokenizer",
        required=True,
        metavar="DIR",
        help="a run whose vocabulary to use, or a tokenizer's folder or file",
    )
    parser.add_argument(
        "--documents",
        choices=("file", "line"),
        default="file",
        help="what a document is in a FILE of text: all of it (default), or each line",
    )
    parser.add_argument(
        "--deduplicate",
        action="store_true",
        help="drop documents that are equal to an earlier one (the text is read twice)",
    )
    parser.add_argument("--shuffle", action="store_true", help="put the documents in random order")
    parser.add_argument(
        "--seed", type=integer(0), default=0, metavar="N", help="of that order (default 0)"
    )
    parser.add_argument(
        "--shard-tokens",
        type=integer(1, 1 << 40),
        default=1 << 26,
        metavar="N",
        help="tokens in each file, at most (default 67108864)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the shards of another text in SHARDS"
    )
    parser.set_defaults(run=run, several_files=True)


def run(args: argparse.Namespace) -> int:
    """Encodes, and says what there is now."""
    from tqdm import tqdm

    from minillm.data import write_shards
    from minillm.mpi import ranks
    from minillm.runs.lock import held
    from minillm.text import load_tokenizer

    tokenizer, files = load_tokenizer(args.tokenizer), getattr(args, "files", [])
    job, made, began = ranks(), 0, time.perf_counter()
    quiet = True if job.rank else None  # None: where there is no terminal
    holds = job.rank == 0 and args.out and not Path(args.out).is_file()
    with (
        held(Path(args.out)) if holds else nullcontext(),
        tqdm(unit="B", unit_scale=True, leave=False, disable=quiet) as bar,
    ):

        def progress(done: int, total: int | None, tokens: int) -> None:
            nonlocal made
            bar.total, made = total, tokens
            bar.update(done - bar.n)

        shards = write_shards(
            args.out,
            files,
            tokenizer,
            args.shard_tokens,
            args.overwrite,
            progress,
            documents=args.documents,
            deduplicate=args.deduplicate,
            shuffle=args.seed if args.shuffle else None,
        )
    made = sum(job.gather(made))
    if job.rank == 0:
        print(_report(args, shards))
        if made:
            seconds = time.perf_counter() - began
            on = f" on {job.size} ranks" if job.size > 1 else ""
            print(f"{made:,} tokens in {seconds:.1f} s: {made / seconds:,.0f} per second{on}")
    return 0


def _report(args: argparse.Namespace, shards: "Shards") -> str:
    """What the shards hold, and of how much text they were made."""
    source = shards.source
    characters, documents, duplicates = (
        source[name] for name in ("characters", "documents", "duplicates")
    )
    equal = f"{duplicates:,} ({duplicates / max(1, documents):.1%}) equal to an earlier one"
    if args.deduplicate and duplicates:
        equal += ", which were dropped"
    return (
        f"{args.out}: {len(shards):,} tokens of {characters:,} characters "
        f"({characters / len(shards):.2f} each), {shards.dtype.itemsize} bytes each\n"
        f"the text: {source['bytes']:,} bytes; documents: {documents:,}, {equal}"
    )
