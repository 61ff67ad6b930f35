"""Every reader: what is done with a folder of damaged files, as the commands do it."""

import random
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
from data.test_readers import READERS as OF_DATA

from minillm import decoding
from minillm.data import RandomWindows, Shards
from minillm.data.labelled import open_labelled
from minillm.data.lines import read_lines
from minillm.data.squad import read_squad
from minillm.formats import arpa, gguf, huggingface, word2vec
from minillm.formats.peft import read_adapter
from minillm.models.ngram import NGram, NGramConfig
from minillm.runs.config import read_config
from minillm.runs.folder import RunFolder
from minillm.runs.kind import RunConfig, find_kind
from minillm.runs.kinds.labels import read_image
from minillm.runs.kinds.texts import check_kept, name_of, tokenizer_of
from minillm.runs.load import load, open_vocabularies
from minillm.runs.run import Run
from minillm.text import load_tokenizer, tokenizer_files
from minillm.text.word_pieces import WordPieces
from minillm.training import AdamW, restore_checkpoint
from minillm.training.ngram import score_text
from minillm.training.word2vec import restore_progress

from .samples import SIZES, TEXT, adapted, task_of

Reader = Callable[[Path, random.Random], None]
KINDS = (
    "ngram", "lm", "mamba", "neural-ngram", "gpt", "llama", "seq2seq", "classifier",
    "recurrent-classifier", "image-classifier", "word2vec", "bert", "qa",
)  # fmt: skip


def _use(run: Run) -> None:
    """Use a run as a command would, in short."""
    with np.errstate(all="ignore"):  # weights may be as large as a float32 can be
        match run.kind.name:
            case "ngram" | "lm" | "mamba" | "neural-ngram" | "gpt" | "llama":
                list(run.write(length=3, seed=1))
            case "seq2seq":
                run.translate(["the cat"], beam=2)
            case "bert":
                run.fill("the [MASK] sat", top=2)
                run.embed(["the cat", "a dog"])
            case "qa":
                run.answers(["what sat?", "where?"], TEXT, 2)
            case "classifier" | "recurrent-classifier":
                run.classify(["the cat", "a dog"])
            case "image-classifier":
                run.classify([[0.5] * run.model.config.pixels])
            case "word2vec":
                run.vectors.most_similar(run.vectors.words[0], topn=2)


def _score(run: Run) -> None:
    if "files" in run.data:
        name_of(run.data)
        if "imported" not in run.data and "-" not in run.data["files"]:
            check_kept(run)
    if run.kind.name == "ngram":
        score_text(run.model, run.tokenizer, [TEXT])


def read_run(folder: Path, rng: random.Random) -> None:
    """Opens a run, and uses it; reads its metrics; now and then resumes it."""
    if rng.random() < 0.15:
        _resume(folder)
        return
    if rng.random() < 0.1:
        RunFolder(folder).read_metrics()
        return
    run = load(folder)
    _use(run)
    _score(run)


def _resume(folder: Path) -> None:
    opened = RunFolder(folder)
    stored = read_config(opened)
    kind = stored.kind
    if not kind.resumable:
        return
    Model, Config = kind.model, kind.config
    rng = np.random.default_rng(0)
    if kind.name == "word2vec":
        words = open_vocabularies(opened, stored)["tokenizer"]
        restore_progress(opened, Model(stored.config, words.counts))
        return
    model = Model(Config(**SIZES[kind.name]), rng)
    task = task_of(kind.name, model)
    restore_checkpoint(opened, model.params, AdamW(model.params), task, rng)
    with np.errstate(all="ignore"):
        _, backward, _ = task.training_loss(rng)
        if kind.name in ("lm", "mamba", "neural-ngram", "gpt", "llama"):
            backward()


def read_arpa(folder: Path, rng: random.Random) -> None:
    [file] = folder.iterdir()
    tokenizer, params = arpa.read_arpa(file)
    order = sum(name.startswith("word.") for name in params)
    end, unknown = tokenizer.sentence_end, tokenizer.unknown
    config = NGramConfig(len(tokenizer), order, line_end=end, unknown=unknown)
    model = NGram(config, params)
    if unknown is not None:
        score_text(model, tokenizer, [TEXT])
    if rng.random() < 0.02:
        arpa.write_arpa(folder / "out.arpa", tokenizer, params)


def read_vectors(folder: Path, rng: random.Random) -> None:
    [file] = folder.iterdir()
    words, vectors = word2vec.read_vectors(file)
    assert vectors.shape[0] == len(words)


def read_data(folder: Path, rng: random.Random) -> None:
    [file] = folder.iterdir()
    list(OF_DATA[file.name].read(str(file)))


def read_labelled_folder(folder: Path, rng: random.Random) -> None:
    open_labelled(folder, folder)


def read_questions(folder: Path, rng: random.Random) -> None:
    for question in read_squad(folder / "squad.json"):
        for answer in question.answers:
            assert question.context.startswith(answer.text, answer.start)


def read_vocabulary(folder: Path, rng: random.Random) -> None:
    stored = RunConfig(find_kind("lm"), None, None, {})
    found = open_vocabularies(RunFolder(folder), stored)["tokenizer"]
    found.decode(list(islice(range(len(found)), 50)))
    found.to_dict()


def read_tokenizer(folder: Path, rng: random.Random) -> None:
    tokenizer = load_tokenizer(folder)
    text = TEXT + "<|endoftext|> [MASK] Été ?"
    ids = tokenizer.encode(text)
    if isinstance(tokenizer, WordPieces):
        again, offsets = tokenizer.encode_with_offsets(text)
        assert again.tolist() == ids.tolist()
        assert len(tokenizer.split(text)) == len(offsets)
    tokenizer.decode(ids)
    tokenizer_files(tokenizer)


def read_hugging_face(folder: Path, rng: random.Random) -> None:
    found = huggingface.read(folder)
    model, tokenizer = found.model, found.tokenizer
    ids = tokenizer.encode(TEXT)[:20]
    if getattr(model.config, "context", 0) <= 1 << 24:  # a run has no more
        with np.errstate(all="ignore"):
            reader = decoding.Reader(model)
            reader.read(ids[None].astype(np.int64), reader.zero_state(1))
    tokenizer.decode(ids)


def read_gguf(folder: Path, rng: random.Random) -> None:
    [file] = folder.iterdir()
    found = gguf.read(file)
    model, tokenizer = found.model, found.tokenizer
    ids = tokenizer.encode(TEXT)[: model.config.context]
    with np.errstate(all="ignore"):
        model.hidden(ids[None].astype(np.int64))
    tokenizer.decode(ids)


def read_peft(folder: Path, rng: random.Random) -> None:
    model = adapted()
    for name, array in read_adapter(folder, model)[0].items():
        assert np.isfinite(array).all()
        if name in model.params:
            assert array.shape == model.params[name].shape


def read_encoder(folder: Path, rng: random.Random) -> None:
    found = huggingface.read(folder)
    config, model = getattr(found.model.config, "encoder", found.model.config), found.model
    ids = found.tokenizer.encode(TEXT)[None, : config.context]
    with np.errstate(all="ignore"):
        if "labels" in found.facts:
            model.forward(ids, np.array([ids.shape[1]]))
        else:
            model.hidden(ids)
    if rng.random() < 0.1:
        huggingface.write(found, folder / "again")


def read_images(folder: Path, rng: random.Random) -> None:
    for line, place in read_lines(folder / "images.txt"):
        read_image(line, place, 6)


def read_shards(folder: Path, rng: random.Random) -> None:
    shards = Shards(folder / "corpus")
    shards.verify()
    RandomWindows(shards, 2, 3).next()
    tokenizer_of(shards).decode(shards[:].tolist())


NAMES: dict[Reader, str] = {  # each name has samples of its own
    read_data: " ".join(OF_DATA),
    read_arpa: "arpa arpa-gzip",
    read_vectors: "word2vec-text word2vec-binary",
    read_labelled_folder: "labelled-folder",
    read_questions: "questions",
    read_vocabulary: "vocabulary",
    read_tokenizer: "tokenizer-gpt2 tokenizer-hugging-face wordpieces-bert wordpieces-hugging-face",
    read_hugging_face: "hugging-face hugging-face-llama hugging-face-mamba hugging-face-decoders",
    read_encoder: "hugging-face-bert hugging-face-encoders",
    read_gguf: "gguf gguf-decoders",
    read_peft: "peft",
    read_images: "images",
    read_shards: "shards",
}
READERS: dict[str, Reader] = dict.fromkeys(KINDS, read_run) | {
    name: reader for reader, names in NAMES.items() for name in names.split()
}
Files = dict[str, bytes]
Samples = dict[str, list[Files]]


def read_samples(root: Path) -> Samples:
    """The samples of each reader: in each, the content of every file by its name."""

    def files(folder: Path) -> Files:
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    return {name: [files(folder) for folder in sorted((root / name).iterdir())] for name in READERS}
