"""``minillm import``: a model that another program wrote."""

import argparse
from typing import Any


def add_parser(verbs: Any) -> None:
    """Declares the verb."""
    parser = verbs.add_parser(
        "import",
        help="read an ARPA file, word vectors in word2vec's format, a GPT-2 or a BERT of Hugging "
        "Face",
        description="""\
Make a run of an ARPA file (gzip too), of word vectors in one of word2vec's formats, or of a folder
with a GPT-2 or a BERT as Hugging Face's transformers stores it (config.json, model.safetensors or
several files with an index, and a tokenizer), for generate, eval, fill, embed, similar, analogy,
plot and export.  Of a folder of sentence-transformers, embed and similar pool as it says.""",
        epilog="""\
examples:
  minillm import model.arpa.gz --out runs/words
  minillm import vectors.bin --out runs/vectors
  minillm import gpt2 --out runs/gpt2
  minillm import all-MiniLM-L6-v2 --out runs/sentences
  minillm import adapter --init runs/gpt2 --out runs/adapted
        LoRA's additions to a GPT-2 or a BERT, as Hugging Face's PEFT stores them
""",
    )
    parser.add_argument("file", metavar="FILE", help="the file or folder to be read")
    parser.add_argument("--out", required=True, metavar="DIR", help="the folder to be made")
    parser.add_argument(
        "--init", metavar="DIR", help="the run that an adapter of PEFT has additions to"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the run in DIR")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Reads the file, then writes the run."""
    from minillm.runs.exchange import import_file

    print(import_file(args.file, args.out, args.overwrite, args.init))
    print(f"saved in {args.out}")
    return 0
