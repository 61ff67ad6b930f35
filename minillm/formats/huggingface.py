"""The folders in which Hugging Face's library transformers stores a model:

    config.json           the kind of model ("model_type"), and its sizes
    model.safetensors     the weights; or model.safetensors.index.json, which lists the file of
                          each weight
    tokenizer.json        or other files of a tokenizer: see minillm/text/tokenizer_files.py

The folders of a kind of model are an object of :class:`Transformers`: where its sizes and weights
are, as plain data.  The modules of the models declare these objects in their ``FORMATS``.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.data.entries import Entries, in_file
from minillm.data.files import (
    LARGEST_JSON,
    new_folder,
    read_all,
    read_json,
    reading,
    write_file,
)
from minillm.errors import InputError, short
from minillm.formats.format import Contents, Format
from minillm.formats.tensors import Tensor, open_tensors, write_tensors
from minillm.formats.weights import Names, Weight, check_tensors, weights_of
from minillm.quantised.matrix import dense
from minillm.text import (
    ByteTokens,
    ChatTemplate,
    PublishedTokenizer,
    Vocabulary,
    load_tokenizer,
    tokenizer_files,
)
from minillm.text.tokenizer_files import token_texts

WEIGHTS = "model.safetensors"
CHAT_TEMPLATE = "chat_template.jinja"
GENERATION = "generation_config.json"
SAMPLING = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")  # ours, and theirs
LONGEST_NAME = 255  # characters of a file's name

_FLOATS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}

SILU: dict[str, tuple[Any, ...]] = {"hidden_act": ("silu", "swish")}  # two names of one function
Allowed = Mapping[str, tuple[Any, ...]]  # the values that entries may have, the default first


@dataclass(frozen=True, kw_only=True)
class Transformers(Format):
    """Folders of one kind of model, and the names of its parts in transformers."""

    name = "huggingface"
    default = "huggingface"
    signature: str | None = None
    models: tuple[type, ...]
    config_type: type  # of the sizes of our model
    causal: bool = True  # whether it sees no later tokens
    gain: float = 0.0  # our gains are theirs and this

    # config.json
    model_type: str
    architectures: tuple[str, ...]  # classes of transformers that have these weights
    sizes: Mapping[str, str]  # ours, theirs
    # Other fields of ours: a default, and the entries.  The first one is read, all are written.
    numbers: Mapping[str, tuple[Any, ...]]
    fixed: Allowed  # entries that may vary in their model, but not in ours
    defaults: Mapping[str, Any] = field(default_factory=dict)  # None: ours
    written: Mapping[str, Any] = field(default_factory=dict)  # entries of every such model
    roles: tuple[str, ...] = ("bos", "eos")  # special tokens
    refused: Mapping[str, str] = field(default_factory=dict)  # types of relatives: reasons

    # weights
    names: Names  # of parameters: ours, theirs
    prefix: str  # of all tensors but the output's, unless a model was saved without it
    output: str = "lm_head.weight"  # which may be tied to the embedding
    heads: tuple[str, ...] = ("lm_head",)  # beginnings of the names of tensors without the prefix
    transposed: bool = True  # whether their matrices are (out, in)
    buffers: str = "(?!)"  # a pattern of the names of tensors that are not weights

    def config(self, file: Entries, tensors: Mapping[str, Tensor]) -> Any:
        """Our config of the model; InputError for one that ours cannot represent."""
        found = dict[str, Any]()
        for ours, (default, theirs, *_) in self.numbers.items():
            read: Any = file.flag if isinstance(default, bool) else file.number
            found[ours] = read(theirs, default)
        for ours, theirs in self.sizes.items():
            if file.values.get(theirs) is not None or theirs not in self.defaults:
                found[ours] = file.size(theirs)
        found |= self.fields(file, tensors)
        with in_file(file.path):
            return self.config_type(**found)

    def fields(self, file: Entries, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        """The fields of our config that are neither sizes nor numbers."""
        return {}

    def entries(self, config: Any) -> dict[str, Any]:
        """The entries of config.json for a config of ours."""
        return {
            "model_type": self.model_type,
            "architectures": list(self.architectures[:1]),
            **{name: allowed[0] for name, allowed in self.fixed.items()},
            **{theirs: getattr(config, ours) for ours, theirs in self.sizes.items()},
            "tie_word_embeddings": True,
            **self.written,
            **{
                theirs: getattr(config, ours)
                for ours, (_, *names) in self.numbers.items()
                for theirs in names
            },
        }

    def completed(self, file: Entries) -> Entries:
        """The entries, completed by the defaults."""
        return Entries(file.path, {**self.defaults, **file.values})

    def tokenizer_files(self, tokenizer: Any, context: int | None) -> dict[str, bytes]:
        """The files that describe a tokenizer; InputError for one that transformers lacks.

        ``context``: the largest number of tokens that the model reads, if there is one.
        """
        return byte_pair_files(tokenizer, context)

    def model_of(self, config: Any) -> Any:
        """The class of the model with this config."""
        return self.models[0]

    def tied(self, config: Any) -> dict[str, tuple[str, str]]:
        """The second names of tensors, their first names, and our parameters."""
        tied = getattr(config, "tied", True)
        return {self.output: (str(self.names["embedding.E"]), "embedding.E")} if tied else {}

    def plain(self, name: str) -> str:
        """The one name of a tensor that may have several."""
        return name.removeprefix(self.prefix)

    def stored(self, name: str, config: Any) -> str:
        """The name of a tensor in a file."""
        return name if name.startswith(self.heads) else self.prefix + name

    def read_tokenizer(self, folder: Path) -> Any:
        """The tokenizer of a folder; InputError for one that the model cannot use."""
        return load_tokenizer(folder)

    def weights(self, config: Any) -> Iterator[Weight]:
        """The parameters of a model, and their tensors."""
        return weights_of(self.model_of(config).shapes(config), self.names, self.transposed)

    def recognises(self, path: Path, head: bytes) -> bool:
        """Whether config.json has the model's type, or a relative's, which ``read`` refuses."""
        config = path / "config.json"
        found = read_json(config).get("model_type") if config.is_file() else None
        return isinstance(found, str) and found in (self.model_type, *self.refused)

    def read(self, path: str | Path, baseline: Any = None) -> Contents:
        """The model in float32, its tokenizer, and its chat template if there is one.

        Each weight is read from the file into its place, so memory holds only one copy of the
        model.  InputError names the file, and the first entry or tensor that is missing, damaged or
        not supported by our model.
        """
        folder = Path(path)
        file = Entries(folder / "config.json", read_json(folder / "config.json"))
        tensors = open_weights(folder, self.plain)
        config = self._supported(file, tensors)
        tokenizer = self.read_tokenizer(folder)
        if isinstance(tokenizer, PublishedTokenizer):
            with suppress(ValueError):  # Gemma 3 has a token for images, which has no row
                tokenizer = tokenizer.cut(config.vocabulary)
        if len(tokenizer) > config.vocabulary:
            raise InputError(
                f"{folder}: config.json says vocab_size {config.vocabulary:,}, "
                f"but the tokenizer has {len(tokenizer):,} tokens"
            )
        chat = _read_chat(folder, tokenizer) if self.causal else None
        tied = self.tied(config)
        if file.values.get("tie_word_embeddings") is False and self.output in {*tied} - {*tensors}:
            raise InputError(f"{folder}: the tensor {self.output} is missing from the weights")
        params = self._read_weights(folder, tensors, list(self.weights(config)), tied)
        return Contents(self.model_of(config)(config, params=params), tokenizer, chat)

    def _read_weights(
        self,
        folder: Path,
        tensors: dict[str, Tensor],
        weights: Sequence[Weight],
        tied: Mapping[str, tuple[str, str]],
    ) -> dict[str, NDArray]:
        """The parameters, in float32; every tensor is checked before any is read.

        tied maps the second name of a tensor to its first name, and to our parameter.  The tensor
        may have either name, or both if the numbers are the same.
        """
        for second, (first, _) in tied.items():
            if second in tensors:
                tensors.setdefault(first, tensors[second])
        check_tensors(folder, tensors, weights, "|".join([self.buffers, *map(re.escape, tied)]))
        params = read_params(tensors, weights)
        for second, (first, ours) in tied.items():
            if second in tensors and not np.array_equal(tensors[second].read(), params[ours]):
                raise InputError(
                    f"{tensors[second].path}: {second}: expected the weights of {first}, found "
                    "others: an output that is not tied to the embedding cannot be run"
                )
        for name in params if self.gain else ():
            if name.endswith(".gain"):
                params[name] += np.float32(self.gain)
        return params

    def write(self, contents: Contents, path: str | Path, options: Any = None) -> None:
        """Write a new folder that transformers loads, with the same outputs; whole or not at all.

        InputError for a tokenizer that transformers lacks.
        """
        files, config, tensors = self.files(contents), contents.model.config, {}
        for weight in self.weights(config):
            array = dense(contents.model.params[weight.name])
            if self.gain and weight.name.endswith(".gain"):
                array = array - np.float32(self.gain)
            for name, view in weight.views(array).items():
                tensors[self.stored(name, config)] = view
        write_folder(path, files, tensors)

    def files(self, contents: Contents) -> dict[str, bytes]:
        """The files of a folder besides its weights, by name."""
        config, tokenizer = contents.model.config, contents.tokenizer
        ends = {f"{role}_token_id": getattr(tokenizer, role, None) for role in self.roles}
        values = ends | self.entries(config)
        Entries(f"a {self.model_type}", values).check_all(self.fixed)
        context = getattr(config, "context", None)
        files = self.tokenizer_files(tokenizer, context) | {"config.json": json_file(values)}
        if contents.chat:
            files[CHAT_TEMPLATE] = contents.chat.source.encode()
        return files

    def _supported(self, file: Entries, tensors: Mapping[str, Tensor]) -> Any:
        """Our config of the model; InputError for an entry that ours cannot represent.

        The file has to name one of the architectures, or none.  Entries that are not known here are
        ignored, as in transformers.
        """
        found = file.values.get("model_type")
        if found != self.model_type:
            reason = self.refused.get(str(found))
            raise file.wrong("model_type", repr(self.model_type) + (f": {reason}" * bool(reason)))
        names = file.values.get("architectures") or list(self.architectures)
        if not isinstance(names, list) or not any(name in self.architectures for name in names):
            raise file.wrong("architectures", " or ".join(self.architectures))
        causal = (True,) if self.causal else (False, None)
        file.check_all({"quantization_config": (None,), "is_causal": causal, **self.fixed})
        return self.config(self.completed(file), tensors)


# --- config.json -----------------------------------------------------------------


def entries_of(path: Path) -> Entries:
    """The entries of a file of JSON; none if there is no such file."""
    return Entries(path, read_json(path) if path.exists() else {})


def is_name(text: str) -> bool:
    """Whether a text can name a file or folder next to the file that contains it."""
    return Path(text).name == text and len(text) <= LONGEST_NAME and text.isprintable()


def _read_chat(folder: Path, tokenizer: Vocabulary) -> ChatTemplate | None:
    template, sampling = read_chat_template(folder), read_sampling(folder)
    return ChatTemplate.of(template, tokenizer, sampling, read_other_tokens(folder))


def read_chat_template(folder: str | Path) -> str | None:
    """The chat template of a folder, from a file of its own or from tokenizer_config.json.

    InputError for a template that is not a text.
    """
    path, config = Path(folder) / CHAT_TEMPLATE, entries_of(Path(folder) / "tokenizer_config.json")
    if path.exists():
        with reading(path, regular=True) as file:
            data = read_all(file, str(path), LARGEST_JSON)
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: expected UTF-8 text: {error}") from None
    template = config.values.get("chat_template")
    if isinstance(template, list):  # several, with names
        named = [t for t in template if isinstance(t, dict) and t.get("name") == "default"]
        template = named[0].get("template") if named else None
    if template is not None and not isinstance(template, str):
        raise Entries(config.path, {"chat_template": template}).wrong("chat_template", "a text")
    return template


def read_other_tokens(folder: str | Path) -> dict[str, str]:
    """The texts of ``pad`` and ``unk`` for chat templates, those that tokenizer_config.json has."""
    file = entries_of(Path(folder) / "tokenizer_config.json")
    return token_texts(Path(file.path), file.values, "pad", "unk")


def read_sampling(folder: str | Path) -> dict[str, Any]:
    """The fields of Sampling in generation_config.json; empty if it does not sample."""
    values = entries_of(Path(folder) / GENERATION).values
    if values.get("do_sample") is not True:
        return {}
    return sampling_of({name: values.get(name) for name in SAMPLING})


def sampling_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of Sampling that are not None; empty if all are.

    The temperature is 1 where only other fields are set.  A top_k of 0 or -1 means all tokens.
    """
    found = {name: value for name, value in values.items() if value is not None}
    if found.get("top_k") in (0, -1):
        del found["top_k"]
    return {"temperature": 1.0} | found if found else {}


# --- weights ---------------------------------------------------------------------


def open_weights(folder: Path, plain: Callable[[str], str]) -> dict[str, Tensor]:
    """The tensors of one file, or of the files in an index.

    ``plain`` maps the several names that a tensor may have to one.
    """
    single, index = folder / WEIGHTS, folder / f"{WEIGHTS}.index.json"
    if not single.exists() and not index.exists():
        pickled = sorted(path.name for path in folder.glob("pytorch_model*.bin"))
        found = (
            f"{short(pickled[0])}, a pickle, which may run any program: save it with "
            "save_pretrained of transformers, which writes safetensors"
            if pickled
            else "neither"
        )
        raise InputError(f"{folder}: expected {WEIGHTS} or {index.name}, found {found}")
    stored = open_tensors(single)[0] if single.exists() else _open_listed(index)
    tensors = {}
    for name, tensor in stored.items():
        if plain(name) in tensors:
            raise InputError(f"{tensor.path}: it has {short(plain(name))} under two names")
        tensors[plain(name)] = tensor
    return tensors


def _open_listed(index: Path) -> dict[str, Tensor]:
    """The tensors in an index, each from its file."""
    weights = read_json(index).get("weight_map")
    files = [*weights.values()] if isinstance(weights, dict) else []
    wrong = [file for file in files if not isinstance(file, str) or not is_name(file)]
    if not isinstance(weights, dict) or wrong:
        raise InputError(
            f"{index}: expected an object 'weight_map' with names of files in the same folder, "
            f"found {short(wrong[0] if wrong else weights)}"
        )
    opened = {file: open_tensors(index.parent / file)[0] for file in sorted({*files})}
    for name, file in weights.items():
        if name not in opened[file]:
            raise InputError(f"{index.parent / file}: the tensor {short(name)} is missing")
    return {name: opened[file][name] for name, file in weights.items()}


def read_params(
    tensors: Mapping[str, Tensor], weights: Iterable[Weight]
) -> dict[str, NDArray[np.float32]]:
    """All parameters, of tensors that have their shapes."""
    params = {}
    for weight in weights:
        params[weight.name] = np.empty(weight.shape, np.float32)
        for name, view in weight.views(params[weight.name]).items():
            read_finite(tensors[name], name, view)
    return params


def read_finite(tensor: Tensor, name: str, array: NDArray) -> None:
    """Read a tensor into an array, or a view of one.  InputError for other than finite floats."""
    if tensor.dtype not in _FLOATS:
        expected = " or ".join(_FLOATS.values())
        raise InputError(f"{tensor.path}: {name}: expected {expected}, found {tensor.dtype}")
    for rows, piece in tensor.pieces():
        array[rows] = piece
    if not np.isfinite(array).all():
        raise InputError(f"{tensor.path}: expected finite weights, found others in {name}")


# --- writing ---------------------------------------------------------------------


def byte_pair_files(tokenizer: Vocabulary, context: int | None) -> dict[str, bytes]:
    """The files that describe a tokenizer, by name.

    InputError for a tokenizer that has other tokens than bytes.
    """
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
    return tokenizer_files(tokenizer) | {"tokenizer_config.json": json_file(settings)}


def json_file(values: Mapping[str, Any] | list[Any]) -> bytes:
    """The content of a file of JSON."""
    return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()


def write_folder(
    folder: str | Path,
    files: Mapping[str, bytes],
    tensors: Mapping[str, NDArray],
    weights: str = WEIGHTS,
) -> None:
    """Write a new folder of files and weights, whole or not at all."""
    with new_folder(folder) as made:
        for name, content in files.items():
            (made / name).parent.mkdir(exist_ok=True)
            write_file(made / name, content)
        write_tensors(made / weights, tensors, {"format": "pt"})
