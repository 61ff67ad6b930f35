"""The folders in which Hugging Face's library transformers stores a model:

    config.json           the kind of model ("model_type"), and its sizes
    model.safetensors     the weights; or several files: see minillm/formats/folder.py
    tokenizer.json        or other files of a tokenizer: see minillm/text/tokenizer_files.py

A row of :mod:`minillm.formats.decoders` or :mod:`minillm.formats.encoders` says, for each kind of
model, where its sizes and its weights are.
"""

import json
import re
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.data.entries import Entries, in_file
from minillm.data.files import LARGEST_JSON, read_all, read_json, reading
from minillm.errors import InputError, short
from minillm.formats import decoders, encoders
from minillm.formats.folder import (
    entries_of,
    json_file,
    open_weights,
    read_params,
    write_folder,
)
from minillm.formats.format import Contents, Format
from minillm.formats.layout import (
    Layout,
    config_of,
    encoder_config,
    model_of,
    plain,
    stored,
    tied,
    weights,
)
from minillm.formats.layout import entries_of as config_entries
from minillm.formats.sentences import Sentences, read_sentences, sentence_files
from minillm.formats.tensors import Tensor
from minillm.formats.weights import check_tensors
from minillm.models.fine_tuned import FineTuned, FineTunedConfig
from minillm.quantised.matrix import dense
from minillm.text import (
    ByteTokens,
    ChatTemplate,
    PublishedTokenizer,
    Vocabulary,
    WordPieces,
    load_tokenizer,
    tokenizer_files,
    tokenizer_json,
)

CHAT_TEMPLATE = "chat_template.jinja"
GENERATION = "generation_config.json"
SAMPLING = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")  # ours, and theirs
BOS, EOS = "<s>", "</s>"  # of encoders whose tokens are bytes

LAYOUTS = (*decoders.LAYOUTS, *encoders.LAYOUTS)


def layout_of(model: Any) -> Layout | None:
    """The layout of a model, or of a classifier with it; None if transformers has no such model."""
    config = encoder_config(getattr(model, "config", None))
    for layout in LAYOUTS:
        same = layout.config is type(config) and layout.family == getattr(config, "family", "")
        if same and type(model) is layout.model:
            return layout
        if same and isinstance(model, FineTuned) and encoders.fits(layout, model.config):
            return layout
    return None


# --- reading -------------------------------------------------------------------------------------


def read(path: str | Path) -> Contents:
    """The model in float32, its tokenizer, and its chat template if there is one.

    Each weight is read from the file into its place, so memory holds only one copy of the model.
    ``facts`` are an encoder's settings for vectors of texts, or a classifier's labels.  InputError
    names the file, and the first entry or tensor that is missing, damaged or not supported.
    """
    folder = Path(path)
    file = Entries(folder / "config.json", read_json(folder / "config.json"))
    layouts = {layout.model_type: layout for layout in LAYOUTS}
    kind = file.values.get("model_type")
    if not isinstance(kind, str) or kind not in layouts:
        raise file.wrong("model_type", " or ".join(map(repr, layouts)))
    layout = layouts[kind]
    tensors = _open_weights(layout, folder)
    names = file.values.get("architectures")
    labelled = not layout.causal and isinstance(names, list) and layout.classes[-1] in names
    encoder = config_of(layout, file, {} if labelled else tensors)
    config = encoders.classifier_of(layout, encoder, file) if labelled else encoder
    tokenizer = read_tokenizer(layout, folder)
    if isinstance(tokenizer, PublishedTokenizer):
        with suppress(ValueError):  # Gemma 3 has a token for images, which has no row
            tokenizer = tokenizer.cut(encoder.vocabulary)
    if len(tokenizer) > encoder.vocabulary:
        raise InputError(
            f"{folder}: config.json says vocab_size {encoder.vocabulary:,}, "
            f"but the tokenizer has {len(tokenizer):,} tokens"
        )
    chat, facts = None, dict[str, Any]()
    if layout.causal:
        template, sampling = read_chat_template(folder), read_sampling(folder)
        chat = ChatTemplate.of(template, tokenizer, sampling)
    else:
        sentences = read_sentences(folder, encoder.width, encoder.context)
        facts = asdict(sentences)
        if labelled:
            facts = {"labels": encoders.labels_of(file), "longest": sentences.longest}
    params = _read_weights(folder, layout, config, tensors, file)
    return Contents(model_of(layout, config)(config, params=params), tokenizer, chat, facts)


def _open_weights(layout: Layout, folder: Path) -> dict[str, Tensor]:
    """The tensors of a folder by their plain names, none of them read yet."""
    tensors = dict[str, Tensor]()
    for name, tensor in open_weights(folder).items():
        if plain(layout, name) in tensors:
            raise InputError(f"{tensor.path}: it has {short(plain(layout, name))} under two names")
        tensors[plain(layout, name)] = tensor
    return tensors


def _read_weights(
    folder: Path, layout: Layout, config: Any, tensors: dict[str, Tensor], file: Entries
) -> dict[str, NDArray]:
    """The parameters, in float32; every tensor is checked before any is read.

    A tied tensor may have either name, or both if the numbers are the same.
    """
    second = tied(layout, config)
    for other, (first, _) in second.items():
        if other in tensors:
            tensors.setdefault(first, tensors[other])
        elif file.values.get("tie_word_embeddings") is False and other == layout.output:
            raise InputError(f"{folder}: the tensor {other} is missing from the weights")
    known = list(weights(layout, config))
    check_tensors(folder, tensors, known, "|".join([layout.ignored, *map(re.escape, second)]))
    params = read_params(tensors, known)
    for other, (first, ours) in second.items():
        if other in tensors and not np.array_equal(tensors[other].read(), params[ours]):
            raise InputError(
                f"{tensors[other].path}: {other}: expected the weights of {first}, found "
                "others: an output that is not tied to the embedding cannot be run"
            )
    for name, array in params.items():
        if offset := layout.offset(name):
            array += offset
    return params


def read_tokenizer(layout: Layout, folder: Path) -> Vocabulary:
    """The tokenizer of a folder; InputError for one that the model cannot use.

    An encoder's kind of run puts the special tokens around texts, so its tokenizer does not.
    """
    tokenizer = load_tokenizer(folder)
    if layout.causal:
        return tokenizer
    if isinstance(tokenizer, PublishedTokenizer):
        tokenizer.add_bos = tokenizer.add_eos = False
        if tokenizer.unit != "wordpiece":
            ids = tokenizer.special.ids
            tokenizer.bos, tokenizer.eos = ids.get(BOS), ids.get(EOS)
    if None in (tokenizer.bos, tokenizer.eos, tokenizer.mask):
        raise InputError(
            f"{folder}: expected a tokenizer with [CLS], [SEP] and [MASK], or <s>, </s> and "
            "<mask>, found one without"
        )
    return tokenizer


def read_chat_template(folder: str | Path) -> str | None:
    """The chat template of a folder, from a file of its own or from tokenizer_config.json.

    InputError for a template that is not a text.
    """
    path, config = Path(folder) / CHAT_TEMPLATE, entries_of(Path(folder) / "tokenizer_config.json")
    if path.exists():
        with reading(path, regular=True) as file:
            data = read_all(file, str(path), LARGEST_JSON)
        with in_file(path):
            return data.decode()
    template = config.values.get("chat_template")
    if isinstance(template, list):  # several, with names
        named = [t for t in template if isinstance(t, dict) and t.get("name") == "default"]
        template = named[0].get("template") if named else None
    if template is not None and not isinstance(template, str):
        raise Entries(config.path, {"chat_template": template}).wrong("chat_template", "a text")
    return template


def read_sampling(folder: str | Path) -> dict[str, Any]:
    """The fields of Sampling in generation_config.json; empty if it does not sample.

    The temperature is 1 where only other fields are set.  A top_k of 0 or -1 means all tokens.
    """
    values = entries_of(Path(folder) / GENERATION).values
    if values.get("do_sample") is not True:
        return {}
    found = {name: values[name] for name in SAMPLING if values.get(name) is not None}
    if found.get("top_k") in (0, -1):
        del found["top_k"]
    return {"temperature": 1.0} | found if found else {}


# --- writing -------------------------------------------------------------------------------------


def write(contents: Contents, path: str | Path) -> None:
    """Write a new folder that transformers loads, with the same outputs; whole or not at all.

    InputError for a tokenizer that transformers lacks.
    """
    model = contents.model
    layout = layout_of(model)
    if layout is None:
        raise InputError(f"{path}: expected a model that transformers has, found another one")
    config, tokenizer = encoder_config(model.config), contents.tokenizer
    roles = {"bos": tokenizer.bos, "eos": tokenizer.eos, "pad": tokenizer.padding}
    values = {f"{role}_token_id": number for role, number in roles.items()}
    values |= config_entries(layout, config)
    files = tokenizer_files_of(layout, tokenizer, getattr(config, "context", None))
    if not layout.causal:
        sentences = Sentences.of(contents.facts)
        settings = json.loads(files["tokenizer_config.json"])
        settings["model_max_length"] = sentences.longest or config.context
        files["tokenizer_config.json"] = json_file(settings)
        files |= sentence_files(sentences, config.width, config.context)
    if isinstance(model.config, FineTunedConfig):
        values |= encoders.classifier_entries(layout, model.config, contents.facts["labels"])
    files["config.json"] = json_file(values)
    if contents.chat:
        files[CHAT_TEMPLATE] = contents.chat.source.encode()
    tensors = {}
    for weight in weights(layout, model.config):
        array = dense(model.params[weight.name])
        if offset := layout.offset(weight.name):
            array = array - offset
        for name, view in weight.views(array).items():
            tensors[stored(layout, name, model.config)] = view
    write_folder(path, files, tensors)


def tokenizer_files_of(
    layout: Layout, tokenizer: Vocabulary, context: int | None
) -> dict[str, bytes]:
    """The files that describe a tokenizer, by name.

    ``context``: the largest number of tokens that the model reads, if there is one.  InputError
    for a tokenizer that has other tokens than bytes, or pieces of words.
    """
    if not layout.causal and isinstance(tokenizer, WordPieces):
        tokenizer = PublishedTokenizer(tokenizer_json.of_ours(tokenizer))
    if not isinstance(tokenizer, ByteTokens):
        raise InputError(
            f"transformers has no tokenizer that splits a text into {tokenizer.unit}s as we do"
        )
    settings: dict[str, Any] = {
        **({} if context is None else {"model_max_length": context}),
        "clean_up_tokenization_spaces": False,
        "tokenizer_class": "PreTrainedTokenizerFast",  # the file has all of its steps
    }
    unknown = tokenizer.eos if tokenizer.unknown is None else tokenizer.unknown
    roles = {"bos_token": tokenizer.bos, "eos_token": tokenizer.eos, "unk_token": unknown}
    for name, token in roles.items():
        if token is not None:
            settings[name] = tokenizer.tokens[token].decode()
    files = tokenizer_files(tokenizer)
    if not layout.causal:
        assert isinstance(tokenizer, PublishedTokenizer)
        whole = json.loads(files["tokenizer.json"])
        settings |= _settings_of_encoder(layout, tokenizer, whole)
        files["tokenizer.json"] = json_file(whole)
    return files | {"tokenizer_config.json": json_file(settings)}


def _settings_of_encoder(
    layout: Layout, tokenizer: PublishedTokenizer, whole: dict[str, Any]
) -> dict[str, Any]:
    """The special tokens of an encoder; they are put around texts by ``whole``, tokenizer.json."""
    ids, texts = tokenizer.special.ids, tokenizer.texts
    cls, sep = tokenizer.bos, tokenizer.eos
    assert cls is not None
    assert sep is not None
    if tokenizer.unit != "wordpiece":
        processor = {"type": "RobertaProcessing", "trim_offsets": True}
        processor |= {"add_prefix_space": False, "cls": [BOS, cls], "sep": [EOS, sep]}
        whole["post_processor"] = processor
    mask = next(token for token in whole["added_tokens"] if token["id"] == tokenizer.mask)
    settings: dict[str, Any] = {
        **dict.fromkeys(("bos_token", "cls_token"), texts[cls]),
        **dict.fromkeys(("eos_token", "sep_token"), texts[sep]),
        "mask_token": {"__type": "AddedToken"} | {n: v for n, v in mask.items() if n != "id"},
    }
    for role, names in {"pad": ("[PAD]", "<pad>"), "unk": ("[UNK]", "<unk>")}.items():
        settings |= {f"{role}_token": name for name in names if name in ids}
    if "segments" not in layout.entries:
        settings["model_input_names"] = ["input_ids", "attention_mask"]
    return settings


def _recognises(path: Path, head: bytes) -> bool:
    config = path / "config.json"
    return config.is_file() and "model_type" in read_json(config)


FORMATS = (
    Format(
        name="huggingface",
        models=(*dict.fromkeys(layout.model for layout in LAYOUTS), FineTuned),
        read=read,
        write=write,
        recognises=_recognises,
        default="huggingface",
        signature="a folder of transformers with one of these models: "
        + ", ".join(layout.model_type for layout in LAYOUTS),
        fits=lambda model: layout_of(model) is not None,
    ),
)
