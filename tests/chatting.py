"""Tiny models of random weights that chat."""

import numpy as np

from minillm.formats.gguf import export_gguf
from minillm.models.gpt import GPT, GPTConfig
from minillm.models.llama import Llama, LlamaConfig
from minillm.runs.config import save_run
from minillm.runs.folder import RunFolder
from minillm.runs.kind import RunConfig, find_kind
from minillm.text import ChatTemplate, byte_pairs

SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TEXT = "system user assistant the cat sat on the mat and the dog sat on the log " * 3
TOKENIZER = byte_pairs.train([TEXT], 300, SPECIALS)
TEMPLATE = ChatTemplate("chatml")


def model(context=128, seed=0, scale=12.0):
    """A GPT whose next token is rather certain, and depends on all tokens before it."""
    config = GPTConfig(len(TOKENIZER), context=context, layers=2, heads=2, width=16)
    some = GPT(config, np.random.default_rng(seed))
    for name, array in some.params.items():
        if not name.endswith(("gain", "bias")):
            array *= scale
    return some


def save(path, some=None, kind="gpt", **sizes):
    """Make a run of such a model, or of another one, and return its folder."""
    some, found = some or model(**sizes), find_kind(kind)
    data = {"files": [], "documents": True, "imported": "x"}
    stored = RunConfig(found, some.config, found.settings(unit="bpe"), data)
    save_run(RunFolder(path), stored, some.params, {"tokenizer": TOKENIZER}, chat=TEMPLATE)
    return path


def write_gguf(path, seed=0, weights="Q8_0"):
    """A GGUF file of a Llama that chats."""
    sizes = {"heads": 2, "key_heads": 1, "width": 32, "feed_forward": 32}
    config = LlamaConfig(len(TOKENIZER), 128, 2, **sizes)
    export_gguf(Llama(config, np.random.default_rng(seed)), TOKENIZER, path, weights, TEMPLATE)
    return path


def user(content):
    return {"role": "user", "content": content}


def assistant(content):
    return {"role": "assistant", "content": content}


def system(content):
    return {"role": "system", "content": content}
