"""A Transformer that predicts the next token: GPT (2018)."""

from minillm.models.gpt import GPT, GPTConfig
from minillm.runs.kinds._causal import CausalKind, CausalSettings


class GPTKind(CausalKind):
    """A stack of Transformer blocks over characters, words or byte pairs."""

    name = "gpt"
    description = """\
Train a GPT: it reads a text, attends to all tokens before each, and learns to predict the next.
The last tenth of the text is held out, to measure the model on text that it has not seen."""
    examples = """\
  minillm train gpt --out runs/gpt --minutes 5
        on the Python language reference, which ships with every CPython
  minillm train gpt shakespeare.txt --out runs/shakespeare --layers 6 --width 192 --heads 6
        on a text of your own, over characters
  minillm train gpt python-source --out runs/source --context 256 --batch 16
        on the source of Python's standard library
  minillm tokenize big.txt --out corpus --tokenizer runs/tokenizer
  minillm train gpt corpus --out runs/big --minutes 600
        on a text larger than memory
  minillm train gpt my_text.txt --init runs/gpt --out runs/adapted
        from one text to another, with the tokenizer of the first

then: minillm generate DIR, minillm eval DIR, minillm plot attention DIR "a text\""""
    model = GPT
    config = GPTConfig
    settings = CausalSettings
