"""Read a model that another program wrote.

Make a run from an ARPA file or word vectors of word2vec or GloVe (gzip too), from a GGUF
file with a Llama, or from a folder with a GPT-2, a Llama, a Mamba or a BERT as Hugging Face's
transformers stores it (config.json, model.safetensors or several files with an index, and a
tokenizer).  For a Llama there may also be a Mistral, a Qwen 2 or 3, a SmolLM 3, a Gemma 3 (of text
alone) or a Phi 3, and for a BERT a DistilBERT, a RoBERTa, an MPNet or an ELECTRA, or a classifier
made from one of them.  For a folder of sentence-transformers, embed and similar use its pooling.

Other verbs also accept such a file or folder instead of a run, and read it in place.

examples:
  minillm import model.arpa.gz --out runs/words
  minillm import vectors.bin --out runs/vectors
  hf download gpt2 config.json model.safetensors tokenizer.json --local-dir gpt2
  minillm import gpt2 --out runs/gpt2
        hf, of the package huggingface_hub, makes the folder gpt2
  minillm import all-MiniLM-L6-v2 --out runs/sentences
  minillm import SmolLM2-135M-Instruct.Q4_1.gguf --out runs/smol
  minillm import adapter --init runs/gpt2 --out runs/adapted
        LoRA's updates of a GPT-2 or a BERT, as Hugging Face's PEFT stores them
"""

import argparse

from minillm.cli.arguments import ArgumentParser
from minillm.cli.options import add_option, add_out
from minillm.runs.conversion import import_file


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the file and the run."""
    parser.add_argument("file", metavar="FILE", help="the file or folder to read")
    add_out(parser)
    add_option(parser, "--init DIR", "the run that an adapter of PEFT updates")


def run(args: argparse.Namespace) -> int:
    """Read the file, then write the run."""
    print(import_file(args.file, args.out, args.overwrite, args.init))
    print(f"saved in {args.out}")
    return 0
