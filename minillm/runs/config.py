"""The configuration of a run: its ``config.json``, checked when it is read.

kind        the kind of model
model       the config of the model: its sizes
training    the other settings
data        the paths of the data, and facts about them
unit        of the loss, which is a mean over these
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from minillm.errors import InputError, check_names, describe_error, short
from minillm.option import checked, make, option_of, types_of
from minillm.runs.folder import RunFolder
from minillm.runs.kind import TITLES, Data, Kind, RunConfig, Vocabularies, find_kind
from minillm.runs.settings import (
    LENGTHS,
    DataInfo,
    TrainingSettings,
    names_of_data,
    names_of_sizes,
    sizes_in,
    stored_values,
)
from minillm.text import ChatTemplate

# The weights of a run, or a function that writes those that are quantised, as a GGUF file.
ToSave = Mapping[str, NDArray] | Callable[[Path], None]


def save_config(folder: RunFolder, stored: RunConfig) -> None:
    """Write config.json, the last file of a new run: a folder with it is complete."""
    values = _to_json(stored)
    folder.save_json("config.json", values | {"data": folder.portable(stored.data)})


def _to_json(stored: RunConfig) -> dict:
    values = {
        "kind": stored.kind.name,
        "model": asdict(stored.config),
        "training": stored_values(stored.settings),
        "data": stored.data,
    }
    return values | ({"unit": stored.unit} if stored.unit else {})


def save_run(
    folder: RunFolder,
    stored: RunConfig,
    params: ToSave,
    vocabularies: Vocabularies,
    files: Mapping[str, bytes] | None = None,
    chat: ChatTemplate | None = None,
) -> None:
    """Write a complete run that was not made by the training loop, but counted or imported.

    ``files`` are files for other programs, by name.  ``chat`` is the template of a model that
    answers.

    InputError, before anything is written, for a configuration that could not be read again.
    """
    place = stored.data.get("imported", folder.path)
    _stored_from(stored.kind, json.loads(json.dumps(_to_json(stored))), f"{place}: ")
    folder.begin()
    if chat is not None:
        folder.save_json("chat.json", chat.to_dict())
    for name, content in (files or {}).items():
        folder.save_file(name, content)
    save_vocabularies(folder, stored.kind, vocabularies)
    if callable(params):
        folder.save_quantised(params)
    else:
        folder.save_model(params, {})
    save_config(folder, stored)


def save_vocabularies(folder: RunFolder, kind: Kind, vocabularies: Vocabularies) -> None:
    """Write the vocabularies of a new run."""
    for name, (file, _) in kind.vocabularies.items():
        folder.save_json(file, vocabularies[name].to_dict())


def read_config(folder: RunFolder, kind: Kind | None = None) -> RunConfig:
    """The configuration of a run; with ``kind``, InputError for a run of another kind.

    InputError also names a file that is missing, incomplete or damaged.
    """
    folder.settle()
    values, path = folder.load_json("config.json"), folder.path / "config.json"
    known = [kind.name] if kind else list(TITLES)
    if values.get("kind") not in known:
        found = short(values.get("kind"))
        raise InputError(f"{path}: expected a run of {' or '.join(known)}, found {found}")
    place = f"{path}: its configuration is damaged: "
    try:
        values["data"] = folder.located(values["data"])
        return _stored_from(kind or find_kind(values["kind"]), values, place)
    except InputError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{place}{describe_error(error)}") from None


def _stored_from(kind: Kind, values: dict, place: str) -> RunConfig:
    """The configuration in the JSON form; InputError, after ``place``, if it is wrong."""
    Config = kind.config_of(values["model"]) if kind.config_of else kind.config
    config = config_of(Config, values["model"], kind.settings, place)
    sizes = sizes_in(config, kind.settings)
    check_names(values["training"], types_of(kind.settings).keys() - sizes, f"{place}training: ")
    settings = make(kind.settings, {**values["training"], **sizes}, place)
    lengths = [getattr(settings, name, None) for name in LENGTHS]
    if isinstance(settings, TrainingSettings) and lengths.count(None) != len(LENGTHS) - 1:
        raise InputError(f"{place}expected one of {', '.join(LENGTHS)}, found {lengths}")
    _check_data(kind, values["data"], config, place)
    return RunConfig(kind, config, settings, values["data"], values.get("unit", ""))


def _check_data(kind: Kind, data: Data, config: Any, place: str) -> None:
    """InputError where what is stored about the data is not as the kind declares it."""
    declared = set(names_of_data(kind.settings))
    for name in sorted(declared - data.keys()):
        if not types_of(kind.settings)[name].optional:
            raise InputError(f"{place}data: {name!r} is missing")
    place = f"{place}data: "
    make(kind.settings, {name: data[name] for name in declared & data.keys()}, place)
    info = make(DataInfo, {name: data[name] for name in data.keys() - declared}, place)
    for name in kind.info:
        if getattr(info, name) is None:
            raise InputError(f"{place}{name!r} is missing")
    labels = info.labels
    if labels is not None and len(labels) != getattr(config, "classes", None):
        expected = getattr(config, "classes", "none")
        raise InputError(f"{place}labels: expected {expected} of them, found {len(labels)}")


def config_of(Config: type, values: dict, settings: type, place: str) -> Any:
    """A model's config from its JSON form.

    InputError for wrong names or types, and for sizes out of the ranges of the settings.  The
    config itself checks the rest.
    """
    if not isinstance(values, dict):
        raise InputError(f"{place}expected an object, found {short(values)}")
    nested = Config.nested(values) if hasattr(Config, "nested") else {}
    inner = {
        name: config_of(nested[name], values[name], settings, f"{place}{name}: ")
        for name in nested.keys() & values.keys()
    }
    plain = {name: value for name, value in values.items() if name not in inner}
    ranges = {name: option_of(settings, name) for name in names_of_sizes(settings)}
    plain = checked(Config, plain, place, ranges, given=inner)
    try:
        return Config(**plain, **inner)
    except (TypeError, ValueError) as error:
        raise InputError(f"{place}{str(error)[:300]}") from None
