"""``minillm tokenize``: a text as shards of ids on the disk."""

import argparse
from typing import Any

from minillm.cli.options import integer


def add_parser(verbs: Any) -> None:
    """Declares the verb."""
    parser = verbs.add_parser(
        "tokenize",
        help="turn a text into shards of token ids, to train on more than memory holds",
        description="""\
Encode texts, a block at a time, into a folder of shards: files of ids that `minillm train gpt`
reads from the disk as it needs them. If it is stopped, the same command goes on where it was.""",
        epilog="""\
examples:
  minillm tokenize *.txt --out corpus --tokenizer runs/tokenizer
  minillm tokenize python-source --out corpus --tokenizer runs/gpt
        with the vocabulary of another run
  minillm train gpt corpus --out runs/big
""",
    )
    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="UTF-8 text, each a document; - for standard input; none: the built-in corpus",
    )
    parser.add_argument("--out", required=True, metavar="SHARDS", help="the folder to be made")
    parser.add_argument(
        "--tokenizer",
        required=True,
        metavar="DIR",
        help="a run whose vocabulary to use, or a tokenizer's folder or file",
    )
    parser.add_argument(
        "--shard-tokens",
        type=integer(1, 1 << 40),
        default=1 << 26,
        metavar="N",
        help="tokens in each file (default 67108864)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the shards of another text in SHARDS"
    )
    parser.set_defaults(run=run, several_files=True)


def run(args: argparse.Namespace) -> int:
    """Encodes, and says what there is now."""
    from tqdm import tqdm

    from minillm.data import write_shards
    from minillm.text import load_tokenizer

    tokenizer, files = load_tokenizer(args.tokenizer), getattr(args, "files", [])
    with tqdm(unit=" characters", unit_scale=True, leave=False, disable=None) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        shards = write_shards(
            args.out, files, tokenizer, args.shard_tokens, args.overwrite, progress
        )
    characters = shards.source["characters"]
    print(
        f"{args.out}: {len(shards):,} tokens of {characters:,} characters "
        f"({characters / len(shards):.2f} each), {shards.dtype.itemsize} bytes each"
    )
    return 0
