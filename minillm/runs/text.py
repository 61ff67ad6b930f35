"""What the kinds that model running text have in common: reading it, writing, measuring."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from minillm.errors import InputError
from minillm.runs.kind import Evaluation, Kind, Parts, Results

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from minillm.data.windows import Ids
    from minillm.runs.folder import RunFolder
    from minillm.runs.run import Run
    from minillm.text import Vocabulary

Made = TypeVar("Made")

LEAST_BYTE_PAIRS = 257  # the bytes, and the end of a text
LEAST_WORD_PIECES = 7  # the special tokens, and a character
BLOCK = 1 << 16  # tokens that are turned back into text at once
SAMPLE = 500  # tokens that are written where no length is given
SHOWN = {
    "character": 240,
    "word": 60,
    "bpe": 100,
    "wordpiece": 100,
}  # tokens that are shown after a training


def read_training_text(data: dict[str, Any]) -> str:
    """The text of a run.  ``data`` has its files, and gets the text's fingerprint.

    InputError if ``data`` had another fingerprint: the text has changed.
    """
    from minillm.data import read_text

    text = read_text(data["files"])  # of no file: the built-in corpus
    check_fingerprint(data, hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest())
    return text


def check_fingerprint(data: dict[str, Any], sha256: str) -> None:
    """Stores the data's fingerprint in ``data``; InputError if it had another one before."""
    if data.setdefault("sha256", sha256) != sha256:
        raise InputError(f"{name_of(data)}: the text has changed since the run was started")


def name_of(data: dict[str, Any]) -> str:
    """The files of a text, for messages."""
    return ", ".join(data["files"]) or "the built-in corpus"


def vocabulary_for(
    settings: Any, data: dict[str, Any], unit: str, make: "Callable[[], Made]"
) -> "Vocabulary | Made":
    """The vocabulary of ``--init`` or ``--tokenizer``, else what ``make`` returns.

    ``data`` gets the fingerprint of the former.  InputError if it had another one before: the
    tokenizer has changed since the run was started.
    """
    from minillm.runs.initial import initial_run
    from minillm.text import load_tokenizer

    if initial := initial_run(data):
        check_vocabulary_kept(data, initial.tokenizer)
        return initial.tokenizer
    if data.get("tokenizer"):
        tokenizer = load_tokenizer(data["tokenizer"])
        check_vocabulary_kept(data, tokenizer)
        return tokenizer
    check_size(unit, settings.vocabulary)
    return make()


def check_size(unit: str, size: int | None) -> None:
    """InputError unless a vocabulary of that unit may have so many tokens."""
    least, name = {
        "bpe": (LEAST_BYTE_PAIRS, "byte pairs"),
        "wordpiece": (LEAST_WORD_PIECES, "wordpieces"),
    }.get(unit, (0, ""))
    if size is not None and size < least:
        raise InputError(f"--vocabulary: expected at least {least} {name}, found {size}")


def check_vocabulary_kept(data: dict[str, Any], tokenizer: "Vocabulary") -> None:
    """Stores the vocabulary's fingerprint in ``data``; InputError if it had another one before."""
    found = hashlib.sha256(json.dumps(tokenizer.to_dict(), sort_keys=True).encode()).hexdigest()
    if data.setdefault("vocabulary_sha256", found) != found:
        raise InputError(
            f"{data.get('init') or data['tokenizer']}: expected the vocabulary that the run was "
            f"started with, found another, of {len(tokenizer)} tokens"
        )


def open_text(
    settings: Any, data: dict[str, Any]
) -> "tuple[Vocabulary, NDArray[np.int32], NDArray[np.int32]]":
    """A vocabulary, and the ids of a text: to train on, and the last tenth, to measure on.

    The vocabulary is that of the text to train on, unless there is ``--tokenizer``.  ``data`` is
    told whether it consists of documents: EOS may stand in a text, spelled out.
    """
    from minillm.data import split_text
    from minillm.text import build_vocabulary

    training, validation = split_text(read_training_text(data))
    tokenizer = vocabulary_for(
        settings,
        data,
        settings.unit,
        lambda: build_vocabulary(
            [training],
            settings.split_into,
            settings.minimum_count,
            settings.vocabulary,
            held_out=[validation],
        ),
    )
    name = name_of(data)
    ids = tokenizer.encode(training, name)
    data["documents"] = tokenizer.eos is not None and bool((ids == tokenizer.eos).any())
    return tokenizer, ids, tokenizer.encode(validation, name)


def write_text(
    model: Any,
    tokenizer: "Vocabulary",
    prompt: str = "",
    length: int = SAMPLE,
    temperature: float = 0.8,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    stop: Sequence[str] = (),
    *,
    documents: bool = False,
) -> Iterator[str]:
    """The prompt and its continuation: see :meth:`minillm.runs.run.Run.write`.

    Without a prompt the model starts a new line, where its vocabulary has one.  One that has seen
    ``documents`` starts one, and ends it by itself, at EOS.  The unknown word is never written.
    """
    import numpy as np

    from minillm.decoding import Writer
    from minillm.text import banned_ids, opening_id

    shown = tokenizer.encode_known(prompt, "--prompt")
    if prompt and not len(shown):
        raise InputError(f"--prompt: expected one token or more, found none in {prompt!r}")
    ends = [_one_token(tokenizer, text) for text in stop]
    if tokenizer.eos is not None:
        ends.append(tokenizer.eos)
    rng, banned = np.random.default_rng(seed), banned_ids(tokenizer, documents)
    writer = Writer(model, rng, temperature, banned=banned, stop=ends, top_k=top_k, top_p=top_p)
    writer.read(shown if len(shown) else np.array([opening_id(tokenizer, documents)]))
    return tokenizer.stream(chain(shown, writer.write(length)))


def _one_token(tokenizer: "Vocabulary", text: str) -> int:
    from minillm.text import unit_name

    ids = tokenizer.encode_known(text, "--stop")
    if len(ids) != 1:
        raise InputError(f"--stop: expected a single {unit_name(tokenizer)}, found {text!r}")
    return int(ids[0])


def evaluation_ids(run: "Run", asked: Evaluation) -> "tuple[str, NDArray[np.int32]]":
    """What to measure on: its name, and the ids of the text."""
    from minillm.data import read_text, split_text

    if asked.part == "test":
        raise InputError("--part: the text of a language model has no test part")
    if asked.files:
        name, text = ", ".join(asked.files), read_text(asked.files)
    else:
        check_kept(run)
        name = f"the held-out last tenth of {name_of(run.data)}"
        text = split_text(read_training_text(run.data))[1]
    return name, run.tokenizer.encode(text, name)


def check_kept(run: "Run") -> None:
    """InputError if the text that the run was made from cannot be read again."""
    if "imported" in run.data or "-" in run.data["files"]:
        source = run.data.get("imported", "standard input, which is not stored")
        raise InputError(
            f"{run.path}: it comes from {source}: give the text to measure it on as FILE"
        )


def language_results(name: str, tokenizer: "Vocabulary", nats: float, tokens: int) -> Results:
    """The measures that every language model has."""
    from minillm.metrics import bits, perplexity

    return {
        "text": name,
        "unit": tokenizer.unit,
        "tokens": tokens,
        "nats_per_token": nats,
        "bits_per_token": bits(nats),
        "perplexity": perplexity(nats),
    }


def results_on(name: str, tokenizer: "Vocabulary", ids: "Ids", nats: float, tokens: int) -> Results:
    """The measures of a model that has predicted ``ids`` from the second on.

    Words have a share of unknown ones, and nothing to tell per byte: a model that does not predict
    how a word is spelled does not compare with one that does.
    """
    results = language_results(name, tokenizer, nats, tokens)
    blocks = (ids[start : min(start + BLOCK, 1 + tokens)] for start in range(1, 1 + tokens, BLOCK))
    if tokenizer.unknown is not None:
        unknown = sum(int((block == tokenizer.unknown).sum()) for block in blocks)
        return results | {"unknown_share": unknown / tokens}
    known = (id for block in blocks for id in block.tolist() if id != tokenizer.eos)
    bytes = characters = 0
    for piece in tokenizer.stream(known):
        sizes = size_of(piece)
        bytes, characters = bytes + sizes[0], characters + sizes[1]
    return results | per_byte_and_character(nats * tokens, bytes, characters)


def per_byte_and_character(nats: float, bytes: int, characters: int) -> Results:
    """A sum of nats over bytes and characters: measures that do not depend on the vocabulary."""
    from minillm.metrics import bits

    results: Results = {}
    for name, count in (("byte", bytes), ("character", characters)):
        if count:
            results[f"nats_per_{name}"] = nats / count
            results[f"bits_per_{name}"] = bits(nats / count)
    return results


def size_of(text: str) -> tuple[int, int]:
    """The bytes, in UTF-8, and the characters of a text."""
    return len(text.encode("utf-8", "surrogatepass")), len(text)


class TextKind(Kind):
    """A language model that is trained on windows of a text.

    Its settings have ``unit``, ``batch`` and ``window``; a subclass makes its model.
    """

    def new_model(self, settings: Any, vocabulary: int, rng: "np.random.Generator") -> Any:
        """The model with fresh parameters."""
        raise NotImplementedError

    def prepare(self, settings: Any, data: dict[str, Any], rng: "np.random.Generator") -> Parts:
        """Holds out the last tenth of the text; the vocabulary is that of the rest."""
        from minillm.metrics import frequency_loss
        from minillm.runs.adaptation import with_replay
        from minillm.text import unit_name
        from minillm.training.language_model import LanguageModelTask

        tokenizer, training, validation = open_text(settings, data)
        training = with_replay(training, settings, data)[:]
        model = self.new_model(settings, len(tokenizer), rng)
        task = LanguageModelTask(model, training, validation, settings.batch, settings.window)
        baseline = frequency_loss(training, validation)
        unit = unit_name(tokenizer)
        return Parts(model, task, unit, {"tokenizer": tokenizer}, baseline=baseline)

    def sample(self, folder: "RunFolder") -> Iterator[str]:
        """Some text from the model with the best weights."""
        from minillm.runs.run import load

        run = load(folder.path)
        length = SHOWN[run.tokenizer.unit]
        return chain(["sample:\n\n"], run.write(length=length, seed=run.settings.seed), ["\n"])

    def write(self, run: "Run", prompt: str, length: int, *options: Any) -> Iterator[str]:
        """See :meth:`minillm.runs.run.Run.write`."""
        model, documents = self.writing_model(run, length), run.data.get("documents", False)
        return write_text(model, run.tokenizer, prompt, length, *options, documents=documents)

    def writing_model(self, run: "Run", length: int) -> Any:
        """The model, in the form in which it writes that many tokens the fastest."""
        return run.model

    def evaluate(self, run: "Run", asked: Evaluation) -> Results:
        """Nats and bits per token, per byte and per character, and perplexity."""
        name, ids = evaluation_ids(run, asked)
        return results_on(name, run.tokenizer, ids, *self.nats_on(run, ids))

    def nats_on(self, run: "Run", ids: "Ids") -> tuple[float, int]:
        """The mean loss on a text, in nats per token, and the number of these."""
        from minillm.training.language_model import evaluate

        return evaluate(run.model, ids[:], run.settings.batch, run.settings.window)
