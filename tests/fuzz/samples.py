"""Small valid files of every kind that is read, in a folder of its own for each reader."""

import gzip
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from published import old_files
from safetensors.numpy import load_file, save_file

from minillm.data import Minibatches, RandomWindows, Sequences, write_shards
from minillm.data.masking import Masking, Passages
from minillm.formats import huggingface
from minillm.formats.arpa import write_arpa
from minillm.formats.encoders import LAYOUTS
from minillm.formats.format import Contents
from minillm.formats.gguf import export_gguf
from minillm.formats.peft import write_adapter
from minillm.formats.sentences import Sentences
from minillm.formats.word2vec import write_vectors
from minillm.models import encoders
from minillm.models.bert import BERT, BERTConfig
from minillm.models.decoders import FAMILIES, Decoder, DecoderConfig
from minillm.models.fine_tuned import FineTuned, FineTunedConfig
from minillm.models.gpt import GPT, GPTConfig
from minillm.models.llama import Llama, LlamaConfig
from minillm.models.mamba import Mamba, MambaConfig
from minillm.models.ngram import NGram, NGramConfig, count_ngrams, estimate
from minillm.ops.rotary_scaling import Llama3
from minillm.runs.config import save_config
from minillm.runs.folder import RunFolder
from minillm.runs.kind import RunConfig, find_kind
from minillm.text import (
    Characters,
    ChatTemplate,
    build_vocabulary,
    tokenizer_files,
    word_pieces,
)
from minillm.text.byte_pairs import train
from minillm.training import AdamW, Summary, save_checkpoint
from minillm.training.language_model import LanguageModelTask, WindowTask
from minillm.training.masked import MaskedTask
from minillm.training.minibatches import MinibatchTask
from minillm.training.word2vec import Progress, WordCounts, save_progress

TEXT = "the cat sat on the mat .\na dog sat on the log .\nthe cat and the dog sat .\n" * 2
CHARACTERS = Characters.from_text(TEXT)
WORDS = build_vocabulary([TEXT], "word", 1)
PAIRS_OF_BYTES = train([TEXT], 275)
PIECES = word_pieces.train([TEXT], 50)
PAIRS = "".join(f"{a} {b}\t{b} {a}\n" for a in ("one", "two", "six") for b in ("ten", "two", "on"))
LABELLED = "".join(f"{label}\twhat a {label} day {k}\n" for k in range(10) for label in ("a", "b"))


def write_samples(root: Path) -> None:
    """A folder of samples for each reader; a reader's samples are its subfolders."""
    for write in (_runs, _models, _texts):
        write(root)


def _write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def _write_objects(path: Path, names: tuple[str, ...], rows: list[list]) -> None:
    """JSON lines with these names in each object."""
    lines = [json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows]
    _write(path, "".join(lines))


# --- runs ------------------------------------------------------------------------------------


def ngram_model(order: int = 3) -> NGram:
    """Words, and sentences."""
    start, end = len(WORDS), WORDS.sentence_end
    ids = np.concatenate([[start, *WORDS.encode(line + "\n")] for line in TEXT.splitlines()])
    config = NGramConfig(start, order, "kneser-ney", 0.1, (0,), line_end=end, unknown=0)
    return estimate(count_ngrams(ids.astype(np.int32), order, start), config)


def task_of(kind: str, model: Any) -> Any:
    """A task that a model of the kind is resumed with."""
    if kind in ("lm", "mamba", "neural-ngram"):
        ids = CHARACTERS.encode(TEXT)
        return LanguageModelTask(model, ids, ids[:20], 2, 4)
    if kind in ("gpt", "llama"):
        ids = CHARACTERS.encode(TEXT)
        return WindowTask(model, RandomWindows(ids, 2, 4), ids[:20], 2, 10)
    if kind == "bert":
        masking = Masking(PIECES.mask, np.arange(len(PIECES)) > 4)
        return MaskedTask(model, Passages(PIECES.encode(TEXT), 2, 8, 2, 3), masking, [])
    ids = Sequences([[1, 2], [2], [3, 1, 1], [0, 1]])
    labels = np.array([0, 1, 1, 0])
    columns = {"seq2seq": (ids, Sequences([[1, 9]] * 4))}
    columns |= dict.fromkeys(("classifier", "recurrent-classifier"), (ids, labels))
    pixels = np.zeros((4, 6), np.float32)
    columns["image-classifier"] = (pixels, labels)
    framed = Sequences([[2, 5, 3], [2, 6, 7, 3]] * 2)
    columns["qa"] = (ids, framed, np.stack([labels, labels], axis=1))
    batches = Minibatches(columns[kind], 2, 0)
    return MinibatchTask(model, batches, batches, lambda batch: 2)


SIZES: dict[str, dict[str, Any]] = {
    "lm": {"vocabulary": len(CHARACTERS), "embedding": 3, "hidden": 4, "layers": 2},
    "mamba": {"vocabulary": len(CHARACTERS), "layers": 2, "width": 4, "inner": 5, "state": 2},
    "neural-ngram": {"vocabulary": len(CHARACTERS), "order": 3, "embedding": 3, "hidden": 4},
    "gpt": {"vocabulary": len(CHARACTERS), "context": 4, "layers": 2, "heads": 2, "width": 4},
    "llama": {
        "vocabulary": len(CHARACTERS), "context": 4, "heads": 2, "key_heads": 1, "width": 4,
        "layers": 2, "rope_scaling": Llama3(8.0, 1.0, 4.0, 16.0),
    },
    "bert": {"vocabulary": len(PIECES), "context": 8, "layers": 1, "heads": 2, "width": 4},
    "classifier": {"classes": 2, "buckets": 40},
    "recurrent-classifier": {
        "vocabulary": len(WORDS), "classes": 2, "embedding": 3, "hidden": 4, "pooling": "attention",
    },
    "qa": {"vocabulary": len(PIECES), "context": 24, "width": 4},
    "image-classifier": {"pixels": 6, "classes": 2, "hidden": 4},
    "seq2seq": {
        "source_vocabulary": len(WORDS), "target_vocabulary": len(WORDS), "embedding": 3,
        "hidden": 4,
    },
}  # fmt: skip
DATA: dict[str, dict[str, Any]] = {
    "lm": {"files": ["text.txt"], "sha256": "0"},
    "mamba": {"files": ["text.txt"], "sha256": "0"},
    "neural-ngram": {"files": ["text.txt"], "sha256": "0"},
    "gpt": {"files": ["text.txt"], "tokenizer": None, "sha256": "0", "vocabulary_sha256": "0"},
    "llama": {"files": ["text.txt"], "tokenizer": None, "sha256": "0", "vocabulary_sha256": "0"},
    "bert": {"files": ["text.txt"], "tokenizer": None, "sha256": "0", "vocabulary_sha256": "0"},
    "classifier": {"data": "data.tsv", "sha256": "0", "labels": ["a", "b"]},
    "recurrent-classifier": {"data": "data.tsv", "sha256": "0", "labels": ["a", "b"]},
    "qa": {"data": "data.json", "validation": None, "sha256": "0", "unanswered": True},
    "image-classifier": {"data": "digits", "labels": ["a", "b"]},
    "seq2seq": {"data": "data.tsv", "validation": None, "sha256": "0", "longest_target": 5},
}


def _runs(root: Path) -> None:
    for name, sizes in SIZES.items():
        kind = find_kind(name)
        Model, Config = kind.model, kind.config
        rng = np.random.default_rng(0)
        model = Model(Config(**sizes), rng)
        folder = RunFolder(root / name / "run")
        folder.path.mkdir(parents=True)
        for file, _ in kind.vocabularies.values():
            vocabulary = {"recurrent-classifier": WORDS, "seq2seq": WORDS}
            vocabulary |= {"bert": PIECES, "qa": PIECES}
            folder.save_json(file, vocabulary.get(name, CHARACTERS).to_dict())
        folder.save_model(model.params, {"step": 4})
        optimiser = AdamW(model.params)
        task = task_of(name, model)
        save_checkpoint(folder, model.params, optimiser, task, rng, Summary(4, 1.5, 60))
        _metrics_and_config(folder, name, model, DATA[name])
    _ngram_run(root)
    _word2vec_run(root)


def _metrics_and_config(folder: RunFolder, name: str, model: Any, data: dict[str, Any]) -> None:
    for step in (1, 2):
        folder.append_metrics({"step": step, "seconds": 0.5, "loss": 2.5})
        folder.append_metrics({"step": step, "validation_loss": 2.5})
    kind = find_kind(name)
    save_config(folder, RunConfig(kind, model.config, kind.settings(), data))


def _ngram_run(root: Path) -> None:
    model = ngram_model()
    folder = RunFolder(root / "ngram" / "run")
    folder.path.mkdir(parents=True)
    folder.save_json("vocabulary.json", WORDS.to_dict())
    folder.save_model(model.params, {"tokens": 40})
    _metrics_and_config(folder, "ngram", model, {"files": ["text.txt"], "sha256": "0"})


def _word2vec_run(root: Path) -> None:
    kind = find_kind("word2vec")
    Model, Config = kind.model, kind.config
    words = WORDS.tokens[2:]
    for name, negative in (("run", 2), ("hierarchical", 0)):
        counts = WordCounts(words, np.arange(len(words), 0, -1), False)
        config = Config(len(words), 3, window=2, negative=negative)
        model = Model(config, counts.counts, np.random.default_rng(0))
        folder = RunFolder(root / "word2vec" / name)
        folder.path.mkdir(parents=True)
        folder.save_json("vocabulary.json", counts.to_dict())
        folder.save_model(model.params, {"words": 40})
        save_progress(folder, model, Progress(2, 20, 1.5, 40, 0.5))
        _metrics_and_config(folder, "word2vec", model, {"files": ["text.txt"], "sha256": "0"})


# --- models of other programs, and texts ---------------------------------------------------------


def _models(root: Path) -> None:
    model = ngram_model()
    (root / "arpa" / "words").mkdir(parents=True)
    write_arpa(root / "arpa" / "words" / "model.arpa", WORDS, model.params)
    text = Characters.from_text("ab \n")
    ids = np.array([4, *text.encode("ab ba\nabba\n")], np.int32)
    small = estimate(count_ngrams(ids, 2, 4), NGramConfig(4, 2))
    (root / "arpa" / "characters").mkdir()
    write_arpa(root / "arpa" / "characters" / "model.arpa", text, small.params)
    packed = gzip.compress((root / "arpa" / "words" / "model.arpa").read_bytes(), mtime=0)
    _write(root / "arpa-gzip" / "words" / "model.gz", packed)
    vectors = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
    words = ["the", "Zürich", "3.14", "日本", "it's", "of"]
    (root / "word2vec-text" / "small").mkdir(parents=True)
    write_vectors(root / "word2vec-text" / "small" / "vectors.txt", words, vectors)
    rows = [w.encode() + b" " + v.tobytes() + b"\n" for w, v in zip(words, vectors, strict=True)]
    _write(root / "word2vec-binary" / "small" / "vectors.bin", b"6 3\n" + b"".join(rows))


def adapted() -> Llama:
    """The model that an adapter is for."""
    sizes = {"layers": 1, "heads": 2, "key_heads": 1, "width": 4, "feed_forward": 6}
    return Llama(LlamaConfig(9, 8, **sizes, tied=False), np.random.default_rng(0))


def _in_two_files(folder: Path) -> None:
    """The weights of a folder of Hugging Face, in two files and an index, as large models have."""
    whole = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    places = {name: f"model-{number % 2}.safetensors" for number, name in enumerate(whole)}
    for file in set(places.values()):
        part = {name: array for name, array in whole.items() if places[name] == file}
        save_file(part, folder / file)
    _write(folder / "model.safetensors.index.json", json.dumps({"weight_map": places}))


def _texts(root: Path) -> None:
    _write(root / "text" / "small" / "text.txt", TEXT)
    _write(root / "text" / "other" / "text.txt", "\ufeffà la ligne\r\n日本 😀\r\n\n  x\ty")
    file = root / "shards" / "small" / "text.txt"
    _write(file, TEXT)
    write_shards(file.parent / "corpus", [str(file)], CHARACTERS, 80)
    file.unlink()
    _write(root / "pairs" / "small" / "pairs.tsv", PAIRS + PAIRS)
    _write(root / "labelled" / "file" / "data.tsv", LABELLED)
    pairs = [line.split("\t") for line in (PAIRS + PAIRS).splitlines()]
    _write_objects(root / "pairs" / "json" / "pairs.jsonl", ("source", "target"), pairs)
    labelled = [line.split("\t") for line in LABELLED.splitlines()]
    _write_objects(root / "labelled" / "json" / "data.jsonl", ("label", "text"), labelled)
    answers = [{"text": "on the mat", "answer_start": 12}, {"text": "mat", "answer_start": 19}]
    qas = [
        {"id": "1", "question": "Where?", "answers": answers},
        {"id": "2", "question": "Why?", "answers": [], "is_impossible": True},
    ]
    paragraphs = [{"context": TEXT, "qas": qas}]
    squad = {"version": "v2.0", "data": [{"title": "x", "paragraphs": paragraphs}]}
    _write(root / "questions" / "small" / "squad.json", json.dumps(squad))
    talk = [{"role": "user", "content": "cat?"}, {"role": "assistant", "content": "sat"}]
    for name, rows in (
        ("messages", [[talk], [talk + talk]]),
        ("prompt completion", [["cat?", "sat"], [talk[:1], talk[1:]]]),
        ("prompt chosen rejected", [["cat?", "sat", "mat"], [talk[:1], talk, talk[1:]]]),
    ):
        file = root / "conversations" / name / "chats.jsonl"
        _write_objects(file, tuple(name.split()), rows)
    for k in range(3):
        for label in ("a", "b"):
            _write(root / "labelled-folder" / "files" / label / f"{k}.txt", f"text {k} of {label}")
    _write(root / "scored-pairs" / "small" / "pairs.txt", "# x\nw1\tw2\ts\na b 1.5\ncat,dog,7\n")
    _write(root / "analogies" / "small" / "questions.txt", ": one\na b c d\n: two\ne f g h\n")
    vocabulary = RunFolder(root / "vocabulary" / "words")
    for name, values in (
        ("words", WORDS),
        ("characters", CHARACTERS),
        ("pairs", PAIRS_OF_BYTES),
        ("pieces", PIECES),
    ):
        vocabulary = RunFolder(root / "vocabulary" / name)
        vocabulary.path.mkdir(parents=True)
        vocabulary.save_json("vocabulary.json", values.to_dict())
    files = tokenizer_files(PAIRS_OF_BYTES)
    _write(root / "tokenizer-hugging-face" / "small" / "tokenizer.json", files["tokenizer.json"])
    for file in ("vocab.json", "merges.txt"):
        _write(root / "tokenizer-gpt2" / "small" / file, old_files(PAIRS_OF_BYTES)[file])
    _write(root / "tokenizer-gpt2" / "small" / "config.json", "{}")  # as such folders have
    files = tokenizer_files(PIECES)
    _write(root / "wordpieces-hugging-face" / "small" / "tokenizer.json", files["tokenizer.json"])
    for file, data in (old_files(PIECES) | {"tokenizer_config.json": b"{}"}).items():
        _write(root / "wordpieces-bert" / "small" / file, data)
    model = GPT(GPTConfig(len(PAIRS_OF_BYTES), 8, 2, 2, 4), np.random.default_rng(0))
    (root / "hugging-face").mkdir()
    for name in ("pairs", "in-two-files"):
        huggingface.write(Contents(model, PAIRS_OF_BYTES), root / "hugging-face" / name)
    _in_two_files(root / "hugging-face" / "in-two-files")
    (root / "hugging-face-llama").mkdir()
    for name, scaling in (("plain", None), ("scaled", Llama3(8.0, 1.0, 4.0, 6.0))):
        llama_config = LlamaConfig(
            len(PAIRS_OF_BYTES), 8, 2, 2, 1, 4, 6, tied=scaling is None, rope_scaling=scaling
        )
        llama = Llama(llama_config, np.random.default_rng(0))
        huggingface.write(Contents(llama, PAIRS_OF_BYTES), root / "hugging-face-llama" / name)
    mamba = Mamba(MambaConfig(len(PAIRS_OF_BYTES), 2, 4, state=2), np.random.default_rng(0))
    (root / "hugging-face-mamba").mkdir()
    huggingface.write(Contents(mamba, PAIRS_OF_BYTES), root / "hugging-face-mamba" / "plain")
    llama_config = LlamaConfig(len(PAIRS_OF_BYTES), 8, 1, 2, 1, 32, 32)
    for kind in ("F32", "Q4_1", "Q8_0"):
        llama = Llama(llama_config, np.random.default_rng(0))
        (root / "gguf" / kind).mkdir(parents=True)
        file = root / "gguf" / kind / "model.gguf"
        export_gguf(llama, PAIRS_OF_BYTES, file, kind, ChatTemplate("{{ messages }}"))
    (root / "peft").mkdir()
    arrays = {"norm.gain": np.full(4, 2, np.float32)}
    for name, end, shape in (("W_o", "A", (4, 2)), ("W_o", "B", (2, 4)), ("W_qkv", "A", (4, 1))):
        arrays[f"blocks.0.attention.{name}.{end}"] = np.ones(shape, np.float32)
    arrays["blocks.0.attention.W_qkv.B"] = np.ones((1, 8), np.float32)
    pattern = {"alpha_pattern": {r".*layers\.0.*o_proj": 3}, "rank_pattern": {"o_proj": 2}}
    write_adapter(root / "peft" / "base", adapted(), arrays, 1.5, "base")
    config = root / "peft" / "base" / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | pattern))
    (root / "hugging-face-decoders").mkdir()
    for family in FAMILIES:
        sizes = {"context": 8, "layers": 2, "heads": 2, "key_heads": 1, "width": 32}
        sizes |= {"global_every": 2, "unrotated_every": 2, "feed_forward": 32}
        window = 4 if FAMILIES[family].windows else None
        config = DecoderConfig(len(PAIRS_OF_BYTES), **sizes, family=family, window=window)
        decoder = Decoder(config, np.random.default_rng(0))
        contents = Contents(decoder, PAIRS_OF_BYTES)
        huggingface.write(contents, root / "hugging-face-decoders" / family)
        (root / "gguf-decoders" / family).mkdir(parents=True)
        file = root / "gguf-decoders" / family / "model.gguf"
        export_gguf(decoder, PAIRS_OF_BYTES, file, "Q8_0" if family == "phi3" else "F32")
    sizes = {"vocabulary": len(PIECES), "context": 8, "layers": 1, "heads": 2, "width": 4}
    (root / "hugging-face-encoders").mkdir()
    for family, changes in encoders.FAMILIES.items():
        given = {"family": family, "padding": 1, "segments": 1, "masked_words": False}
        encoder = encoders.EncoderConfig(**sizes, **given, embedding=3 if changes.narrow else None)
        layout = next(one for one in LAYOUTS if one.family == family)
        head = layout.classifier.activation
        config = FineTunedConfig("encoder", encoder, 2, pooling="first", head=head)
        classifier = FineTuned(config, np.random.default_rng(0))
        contents = Contents(classifier, PIECES, facts={"labels": ["a", "b"]})
        huggingface.write(contents, root / "hugging-face-encoders" / f"{family}-labels")
        words = replace(encoder, masked_words=changes.masked_words, pooler=True)
        contents = Contents(encoders.Encoder(words, np.random.default_rng(0)), PIECES)
        huggingface.write(contents, root / "hugging-face-encoders" / family)
    bert = root / "hugging-face-bert"
    bert.mkdir()
    for name, sentences in (("words", Sentences()), ("sentences", Sentences("mean", True, 6))):
        config = BERTConfig(**sizes, masked_words=name == "words", pooler=True)
        model = BERT(config, np.random.default_rng(0))
        huggingface.write(Contents(model, PIECES, facts=asdict(sentences)), bert / name)
    _in_two_files(bert / "sentences")
    (bert / "words" / "tokenizer.json").unlink()
    _write(bert / "words" / "vocab.txt", old_files(PIECES)["vocab.txt"])
    _write(root / "images" / "lines" / "images.txt", "0 0.5 1 0 0.25 1\n" * 3)
