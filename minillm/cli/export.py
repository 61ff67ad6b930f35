"""``minillm export``: a model in the format that other programs read."""

import argparse
from typing import Any

from minillm.cli.arguments import add_run_folder


def add_parser(verbs: Any) -> None:
    """Declares the verb."""
    parser = verbs.add_parser(
        "export",
        help="write an n-gram model as ARPA, word vectors as word2vec does, a GPT or a BERT as "
        "Hugging Face does",
        description="""\
Write an n-gram model as an ARPA file, which SRILM and KenLM read; word vectors in the formats of
word2vec, which gensim reads; or a GPT of characters or byte pairs, or a BERT, as a folder that
Hugging Face's transformers loads.""",
        epilog="""\
examples:
  minillm export runs/words model.arpa
  minillm export runs/words model.arpa.gz
  minillm export runs/vectors vectors.txt
  minillm export runs/vectors vectors.bin --binary
  minillm export runs/gpt
        the folder runs/gpt/huggingface
  minillm export runs/gpt my-gpt2 --format huggingface
  minillm export runs/adapted my-adapter --format peft
""",
    )
    add_run_folder(parser, "a folder of ngram, word2vec, gpt, bert or classifier")
    parser.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        help="the file or new folder to be written (default: model.arpa, vectors.txt or "
        "huggingface in DIR)",
    )
    parser.add_argument(
        "--format",
        choices=("arpa", "word2vec", "huggingface", "peft"),
        help="in which format, where a kind of model has several: peft has the additions of "
        "--lora-rank alone, huggingface the model with them",
    )
    parser.add_argument(
        "--binary", action="store_true", help="word vectors in the binary format, not as text"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Writes the file or folder, and prints its name unless it is a stream."""
    from minillm.data.files import is_stream
    from minillm.runs.opening import load

    opened = load(args.run_folder, args.allow_nan)
    written = opened.export(args.file, args.format, binary=args.binary)
    if not is_stream(str(written)):
        print(written)
    return 0
