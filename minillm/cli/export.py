"""Write a model in the format of another program.

An n-gram model becomes an ARPA file, which SRILM and KenLM read; word vectors the format of
word2vec, which gensim reads; a GPT, a Llama or a Mamba of byte pairs, or a BERT, a folder that
Hugging Face's transformers loads; a Llama also a GGUF file, which llama.cpp loads.  A decoder of
Llama (Mistral, Qwen, SmolLM, Gemma, Phi) is written as a Llama is, in the form of its family.

examples:
  minillm export runs/words model.arpa
  minillm export runs/words model.arpa.gz
  minillm export runs/vectors vectors.txt
  minillm export runs/gpt
        the folder runs/gpt/huggingface
  minillm export runs/gpt my-gpt2 --format huggingface
  minillm export runs/adapted my-adapter --format peft
  minillm export runs/llama llama.gguf
        minillm quantise before it makes a smaller file
"""

import argparse

from minillm.cli.arguments import ArgumentParser
from minillm.cli.options import add_run
from minillm.formats.format import formats
from minillm.runs.load import load


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the file and its format."""
    add_run(
        parser,
        "a run of ngram, word2vec, gpt, llama, decoder, mamba, chat, bert or encoder, or one "
        "fine-tuned from these",
    )
    parser.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        help="the file or new folder (default: model.arpa, vectors.txt or huggingface in DIR)",
    )
    parser.add_argument(
        "--format",
        choices=sorted({one.name for one in formats()}),
        help="the format, if a kind of model has several: peft has only LoRA's updates, "
        "huggingface the model with them, gguf the file that llama.cpp reads (the default for a "
        "name that ends with .gguf)",
    )


def run(args: argparse.Namespace) -> int:
    """Write the file or folder, and print its name unless it is a stream."""
    print(load(args.run_folder).export(args.file, args.format))
    return 0
