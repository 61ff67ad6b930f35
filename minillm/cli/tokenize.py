"""Turn a text into shards of token ids."""

import time
from dataclasses import MISSING

from minillm.cli.arguments import OVERWRITE, argument
from minillm.data import write_shards
from minillm.data.tokenizing import SHARD_BYTES
from minillm.option import option
from minillm.text import load_tokenizer
from minillm.training.progress import progress_bar


def tokenize(
    files: list[str] = argument(
        "UTF-8 text, plain or compressed with gzip; .jsonl: JSON lines, whose "
        '"text" is a document; - for standard input; none: the built-in corpus',
        "FILE",
        (),
    ),
    out: str = option(MISSING, "the folder to make", "SHARDS"),
    overwrite: bool = OVERWRITE,
    tokenizer: str = option(
        MISSING, "use the vocabulary of this run, or of a tokenizer's folder or file", "DIR"
    ),
    documents: str = option(
        "file", "a document is a whole file, or each line", choices=("file", "line")
    ),
    shard_bytes: int = option(
        SHARD_BYTES, "the bytes of text for each shard", "N", least=1, most=1 << 40
    ),
) -> int:
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
    vocabulary, started = load_tokenizer(tokenizer), time.perf_counter()
    with progress_bar(unit="B") as bar:

        def progress(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        shards = write_shards(
            out, files, vocabulary, shard_bytes, overwrite, progress, documents=documents
        )
    source = shards.source
    print(
        f"{out}: {len(shards):,} tokens of {source['characters']:,} characters "
        f"({source['characters'] / len(shards):.2f} each), {shards.dtype.itemsize} bytes each\n"
        f"the text: {source['bytes']:,} bytes; documents: {source['documents']:,}"
    )
    seconds = time.perf_counter() - started
    print(f"{len(shards):,} tokens in {seconds:.1f} s: {len(shards) / seconds:,.0f} per second")
    return 0
