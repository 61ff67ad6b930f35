"""Small valid files of every kind that is read, in a folder of its own for each reader."""

import gzip
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from data.test_readers import READERS as OF_DATA
from kind_rows import squad
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


def write_samples(root: Path) -> None:
    """A folder of samples for each reader; a reader's samples are its subfolders."""
    for write in (_runs, _models, _texts):
        write(root)


def _write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def _new(root: Path, *names: str) -> Path:
    """A new folder."""
    folder = root.joinpath(*names)
    folder.mkdir(parents=True)
    return folder


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
OF_TEXT = {"files": ["text.txt"], "sha256": "0"}
TOKENISED = OF_TEXT | {"tokenizer": None, "vocabulary_sha256": "0"}
OF_LABELS = {"data": "data.tsv", "sha256": "0", "labels": ["a", "b"]}
DATA: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("lm", "mamba", "neural-ngram"), OF_TEXT),
    **dict.fromkeys(("gpt", "llama", "bert"), TOKENISED),
    **dict.fromkeys(("classifier", "recurrent-classifier"), OF_LABELS),
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
        folder = RunFolder(_new(root, name, "run"))
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
    folder = RunFolder(_new(root, "ngram", "run"))
    folder.save_json("vocabulary.json", WORDS.to_dict())
    folder.save_model(model.params, {"tokens": 40})
    _metrics_and_config(folder, "ngram", model, OF_TEXT)


def _word2vec_run(root: Path) -> None:
    kind = find_kind("word2vec")
    Model, Config = kind.model, kind.config
    words = WORDS.tokens[2:]
    for name, negative in (("run", 2), ("hierarchical", 0)):
        counts = WordCounts(words, np.arange(len(words), 0, -1), False)
        config = Config(len(words), 3, window=2, negative=negative)
        model = Model(config, counts.counts, np.random.default_rng(0))
        folder = RunFolder(_new(root, "word2vec", name))
        folder.save_json("vocabulary.json", counts.to_dict())
        folder.save_model(model.params, {"words": 40})
        save_progress(folder, model, Progress(2, 20, 1.5, 40, 0.5))
        _metrics_and_config(folder, "word2vec", model, OF_TEXT)


# --- models of other programs, and texts ---------------------------------------------------------


def _models(root: Path) -> None:
    model = ngram_model()
    write_arpa(_new(root, "arpa", "words") / "model.arpa", WORDS, model.params)
    text = Characters.from_text("ab \n")
    ids = np.array([4, *text.encode("ab ba\nabba\n")], np.int32)
    small = estimate(count_ngrams(ids, 2, 4), NGramConfig(4, 2))
    write_arpa(_new(root, "arpa", "characters") / "model.arpa", text, small.params)
    packed = gzip.compress((root / "arpa/words/model.arpa").read_bytes(), mtime=0)
    _write(root / "arpa-gzip/words/model.gz", packed)
    vectors = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
    words = ["the", "Zürich", "3.14", "日本", "it's", "of"]
    write_vectors(_new(root, "word2vec-text", "small") / "vectors.txt", words, vectors)
    rows = [w.encode() + b" " + v.tobytes() + b"\n" for w, v in zip(words, vectors, strict=True)]
    _write(root / "word2vec-binary/small/vectors.bin", b"6 3\n" + b"".join(rows))
    for write in (_gpts_and_llamas, _decoders, _encoders):
        write(root)


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def _hugging_face(root: Path, reader: str, name: str, model: Any, tokenizer: Any, **facts: Any):
    folder = root / reader / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    huggingface.write(Contents(model, tokenizer, facts=facts), folder)


def _gpts_and_llamas(root: Path) -> None:
    size, tokenizer = len(PAIRS_OF_BYTES), PAIRS_OF_BYTES
    model = GPT(GPTConfig(size, 8, 2, 2, 4), _rng())
    for name in ("pairs", "in-two-files"):
        _hugging_face(root, "hugging-face", name, model, tokenizer)
    _in_two_files(root / "hugging-face/in-two-files")
    for name, scaling in (("plain", None), ("scaled", Llama3(8.0, 1.0, 4.0, 6.0))):
        sizes = LlamaConfig(size, 8, 2, 2, 1, 4, 6, tied=scaling is None, rope_scaling=scaling)
        _hugging_face(root, "hugging-face-llama", name, Llama(sizes, _rng()), tokenizer)
    mamba = Mamba(MambaConfig(size, 2, 4, state=2), _rng())
    _hugging_face(root, "hugging-face-mamba", "plain", mamba, tokenizer)
    llama, template = Llama(LlamaConfig(size, 8, 1, 2, 1, 32, 32), _rng()), ChatTemplate("{{ x }}")
    for kind in ("F32", "Q4_1", "Q8_0"):
        export_gguf(llama, tokenizer, _new(root, "gguf", kind) / "model.gguf", kind, template)
    arrays = {"blocks.0.attention.W_qkv.B": np.ones((1, 8), np.float32)}
    for name, end, shape in (("W_o", "A", (4, 2)), ("W_o", "B", (2, 4)), ("W_qkv", "A", (4, 1))):
        arrays[f"blocks.0.attention.{name}.{end}"] = np.ones(shape, np.float32)
    write_adapter(_new(root, "peft") / "base", adapted(), arrays, 1.5, "base")


def adapted() -> Llama:
    """The model that an adapter is for."""
    sizes = {"layers": 1, "heads": 2, "key_heads": 1, "width": 4, "feed_forward": 6}
    return Llama(LlamaConfig(9, 8, **sizes, tied=False), _rng())


def _in_two_files(folder: Path) -> None:
    """The weights of a folder of Hugging Face, in two files and an index, as large models have."""
    whole = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    places = {name: f"model-{number % 2}.safetensors" for number, name in enumerate(whole)}
    for file in set(places.values()):
        part = {name: array for name, array in whole.items() if places[name] == file}
        save_file(part, folder / file)
    _write(folder / "model.safetensors.index.json", json.dumps({"weight_map": places}))


def _decoders(root: Path) -> None:
    sizes = {"context": 8, "layers": 2, "heads": 2, "key_heads": 1, "width": 32}
    sizes |= {"global_every": 2, "unrotated_every": 2, "feed_forward": 32}
    for family in FAMILIES:
        window = 4 if FAMILIES[family].windows else None
        config = DecoderConfig(len(PAIRS_OF_BYTES), **sizes, family=family, window=window)
        decoder = Decoder(config, _rng())
        _hugging_face(root, "hugging-face-decoders", family, decoder, PAIRS_OF_BYTES)
        file = _new(root, "gguf-decoders", family) / "model.gguf"
        export_gguf(decoder, PAIRS_OF_BYTES, file, "Q8_0" if family == "phi3" else "F32")


def _encoders(root: Path) -> None:
    sizes = {"vocabulary": len(PIECES), "context": 8, "layers": 1, "heads": 2, "width": 4}
    reader = "hugging-face-encoders"
    for family, changes in encoders.FAMILIES.items():
        given = {"family": family, "padding": 1, "segments": 1, "masked_words": False}
        encoder = encoders.EncoderConfig(**sizes, **given, embedding=3 if changes.narrow else None)
        layout = next(one for one in LAYOUTS if one.family == family)
        head = layout.classifier.activation
        config = FineTunedConfig("encoder", encoder, 2, pooling="first", head=head)
        model = FineTuned(config, _rng())
        _hugging_face(root, reader, f"{family}-labels", model, PIECES, labels=["a", "b"])
        words = replace(encoder, masked_words=changes.masked_words, pooler=True)
        _hugging_face(root, reader, family, encoders.Encoder(words, _rng()), PIECES)
    for name, sentences in (("words", Sentences()), ("sentences", Sentences("mean", True, 6))):
        config = BERTConfig(**sizes, masked_words=name == "words", pooler=True)
        model = BERT(config, _rng())
        _hugging_face(root, "hugging-face-bert", name, model, PIECES, **asdict(sentences))
    bert = root / "hugging-face-bert"
    _in_two_files(bert / "sentences")
    (bert / "words/tokenizer.json").unlink()
    _write(bert / "words/vocab.txt", old_files(PIECES)["vocab.txt"])


def _texts(root: Path) -> None:
    for name, row in OF_DATA.items():
        _write(root / name / "good" / name, row.good)
    file = root / "shards/small/text.txt"
    _write(file, TEXT)
    write_shards(file.parent / "corpus", [str(file)], CHARACTERS, 80)
    file.unlink()
    _write(root / "questions/small/squad.json", squad("abcd", unanswered=True))
    for k in range(3):
        for label in ("a", "b"):
            _write(root / f"labelled-folder/files/{label}/{k}.txt", f"text {k} of {label}")
    _write(root / "images/lines/images.txt", "0 0.5 1 0 0.25 1\n" * 3)
    tokenizers = {"words": WORDS, "characters": CHARACTERS}
    tokenizers |= {"pairs": PAIRS_OF_BYTES, "pieces": PIECES}
    for name, tokenizer in tokenizers.items():
        folder = RunFolder(_new(root, "vocabulary", name))
        folder.save_json("vocabulary.json", tokenizer.to_dict())
    for tokenizer, new, old, config in (
        (PAIRS_OF_BYTES, "tokenizer-hugging-face", "tokenizer-gpt2", "config.json"),
        (PIECES, "wordpieces-hugging-face", "wordpieces-bert", "tokenizer_config.json"),
    ):
        _write(root / new / "small/tokenizer.json", tokenizer_files(tokenizer)["tokenizer.json"])
        for file_name, content in (old_files(tokenizer) | {config: b"{}"}).items():
            _write(root / old / "small" / file_name, content)
