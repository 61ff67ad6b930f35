"""Every reader: small valid files of it, and what is done with them, as the commands do it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from data.test_readers import READERS as OF_DATA
from formats import test_encoders, test_gguf, test_huggingface, test_peft
from formats.make_frozen import FROZEN
from formats.make_frozen import ROWS as MODELS
from formats.test_word2vec import VECTORS, WORDS, write_binary
from kind_rows import squad
from published import old_files
from text.test_vocabulary import made

import minillm
from minillm import decoding
from minillm.data import RandomWindows, Shards, write_shards
from minillm.data.labelled import open_labelled
from minillm.data.lines import read_lines
from minillm.data.squad import read_squad
from minillm.formats import arpa, gguf, huggingface, word2vec
from minillm.formats.gguf import export_gguf
from minillm.formats.peft import read_adapter, write_adapter
from minillm.formats.sentences import Sentences
from minillm.models.decoders import FAMILIES
from minillm.runs.folder import RunFolder
from minillm.runs.kinds.labels import read_image
from minillm.runs.kinds.texts import check_kept, tokenizer_of
from minillm.text import Characters, load_tokenizer, tokenizer_files
from minillm.text.word_pieces import WordPieces
from minillm.training.ngram import score_text

TEXT = "the cat sat on the mat .\na dog sat on the log .\nthe cat and the dog sat .\n" * 2


class Row(NamedTuple):
    """Writes samples, each in a folder of its own; and reads one whose file of a name is damaged.

    They may be made of the runs of kind_rows.
    """

    write: Callable[[Path, Any], None]
    read: Callable[[Path, str], None]


def put(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def of_content(file: str, content: str | bytes) -> Callable[[Path, Any], None]:
    return lambda root, runs: put(root / "sample" / file, content)


# --- runs ----------------------------------------------------------------------------------------


def of_runs(*names: str) -> Callable[[Path, Any], None]:
    def write(root: Path, runs: Any) -> None:
        for name in names:
            shutil.copytree(runs(name), root / name)

    return write


def read_run(folder: Path, damaged: str) -> None:
    """Opens a run and uses it as a command would, in short; reads its metrics; resumes it."""
    RunFolder(folder).read_metrics()
    run = minillm.load(folder)
    match run.kind.name:
        case "ngram" | "lm" | "mamba" | "neural-ngram" | "gpt" | "llama":
            list(run.write(length=3, seed=1))
        case "seq2seq":
            run.translate(["one two"], beam=2)
        case "bert":
            run.fill("the [MASK] sat", top=2)
            run.embed(["the cat", "a dog"])
        case "qa":
            run.answers(["what sat?", "where?"], TEXT, 2)
        case "classifier" | "recurrent-classifier":
            run.classify(["the cat", "a dog"])
        case "word2vec":
            run.vectors.most_similar(run.vectors.words[0], topn=2)
    if "files" in run.data:
        check_kept(run)
    if run.kind.name == "ngram":
        score_text(run.model, run.tokenizer, [TEXT])
    if damaged == "resume.safetensors":  # the sizes of a damaged config.json would be too large
        longer = {"epochs": 2} if run.kind.name == "word2vec" else {"steps": 7}
        minillm.train(run.kind.name, folder, resume=True, quiet=True, **longer)


# --- files of other programs ---------------------------------------------------------------------


def write_arpa(root: Path, runs: Any) -> None:
    for name in ("ngram", "characters"):
        (root / name).mkdir(parents=True)
        minillm.load(runs(name)).export(root / name / "model.arpa")


def write_packed(root: Path, runs: Any) -> None:
    root.joinpath("ngram").mkdir(parents=True)
    minillm.load(runs("ngram")).export(root / "ngram/model.arpa.gz")


def read_arpa(folder: Path, damaged: str) -> None:
    found = arpa.read(folder / damaged)
    if found.tokenizer.unknown is not None:
        score_text(found.model, found.tokenizer, [TEXT])


def write_vectors(root: Path, runs: Any) -> None:
    root.joinpath("text").mkdir(parents=True)
    word2vec.write_vectors(root / "text/vectors.txt", WORDS, VECTORS)
    root.joinpath("binary").mkdir()
    write_binary(root / "binary/vectors.bin", WORDS, VECTORS)


def read_vectors(folder: Path, damaged: str) -> None:
    words, vectors = word2vec.read_vectors(folder / damaged)
    assert vectors.shape[0] == len(words)


def write_decoders(root: Path, runs: Any) -> None:
    root.mkdir()
    for name in FROZEN:
        if MODELS[name].causal:
            test_huggingface.save(root / name, name)
    parts = test_huggingface.save(root / "parts", "llama")
    test_huggingface.shard(parts, test_huggingface.of_file("llama").weights)


def write_encoders(root: Path, runs: Any) -> None:
    root.mkdir()
    for name in FROZEN:
        if not MODELS[name].causal:
            test_huggingface.save(root / name, name)
    pieces = test_encoders.PIECES
    model = test_encoders.new("bert", pieces, masked_words=False)
    test_encoders.write(root / "sentences", model, sentences=Sentences("mean", True, 9))
    old = test_huggingface.save(root / "vocab", "bert ForMaskedLM")
    (old / "tokenizer.json").unlink()
    put(old / "vocab.txt", old_files(pieces)["vocab.txt"])


def read_hugging_face(folder: Path, damaged: str) -> None:
    found = huggingface.read(folder)
    ids = found.tokenizer.encode(TEXT)[None, :12]
    if "labels" in found.facts:
        found.model.forward(ids, np.array([ids.shape[1]]))
    elif hasattr(found.model, "masked_words"):
        found.model.hidden(ids)
    elif getattr(found.model.config, "context", 0) <= 1 << 24:  # a run has no more
        reader = decoding.Reader(found.model)
        reader.read(ids.astype(np.int64), reader.zero_state(1))
    found.tokenizer.decode(ids[0])


def write_ggufs(root: Path, runs: Any) -> None:
    for family in ("llama", *FAMILIES):
        for kind in ("F32", "Q4_1", "Q8_0") if family == "llama" else ("F32",):
            file = root / f"{family} {kind}" / "model.gguf"
            file.parent.mkdir(parents=True)
            export_gguf(test_gguf.new(family, layers=2), test_gguf.TOKENIZER, file, kind)


def read_gguf(folder: Path, damaged: str) -> None:
    found = gguf.read(folder / damaged)
    ids = found.tokenizer.encode(TEXT)[: found.model.config.context]
    found.model.hidden(ids[None].astype(np.int64))
    found.tokenizer.decode(ids)


def write_peft(root: Path, runs: Any) -> None:
    model = test_peft.small("gpt")
    root.mkdir()
    write_adapter(root / "gpt", model, test_peft.added_to(model, "W_qkv"), 1.5, "base")


def read_peft(folder: Path, damaged: str) -> None:
    model = test_peft.small("gpt")
    for name, array in read_adapter(folder, model)[0].items():
        assert np.isfinite(array).all()
        if name in model.params:
            assert array.shape == model.params[name].shape


# --- texts and vocabularies ----------------------------------------------------------------------


def read_data(folder: Path, damaged: str) -> None:
    list(OF_DATA[damaged].read(str(folder / damaged)))


def write_labelled(root: Path, runs: Any) -> None:
    for k in range(6):
        put(root / "sample" / "ab"[k % 2] / f"{k}.txt", f"text {k}")


def read_questions(folder: Path, damaged: str) -> None:
    for question in read_squad(folder / damaged):
        for answer in question.answers:
            assert question.context.startswith(answer.text, answer.start)


def write_tokenizers(root: Path, runs: Any) -> None:
    configs = {"byte pairs": "config.json", "pieces": "tokenizer_config.json"}
    for name, config in configs.items():
        tokenizer = made(name, TEXT)
        put(root / name / "tokenizer.json", tokenizer_files(tokenizer)["tokenizer.json"])
        for file, content in (old_files(tokenizer) | {config: b"{}"}).items():
            put(root / f"old {name}" / file, content)


def read_tokenizer(folder: Path, damaged: str) -> None:
    tokenizer = load_tokenizer(folder)
    text = TEXT + "<|endoftext|> [MASK] Été ?"
    ids = tokenizer.encode(text)
    if isinstance(tokenizer, WordPieces):
        again, offsets = tokenizer.encode_with_offsets(text)
        assert again.tolist() == ids.tolist()
        assert len(tokenizer.split(text)) == len(offsets)
    tokenizer.decode(ids)
    tokenizer_files(tokenizer)


def read_images(folder: Path, damaged: str) -> None:
    for line, place in read_lines(folder / damaged):
        read_image(line, place, 6)


def write_corpus(root: Path, runs: Any) -> None:
    put(root / "text.txt", TEXT)
    write_shards(root / "sample/corpus", [str(root / "text.txt")], Characters.from_text(TEXT), 80)
    (root / "text.txt").unlink()


def read_corpus(folder: Path, damaged: str) -> None:
    shards = Shards(folder / "corpus")
    shards.verify()
    RandomWindows(shards, 2, 3).next()
    tokenizer_of(shards).decode(shards[:].tolist())


READERS = {
    **{name: Row(of_runs(name), read_run) for name in (
        "lm", "mamba", "neural-ngram", "gpt", "llama", "seq2seq", "classifier",
        "recurrent-classifier", "bert", "qa",
    )},
    "ngram": Row(of_runs("ngram"), read_run),
    "word2vec": Row(of_runs("word2vec", "hierarchical"), read_run),
    "arpa": Row(write_arpa, read_arpa),
    "arpa-gzip": Row(write_packed, read_arpa),
    "vectors": Row(write_vectors, read_vectors),
    "decoders": Row(write_decoders, read_hugging_face),
    "encoders": Row(write_encoders, read_hugging_face),
    "gguf": Row(write_ggufs, read_gguf),
    "peft": Row(write_peft, read_peft),
    **{name: Row(of_content(name, row.good), read_data) for name, row in OF_DATA.items()},
    "labelled-folder": Row(write_labelled, lambda folder, _: list(open_labelled(folder, folder))),
    "questions": Row(of_content("squad.json", squad("abcd", unanswered=True)), read_questions),
    "tokenizer": Row(write_tokenizers, read_tokenizer),
    "images": Row(of_content("images.txt", "0 0.5 1 0 0.25 1\n" * 3), read_images),
    "shards": Row(write_corpus, read_corpus),
}  # fmt: skip
