"""Which files of other programs are read, and how far our results are from theirs.

    python -m benchmarks.compatibility [--only shapes types ...] [--out docs/outputs]

Each row makes a random model, adapter, template or tokenizer with the other program, imports it,
and compares.  A difference is the largest one, as a share of the range of their numbers.  A row
whose libraries are not installed has dashes.  The libraries are transformers, peft,
sentence-transformers, tokenizers, sentencepiece, gguf and llama-cpp-python.
"""

import argparse
import importlib.metadata
import os
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import minillm
from minillm.data.python_texts import builtin_corpus
from minillm.decoding import Continuation, Sampling, write
from minillm.errors import InputError, one_line
from minillm.formats.format import Contents
from minillm.formats.gguf import write as write_gguf
from minillm.models.llama import Llama, LlamaConfig
from minillm.quantised.gguf import open_gguf
from minillm.quantised.matrix import dequantised
from minillm.runs.conversion import import_file
from minillm.text import (
    BytePairs,
    ChatTemplate,
    PublishedTokenizer,
    load_tokenizer,
    tokenizer_files,
)
from minillm.text.byte_pairs import train
from minillm.text.chat_template import KNOWN
from minillm.text.tokenizer_json import BYTE, CONTROL, NORMAL, sentence_pieces

LIBRARIES = (
    *("transformers", "peft", "sentence-transformers", "tokenizers", "sentencepiece"),
    *("gguf", "llama-cpp-python"),
)
T = 30  # tokens that are read
WRITTEN = 20  # tokens that are written
SHORT = 8  # tokens that llama.cpp reads: it has no window in a Mistral and a Phi-3
TEXTS = ("The statement returns a value.", "A list is a sequence.", "Why?", "zero or more of them")

Check = Callable[[Path], Sequence[Any]]  # the cells of a row; the folder is its own


class Group(NamedTuple):
    """Rows of one table: the name of each, and its check."""

    title: str
    heads: Sequence[str]
    rows: Iterator[tuple[str, Check]]


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--only", nargs="+", choices=GROUPS, default=list(GROUPS))
    options.add_argument("--out", type=Path)
    args = options.parse_args()
    warnings.simplefilter("ignore")
    command = "$ python -m benchmarks.compatibility"
    if args.only != list(GROUPS):
        command += f" --only {' '.join(args.only)}"
    lines = ["```console", command, "```", "", versions(), ""]
    for name in args.only:
        group = GROUPS[name]()
        lines += [f"**{group.title}**", "", row_of(group.heads), row_of(["---"] * len(group.heads))]
        for title, check in group.rows:
            lines.append(row_of([title, *cells_of(check, len(group.heads) - 1)]))
            print(lines[-1], flush=True)
        lines.append("")
    if args.out:
        (args.out / "compatibility.md").write_text("\n".join(lines))


def cells_of(check: Check, count: int) -> list[str]:
    """The cells of a row, or dashes where a library is missing, or the reason of a refusal."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MINILLM_CACHE"] = folder  # where minillm.load imports to
        found: list[Any] = []
        try:
            for cell in check(Path(folder)):
                found.append(cell)
        except ImportError:
            pass
        except InputError as error:
            found.append(f"refused: {one_line(error.args[0].rpartition('/')[2], 100)}")
    cells = [f"{cell:.1e}" if isinstance(cell, float) else str(cell) for cell in found]
    return cells + ["-"] * (count - len(cells))


def row_of(cells: Sequence[str]) -> str:
    """A line of a table."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def versions() -> str:
    """The libraries that are installed."""
    found = []
    for name in LIBRARIES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{name} {importlib.metadata.version(name)}")
    return f"Beside {', '.join(found) or 'nothing'}."


def difference(ours: NDArray, theirs: NDArray) -> float:
    """The largest difference, as a share of the range of theirs."""
    return float(np.abs(ours - theirs).max() / np.ptp(theirs))


def ids_below(V: int, length: int = T) -> NDArray[np.int64]:
    """Random ids (T,)."""
    return np.random.default_rng(3).integers(0, V, length)


def varied(model: Any) -> Any:
    """A model of PyTorch in which no gain is one, no bias is zero and no branch negligible.

    Constant weights, such as those below an adapter, stay as they are.
    """
    import torch

    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.2 * torch.randn_like(parameter)
    return model.eval()


def their_logits(model: Any, ids: NDArray) -> NDArray:
    """The logits (T, V) of a model of transformers."""
    import torch

    with torch.no_grad():
        return model(torch.from_numpy(ids[None])).logits[0].numpy()


@cache
def llama_cpp_quietly() -> tuple[Any, Any]:
    """The module llama_cpp, and the function that drops its lines, which has to be kept."""
    import llama_cpp

    quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(quiet, None)
    return llama_cpp, quiet


def in_llama_cpp(path: Path, ids: NDArray) -> NDArray:
    """The logits (T, V) of llama.cpp, with a cache in float32."""
    llama_cpp, _ = llama_cpp_quietly()
    options: dict[str, Any] = {"type_k": 0, "type_v": 0, "flash_attn": False, "verbose": False}
    model = llama_cpp.Llama(str(path), n_ctx=64, n_batch=64, logits_all=True, **options)
    model.eval(ids.tolist())
    return np.array(model.scores[: len(ids)])


# --- shapes ----------------------------------------------------------------------------------

BYTES = train(["she sells sea shells by the sea shore\n"], 262)
SIZES = {
    "vocab_size": len(BYTES), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 7,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
    "bos_token_id": None, "eos_token_id": None, "pad_token_id": None,
}  # fmt: skip
OF_GPT2 = {
    "vocab_size": len(BYTES), "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64,
    "bos_token_id": None, "eos_token_id": None,
}  # fmt: skip
OF_MAMBA = {
    "vocab_size": len(BYTES), "hidden_size": 32, "num_hidden_layers": 3, "bos_token_id": None,
    "eos_token_id": None, "pad_token_id": None,
}  # fmt: skip
ANGLES = {"rope_theta": 5e5, "original_max_position_embeddings": 16}


def scaled(kind: str, **values: Any) -> dict[str, Any]:
    """Rotary angles that are scaled."""
    return {"rope_parameters": {"rope_type": kind, "factor": 4.0, **ANGLES, **values}}


# A name, the class in transformers before "Config" and "ForCausalLM", and entries of the config.
SHAPES: list[tuple[str, str, dict[str, Any]]] = [
    ("GPT-2", "GPT2", OF_GPT2),
    ("GPT-2, padded to 320 rows", "GPT2", OF_GPT2 | {"vocab_size": 320}),
    ("Llama", "Llama", {}),
    ("Llama, tied, one head of keys", "Llama", {"tie_word_embeddings": True}
     | {"num_key_value_heads": 1}),
    ("Llama, padded to 320 rows", "Llama", {"vocab_size": 320}),
    ("Llama 3.1", "Llama", scaled("llama3", low_freq_factor=1.0, high_freq_factor=4.0)
     | {"original_max_position_embeddings": 8192}),
    ("Llama, linear angles", "Llama", scaled("linear")),
    ("Llama, YaRN", "Llama", scaled("yarn")),
    ("Mistral", "Mistral", {"sliding_window": 8}),
    ("Qwen 2", "Qwen2", {"tie_word_embeddings": True}),
    ("Qwen 3", "Qwen3", {"head_dim": 12}),
    ("SmolLM 3", "SmolLM3", {"no_rope_layer_interval": 4}),
    ("Gemma 3", "Gemma3Text", {"head_dim": 12, "sliding_window": 8, "sliding_window_pattern": 3}
     | {"query_pre_attn_scalar": 12}),
    ("Phi-3", "Phi3", {"sliding_window": 9}),
    ("Mamba", "Mamba", OF_MAMBA),
    ("Mamba, untied, padded to 320 rows", "Mamba", OF_MAMBA | {"vocab_size": 320}
     | {"tie_word_embeddings": False}),
]  # fmt: skip


def shapes() -> Group:
    """Folders of transformers, both ways, and GGUF files of the same models in llama.cpp."""
    heads = ("model", "read", "greedy tokens", "written", "GGUF, read again", "in llama.cpp")
    rows = ((name, shape(family, entries)) for name, family, entries in SHAPES)
    return Group("Shapes, with random weights: logits beside transformers", heads, rows)


def random_model(family: str, entries: Mapping[str, Any], folder: Path) -> Any:
    """A random model of transformers, saved in a folder with a tokenizer."""
    import transformers

    sizes = {} if family in ("GPT2", "Mamba") else SIZES
    config = getattr(transformers, f"{family}Config")(**{**sizes, **entries})
    model = varied(transformers.AutoModelForCausalLM.from_config(config))
    model.save_pretrained(folder)
    for name, content in tokenizer_files(BYTES).items():
        (folder / name).write_bytes(content)
    return model


def shape(family: str, entries: Mapping[str, Any]) -> Check:
    """The row of a shape."""

    def check(folder: Path) -> Iterator[Any]:
        import torch
        import transformers

        theirs, ids = random_model(family, entries, folder / "theirs"), ids_below(len(BYTES))
        expected = their_logits(theirs, ids)
        run = minillm.load(folder / "theirs")
        if family == "Mamba":
            (ours, _), _ = run.model.forward(ids[None], run.model.zero_state(1))
        else:
            ours, _ = run.model.forward(ids[None])
        yield difference(ours[0], expected)
        expected_ids = theirs.generate(
            torch.from_numpy(ids[None]), do_sample=False, max_new_tokens=WRITTEN
        )[0, T:].tolist()
        text = Continuation(ids.tolist(), WRITTEN, Sampling(temperature=0))
        found = list(write(run.model, text))
        yield f"{sum(map(int.__eq__, found, expected_ids))} of {WRITTEN}"
        run.export(folder / "ours", format="huggingface")
        again = transformers.AutoModelForCausalLM.from_pretrained(folder / "ours", dtype="float32")
        yield difference(their_logits(again.eval(), ids), expected)
        if family in ("GPT2", "Mamba"):
            return
        file = folder / "ours.gguf"
        run.export(file)
        yield difference(minillm.load(file).model.forward(ids[None])[0][0], ours)
        yield difference(in_llama_cpp(file, ids[:SHORT]), ours[:SHORT])

    return check


# --- encoders ----------------------------------------------------------------------------------

ENCODERS = {
    "bert": "Bert",
    "distilbert": "DistilBert",
    "roberta": "Roberta",
    "mpnet": "MPNet",
    "electra": "Electra",
}


def encoders() -> Group:
    """Sentence encoders of sentence-transformers."""
    rows = (
        (f"{name}, {pooling}", encoder(name, pooling))
        for name in ENCODERS
        for pooling in ("mean", "cls")
    )
    title = "Sentence encoders, with random weights: vectors beside sentence-transformers"
    return Group(title, ("encoder and pooling", "read", "written"), rows)


def encoder(family: str, pooling: str) -> Check:
    """The row of an encoder."""

    def check(folder: Path) -> Iterator[Any]:
        import sentence_transformers
        import transformers
        from sentence_transformers.sentence_transformer import modules

        random_encoder(family, folder, transformers.AutoModel)
        inner = modules.Transformer(str(folder / "model"), max_seq_length=32)
        steps = [inner, modules.Pooling(32, pooling_mode=pooling), modules.Normalize()]
        theirs = sentence_transformers.SentenceTransformer(modules=steps, device="cpu")
        theirs.save(str(folder / "theirs"))
        expected = theirs.encode(list(TEXTS))
        run = minillm.load(folder / "theirs")
        yield difference(run.embed(list(TEXTS)), expected)
        run.export(folder / "ours", format="huggingface")
        again = sentence_transformers.SentenceTransformer(str(folder / "ours"), device="cpu")
        yield difference(again.encode(list(TEXTS)), expected)

    return check


def random_encoder(family: str, folder: Path, Model: Any, **entries: Any) -> tuple[Any, Any]:
    """A random model of transformers and its tokenizer, which are saved in folder/model."""
    import transformers

    tokenizer = tokenizer_of_encoder(family, folder)
    sizes = {"vocab_size": len(tokenizer), "hidden_size": 32, "num_attention_heads": 4}
    sizes |= {"num_hidden_layers": 3, "max_position_embeddings": 66, "intermediate_size": 48}
    if family == "distilbert":
        sizes = {"vocab_size": len(tokenizer), "dim": 32, "n_heads": 4, "n_layers": 3}
        sizes |= {"hidden_dim": 48, "max_position_embeddings": 66}
    entries["pad_token_id"] = tokenizer.pad_token_id
    config = getattr(transformers, f"{ENCODERS[family]}Config")(**sizes, **entries)
    model = varied(Model.from_config(config))
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return model, tokenizer


def classifiers() -> Group:
    """Classifiers of transformers."""
    rows = ((name, classifier(name)) for name in ENCODERS)
    title = "Classifiers, with random weights: probabilities beside transformers"
    return Group(title, ("encoder", "largest difference", "labels"), rows)


def classifier(family: str) -> Check:
    """The row of a classifier; the difference is no share."""

    def check(folder: Path) -> Iterator[Any]:
        import torch
        import transformers

        names = {0: "bad", 1: "so so", 2: "good"}
        Model = transformers.AutoModelForSequenceClassification
        theirs, tokenizer = random_encoder(family, folder, Model, id2label=names)
        with torch.no_grad():
            inputs = tokenizer(list(TEXTS), padding=True, return_tensors="pt")
            expected = theirs(**inputs).logits.softmax(axis=1).numpy()
        found = minillm.load(folder / "model").classify(list(TEXTS))
        ours = np.array([[one.probabilities[name] for name in names.values()] for one in found])
        yield float(np.abs(ours - expected).max())
        labels = [names[at] for at in expected.argmax(axis=1).tolist()]
        yield f"{sum(map(str.__eq__, (one.label for one in found), labels))} of {len(TEXTS)}"

    return check


def tokenizer_of_encoder(family: str, folder: Path) -> Any:
    """A tokenizer of transformers: byte pairs of a RoBERTa, or pieces of words."""
    import tokenizers
    import transformers

    lines = builtin_corpus()[:100_000].splitlines()
    if family == "roberta":
        specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
        made = tokenizers.ByteLevelBPETokenizer()
        made.train_from_iterator(lines, 500, special_tokens=specials, show_progress=False)
        made.save_model(str(folder))
        return transformers.RobertaTokenizer.from_pretrained(str(folder))
    frame = ["<s>", "<pad>", "</s>", "[UNK]"] if family == "mpnet" else ["[PAD]", "[UNK]"]
    frame += ["<mask>"] if family == "mpnet" else ["[CLS]", "[SEP]", "[MASK]"]
    pieces = tokenizers.BertWordPieceTokenizer(unk_token="[UNK]")
    pieces.train_from_iterator(lines, 500, special_tokens=frame, show_progress=False)
    pieces.save_model(str(folder))
    return getattr(transformers, f"{ENCODERS[family]}Tokenizer").from_pretrained(str(folder))


# --- types of GGUF files -----------------------------------------------------------------------

TYPES = (
    *("F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M"),
    *("Q2_K", "IQ4_NL", "IQ4_XS"),
)
WIDTHS = (256, 288)  # a multiple of 256, and none, for which llama.cpp takes other types


def types() -> Group:
    """GGUF files that llama.cpp's own quantiser makes."""
    heads = ("file", "types in it", "values beside gguf", "logits beside exact ones",
             "llama.cpp's beside exact ones")  # fmt: skip
    rows = ((f"{name}, {width} wide", quantised(name, width)) for name in TYPES for width in WIDTHS)
    return Group("Types of GGUF files, made by llama.cpp", heads, rows)


def quantised(name: str, width: int) -> Check:
    """The row of a type: the values are the largest difference itself, not a share."""

    def check(folder: Path) -> Iterator[Any]:
        import gguf

        llama_cpp, _ = llama_cpp_quietly()
        config = LlamaConfig(len(BYTES), 64, 2, 4, 2, width=width, feed_forward=2 * width)
        model, source, file = Llama(config, np.random.default_rng(0)), folder / "f32", folder / name
        write_gguf(Contents(model, BYTES), source)
        params = llama_cpp.llama_model_quantize_default_params()
        params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{name}")
        llama_cpp.llama_model_quantize(str(source).encode(), str(file).encode(), params)
        reader, (_, tensors) = gguf.GGUFReader(str(file)), open_gguf(file)
        run = minillm.load(file)
        kinds = Counter(tensor.type for tensor in tensors.values() if len(tensor.shape) == 2)
        yield ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        yield max(
            float(np.abs(tensors[one.name].read() - values.reshape(tensors[one.name].shape)).max())
            for one in reader.tensors
            for values in [gguf.quants.dequantize(one.data, one.tensor_type)]
        )
        ids = ids_below(len(BYTES))
        exact = dequantised(run.model).forward(ids[None])[0][0]
        yield difference(run.model.forward(ids[None])[0][0], exact)
        yield difference(in_llama_cpp(file, ids), exact)

    return check


# --- adapters ----------------------------------------------------------------------------------

OF_LLAMA, OF_QWEN = ["q_proj", "v_proj", "down_proj"], "all-linear"
ADAPTERS: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("Llama: LoRA", "Llama", {}, {}),
    ("Llama: rsLoRA", "Llama", {}, {"use_rslora": True}),
    ("Llama: ranks and alphas by a pattern", "Llama", {}, {"rank_pattern": {"q_proj": 3}}
     | {"alpha_pattern": {r".*\.1\..*v_proj": 9}}),
    ("Llama: norms and embeddings saved", "Llama", {},
     {"modules_to_save": ["norm", "lm_head", "embed_tokens"]}),
    ("Llama: the output", "Llama", {}, {"target_modules": ["q_proj", "lm_head"]}),
    ("Qwen 2: all layers, biases", "Qwen2", {}, {"target_modules": OF_QWEN, "bias": "all"}),
    ("Phi-3", "Phi3", {}, {"target_modules": ["qkv_proj", "gate_up_proj"]}),
    ("Gemma 3", "Gemma3Text", {"head_dim": 12, "query_pre_attn_scalar": 12},
     {"target_modules": OF_QWEN}),
    ("GPT-2", "GPT2", OF_GPT2, {"target_modules": ["c_attn", "c_fc"], "fan_in_fan_out": True}),
    ("GPT-2: biases, a norm saved", "GPT2", OF_GPT2, {"target_modules": ["c_attn"], "bias": "all"}
     | {"modules_to_save": ["ln_f"], "fan_in_fan_out": True}),
]  # fmt: skip


def adapters() -> Group:
    """Adapters of PEFT, both ways."""
    rows = ((name, adapter(*of_row)) for name, *of_row in ADAPTERS)
    title = "Adapters of PEFT, with random weights: logits beside PEFT"
    return Group(title, ("adapter", "read", "written"), rows)


def adapter(family: str, entries: Mapping[str, Any], values: Mapping[str, Any]) -> Check:
    """The row of an adapter."""

    def check(folder: Path) -> Iterator[Any]:
        import peft
        import transformers

        base, ids = random_model(family, entries, folder / "base"), ids_below(len(BYTES))
        config = peft.LoraConfig(**{"r": 2, "lora_alpha": 5, "target_modules": OF_LLAMA, **values})
        theirs = varied(peft.get_peft_model(base, config))
        theirs.save_pretrained(folder / "adapter")
        expected = their_logits(theirs, ids)
        import_file(str(folder / "base"), folder / "run")
        import_file(str(folder / "adapter"), folder / "adapted", init=str(folder / "run"))
        run = minillm.load(folder / "adapted")
        yield difference(run.model.forward(ids[None])[0][0], expected)
        run.export(folder / "ours", format="peft")
        base = transformers.AutoModelForCausalLM.from_pretrained(folder / "base", dtype="float32")
        again = peft.PeftModel.from_pretrained(base, folder / "ours").eval()
        yield difference(their_logits(again, ids), expected)

    return check


# --- chat templates ----------------------------------------------------------------------------

TURNS = "{% for m in messages %}"
TEMPLATES = {**KNOWN} | {
    "[INST]": "{{ bos_token }}" + TURNS + "{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] "
    "+ ' [/INST]' }}{% else %}{{ m['content'] + eos_token }}{% endif %}{% endfor %}",
    "turns of Gemma": "{{ bos_token }}" + TURNS + "{{ '<start_of_turn>' + ('model' if m.role == "
    "'assistant' else m.role) + '\n' + m.content | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
    "reasoning left out": TURNS + "{% if '</think>' in m.content %}{{ m.content.split('</think>')"
    "[-1].lstrip('\n') }}{% else %}{{ m.content }}{% endif %}<|im_end|>{% endfor %}",
    "macros and namespaces": "{% macro turn(m) %}{{ m.role | upper }}: {{ m.content }}\n"
    "{% endmacro %}{% set n = namespace(count=0) %}" + TURNS + "{% set n.count = n.count + 1 %}"
    "{{ n.count }} {{ turn(m) }}{% endfor %}",
    "tools that are absent": "{% if tools is not none %}TOOLS{% endif %}" + TURNS
    + "{{ m.content }}{% endfor %}",
    "generation": TURNS + "{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
}  # fmt: skip
CONVERSATIONS = [
    [("user", "Why?")],
    [("system", "Be short."), ("user", " Why? ")],
    [("user", "1 + 1?"), ("assistant", "<think>\nEasy.\n</think>\n\n2."), ("user", "And <b>?\n")],
]


def templates() -> Group:
    """Chat templates, beside transformers."""
    rows = ((name, template(source)) for name, source in TEMPLATES.items())
    return Group("Chat templates: texts beside transformers", ("template", "equal"), rows)


def template(source: str) -> Check:
    """The row of a template."""

    def check(folder: Path) -> Iterator[Any]:
        import transformers

        for name, content in tokenizer_files(BytePairs([], ["<s>", "</s>"])).items():
            (folder / name).write_bytes(content)
        names = {"bos_token": "<s>", "eos_token": "</s>"}
        theirs = transformers.PreTrainedTokenizerFast.from_pretrained(folder, **names)
        ours, equal, every = ChatTemplate(source, "<s>", "</s>"), 0, 0
        for conversation in CONVERSATIONS:
            messages = [{"role": role, "content": content} for role, content in conversation]
            for prompt in (True, False):
                expected = theirs.apply_chat_template(
                    messages, chat_template=source, add_generation_prompt=prompt, tokenize=False
                )
                equal += ours.text(messages, prompt) == expected
                every += 1
        yield f"{equal} of {every}"

    return check


# --- tokenizers --------------------------------------------------------------------------------

HOSTILE = ["  two  spaces ", "Zürich 1234567 don't", "日本語 and ไทย", "👍🏽 e\u0301\t\u00a0x", ""]
LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def tokenizers() -> Group:
    """Tokenizers that other programs have trained."""
    rows = iter({
        "byte pairs of GPT-2": trained_tokenizer(None),
        "byte pairs of Llama 3": trained_tokenizer(LLAMA_3),
        "byte pairs of Qwen 2": trained_tokenizer(LLAMA_3.replace("{1,3}", "")),
        "pieces of BERT": wordpieces,
        "SentencePiece, byte pairs with bytes": sentencepiece,
    }.items())  # fmt: skip
    title = "Tokenizers, trained by others: ids of lines that are equal"
    return Group(title, ("tokenizer", "equal"), rows)


def equal_lines(ours: Any, ids_of: Callable[[str], list[int]]) -> str:
    """The number of lines with equal ids."""
    lines = [*builtin_corpus()[-40_000:].splitlines(), *HOSTILE]
    equal = sum(ours.encode(line).tolist() == ids_of(line) for line in lines)
    return f"{equal:,} of {len(lines):,}"


def trained_tokenizer(pattern: str | None) -> Check:
    """The row of byte pairs; None: with the words of GPT-2."""

    def check(folder: Path) -> Iterator[Any]:
        import tokenizers as library
        from tokenizers import decoders, models, pre_tokenizers, trainers

        made = library.Tokenizer(models.BPE())
        level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)
        made.pre_tokenizer = level
        if pattern:
            split = pre_tokenizers.Split(library.Regex(pattern), "isolated")
            made.pre_tokenizer = pre_tokenizers.Sequence([split, level])
        made.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=600,
            special_tokens=["<s>"],
            initial_alphabet=level.alphabet(),
            show_progress=False,
        )
        made.train_from_iterator(builtin_corpus()[:200_000].splitlines(), trainer)
        made.save(str(folder / "tokenizer.json"))
        yield equal_lines(load_tokenizer(folder), lambda text: made.encode(text).ids)

    return check


def wordpieces(folder: Path) -> Iterator[Any]:
    """The row of BERT's pieces of words."""
    made = tokenizer_of_encoder("bert", folder)
    made.save_pretrained(folder / "theirs")
    ours = load_tokenizer(folder / "theirs")
    yield equal_lines(ours, lambda text: made(text, add_special_tokens=False)["input_ids"])


def sentencepiece(folder: Path) -> Iterator[Any]:
    """The row of a tokenizer of SentencePiece, from the tokens that a GGUF file has."""
    import sentencepiece as library

    (folder / "text").write_text(builtin_corpus()[:200_000])
    library.SentencePieceTrainer.train(
        input=str(folder / "text"),
        model_prefix=str(folder / "tokenizer"),
        model_type="bpe",
        vocab_size=800,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    made = library.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    numbers = range(made.get_piece_size())
    special, in_bytes = ([is_one(n) for n in numbers] for is_one in (made.is_control, made.is_byte))
    ours = PublishedTokenizer(
        sentence_pieces(
            [made.id_to_piece(n) for n in numbers],
            [made.get_score(n) for n in numbers],
            [CONTROL if special[n] else BYTE if in_bytes[n] else NORMAL for n in numbers],
        )
    )
    yield equal_lines(ours, lambda text: made.encode(text))


GROUPS: dict[str, Callable[[], Group]] = {
    "shapes": shapes,
    "encoders": encoders,
    "classifiers": classifiers,
    "types": types,
    "adapters": adapters,
    "templates": templates,
    "tokenizers": tokenizers,
}

if __name__ == "__main__":
    main()
