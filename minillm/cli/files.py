"""Models of other programs, and runs in other forms: read, write, merge, quantise."""

from dataclasses import MISSING

from minillm.cli.arguments import OUT, OVERWRITE, argument, run_argument
from minillm.formats.format import formats
from minillm.option import option
from minillm.quantised.blocks import WRITTEN
from minillm.runs.conversion import import_file
from minillm.runs.conversion import merge as merge_run
from minillm.runs.conversion import quantise as quantise_run
from minillm.runs.load import load

FORMATS = tuple(sorted({one.name for one in formats()}))
TYPES = tuple(name.lower() for name in WRITTEN)


def import_(
    file: str = argument("the file or folder to read", "FILE"),
    out: str = OUT,
    overwrite: bool = OVERWRITE,
    init: str | None = option(None, "the run that an adapter of PEFT updates", "DIR"),
) -> int:
    """Read a model that another program wrote.

    Make a run from an ARPA file or word vectors of word2vec or GloVe (gzip too), from a GGUF file
    with a Llama, or from a folder with a GPT-2, a Llama, a Mamba or a BERT as Hugging Face's
    transformers stores it (config.json, model.safetensors or several files with an index, and a
    tokenizer).  For a Llama there may also be a Mistral, a Qwen 2 or 3, a SmolLM 3, a Gemma 3 (of
    text alone) or a Phi 3, and for a BERT a DistilBERT, a RoBERTa, an MPNet or an ELECTRA, or a
    classifier made from one of them.  For a folder of sentence-transformers, embed and similar use
    its pooling.

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
    return _saved(import_file(file, out, overwrite, init), out)


def export(
    run_folder: str = run_argument(
        "a run of ngram, word2vec, gpt, llama, decoder, mamba, chat, bert or encoder, or one "
        "fine-tuned from these"
    ),
    file: str | None = argument(
        "the file or new folder (default: model.arpa, vectors.txt or huggingface in DIR)",
        "FILE",
        None,
    ),
    format: str | None = option(  # noqa: A002
        None,
        "the format, if a kind of model has several: peft has only LoRA's updates, huggingface "
        "the model with them, gguf the file that llama.cpp reads (for a name that ends with "
        ".gguf)",
        choices=FORMATS,
    ),
) -> int:
    """Write a model in the format of another program.

    An n-gram model becomes an ARPA file, which SRILM and KenLM read; word vectors the format of
    word2vec, which gensim reads; a GPT, a Llama or a Mamba of byte pairs, or a BERT, a folder that
    Hugging Face's transformers loads; a Llama also a GGUF file, which llama.cpp loads.  A decoder
    of Llama (Mistral, Qwen, SmolLM, Gemma, Phi) is written as a Llama is, in the form of its
    family.

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
    print(load(run_folder).export(file, format))
    return 0


def merge(
    run_folder: str = run_argument("a run with --lora-rank"),
    out: str = OUT,
    overwrite: bool = OVERWRITE,
) -> int:
    """Merge LoRA's updates into the weights that they update.

    Make a run with the weights of a base model plus the updates of a run of finetune --lora-rank.
    It needs neither of these two runs.  Every other verb merges the updates in memory.

    If the base model is quantised, such as a published GGUF file, the new weights are q8_0, 8.5
    bits each.  Rounding to 4 bits would lose most of the progress of a short training.  For another
    type, such as f16, use minillm quantise instead of merge.

    examples:
      minillm finetune runs/sentences questions.tsv --lora-rank 8 --out runs/small
      minillm merge runs/small --out runs/whole
      minillm quantise runs/my-chat --to f16 --out runs/whole
            the same in 16 bits for each weight
    """
    return _saved(merge_run(run_folder, out, overwrite), out)


def quantise(
    run_folder: str = run_argument("the folder of a run of llama"),
    to: str = option(MISSING, "the type of the weights", "TYPE", choices=TYPES),
    out: str = OUT,
    overwrite: bool = OVERWRITE,
) -> int:
    """Store the weights of a Llama in fewer bits.

    Make a run whose matrices are blocks of small integers with scales, as llama.cpp has them.  Such
    a model takes less memory, and writes faster.  It cannot be trained.  With --to f32 the weights
    are floats again.

      q8_0         8.5 bits for each weight
      q6_k         6.6 bits
      q5_0, q5_k   5.5 bits
      q4_1         5 bits
      q4_0, q4_k   4.5 bits

    A matrix whose rows are not a multiple of 256 weights has q5_0 in place of q4_k, and q8_0 in
    place of q5_k and q6_k.  Files of other programs may have further types, which are read: q5_1,
    q3_k, q2_k, iq4_nl and iq4_xs.

    examples:
      minillm quantise runs/llama --to q8_0 --out runs/small
      minillm quantise runs/smol --to f32 --out runs/floats
            an imported model, to fine-tune it
    """
    return _saved(quantise_run(run_folder, to.upper(), out, overwrite), out)


def _saved(report: str, out: str) -> int:
    """Print what was made, and where: -> the exit status."""
    print(f"{report}\nsaved in {out}")
    return 0
