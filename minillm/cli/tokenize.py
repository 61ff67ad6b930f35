"""Turn a text into shards of token ids, for texts larger than memory.

Encode texts, a block at a time, into a folder of shards: files of ids that train gpt reads from
disk as needed.

examples:
  minillm tokenize *.txt --out corpus --tokenizer runs/tokenizer
  minillm tokenize python-source --out corpus --tokenizer runs/gpt
        with the vocabulary of another run
  minillm tokenize pages.jsonl.gz *.txt.gz --out corpus --tokenizer runs/tokenizer
  minillm train gpt corpus --out runs/big
"""

import argparse
import time

from minillm.cli.arguments import ArgumentParser
from minillm.cli.options import add_files, add_option, add_out, integer
from minillm.data import write_shards
from minillm.data.tokenizing import SHARD_BYTES
from minillm.text import load_tokenizer
from minillm.training.progress import progress_bar


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the text, the tokenizer, and the shards."""
    add_files(
        parser,
        "UTF-8 text, plain or compressed with gzip; .jsonl: JSON lines, whose "
        '"text" is a document; - for standard input; none: the built-in corpus',
    )
    add_out(parser, metavar="SHARDS")
    vocabulary = "use the vocabulary of this run, or of a tokenizer's folder or file"
    add_option(parser, "--tokenizer DIR", vocabulary, required=True)
    parser.add_argument(
        "--documents",
        choices=("file", "line"),
        default="file",
        help="a document is a whole FILE (default), or each line",
    )
    size = "the bytes of text for each shard"
    add_option(parser, "--shard-bytes N", size, integer(1, 1 << 40), SHARD_BYTES)


def run(args: argparse.Namespace) -> int:
    """Encode, and report the shards."""
    tokenizer, started = load_tokenizer(args.tokenizer), time.perf_counter()
    with progress_bar(unit="B") as bar:

        def progress(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        shards = write_shards(
            args.out,
            args.files,
            tokenizer,
            args.shard_bytes,
            args.overwrite,
            progress,
            documents=args.documents,
        )
    source = shards.source
    print(
        f"{args.out}: {len(shards):,} tokens of {source['characters']:,} characters "
        f"({source['characters'] / len(shards):.2f} each), {shards.dtype.itemsize} bytes each\n"
        f"the text: {source['bytes']:,} bytes; documents: {source['documents']:,}"
    )
    seconds = time.perf_counter() - started
    print(f"{len(shards):,} tokens in {seconds:.1f} s: {len(shards) / seconds:,.0f} per second")
    return 0
