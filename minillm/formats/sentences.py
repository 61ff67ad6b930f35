"""The files of a sentence encoder, as the library sentence-transformers stores it:

    modules.json                the steps from a text to its vector, and the folder of each
    sentence_bert_config.json   the largest number of tokens to read from a text
    1_Pooling/config.json       the pooling of the tokens' vectors to one
    2_Normalize                 a step without files, which scales the vector to the length 1

The first step is a model of transformers, next to modules.json.

Source: Reimers and Gurevych (2019), "Sentence-BERT: sentence embeddings using siamese
BERT-networks", section 3, for the kinds of pooling.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from minillm.data.entries import Entries
from minillm.data.files import read_json
from minillm.errors import InputError, short
from minillm.formats.folder import entries_of, is_name, json_file

_POOLINGS = {  # our name, their name, and the entry that most files have in place of a name
    "mean": ("mean", "pooling_mode_mean_tokens"),
    "first": ("cls", "pooling_mode_cls_token"),
    "max": ("max", "pooling_mode_max_tokens"),
}
_CONFIG = "config_sentence_transformers.json"
_STEPS = ("Transformer", "Pooling", "Normalize")
LEAST_TOKENS = 3  # [CLS], one of the text, [SEP]


@dataclass(frozen=True)
class Sentences:
    """The settings for making a vector of a text."""

    pooling: str | None = None  # "mean", "first" or "max"; None: not a sentence encoder
    normalised: bool = False  # vectors have the length 1
    longest: int | None = None  # tokens to read, including [CLS] and [SEP]; None: the context

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> "Sentences":
        """The settings among facts about a model."""
        names = [entry.name for entry in fields(cls) if entry.name in facts]
        return cls(**{name: facts[name] for name in names})


def read_sentences(folder: Path, width: int, context: int) -> Sentences:
    """The settings in the files of a folder, which may lack all of them.

    InputError for steps and poolings that are not supported, for a prompt before each text, and for
    vectors that are cut.
    """
    longest = _read_longest(folder, context)
    modules = folder / "modules.json"
    if not modules.exists():
        return Sentences(longest=longest)
    entries_of(folder / _CONFIG).check_all(
        {"default_prompt_name": (None,), "truncate_dim": (None,)}
    )
    places = {}
    for entry in read_json(modules, kind=list):
        match entry:
            case {"type": str(name), "path": str(place)} if not place or is_name(place):
                places[name.rpartition(".")[2]] = folder / place
            case _:
                expected = "expected steps with type and path"
                raise InputError(f"{modules}: {expected}, found {short(entry)}")
    if [*places] not in ([*_STEPS], [*_STEPS[:2]]) or places["Transformer"] != folder:
        raise InputError(
            f"{modules}: expected the steps {', '.join(_STEPS[:2])} and perhaps {_STEPS[2]}, "
            f"the first one in the same folder, found {short(', '.join(places))}"
        )
    pooling = _read_pooling(places["Pooling"] / "config.json", width)
    return Sentences(pooling, "Normalize" in places, longest)


def _read_pooling(path: Path, width: int) -> str:
    """Our name of the pooling."""
    values = read_json(path)
    for name in ("embedding_dimension", "word_embedding_dimension"):
        Entries(path, values).check(name, (width,), f"{width}, the width of the model")
    names = {flag: name for name, flag in _POOLINGS.values()}
    flags = [key for key, on in values.items() if key.startswith("pooling_mode_") and on]
    found = values.get("pooling_mode") or [names.get(flag, flag) for flag in flags] or "mean"
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    for ours, (theirs, _) in _POOLINGS.items():
        if theirs == found:
            return ours
    expected = ", ".join(theirs for theirs, _ in _POOLINGS.values())
    raise InputError(f"{path}: pooling_mode: expected one of {expected}, found {short(found)}")


def _read_longest(folder: Path, context: int) -> int | None:
    """The largest number of tokens to read from a text; None: the context of the model."""
    for file, name in (
        ("sentence_bert_config.json", "max_seq_length"),
        ("tokenizer_config.json", "model_max_length"),
    ):
        entries = entries_of(folder / file)
        if entries.values.get(name) is not None:
            longest = entries.size(name, LEAST_TOKENS)
            return longest if longest < context else None
    return None


def sentence_files(sentences: Sentences, width: int, context: int) -> dict[str, bytes]:
    """The additional files of a sentence encoder, by name; none for other models."""
    if sentences.pooling is None:
        return {}
    pooling = {flag: ours == sentences.pooling for ours, (_, flag) in _POOLINGS.items()}
    places = ("", "1_Pooling", "2_Normalize")
    modules = [
        {"idx": at, "name": str(at), "path": place, "type": f"sentence_transformers.models.{step}"}
        for at, (step, place) in enumerate(zip(_STEPS, places, strict=True))
        if step != "Normalize" or sentences.normalised
    ]
    longest = {"max_seq_length": sentences.longest or context, "do_lower_case": False}
    return {
        "modules.json": json_file(modules),
        "sentence_bert_config.json": json_file(longest),
        "1_Pooling/config.json": json_file({"word_embedding_dimension": width, **pooling}),
    }
