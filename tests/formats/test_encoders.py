"""DistilBERT, RoBERTa, MPNet and ELECTRA in transformers' format, and classifiers: read, written.

Against transformers and sentence-transformers where they are installed, against frozen vectors
(make_frozen_encoders.py) where they are not.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from published import of_pairs, of_words, with_unigrams
from safetensors.numpy import load_file, save_file

import minillm
from minillm.errors import InputError
from minillm.formats import huggingface
from minillm.formats.format import Contents, formats
from minillm.formats.huggingface import LAYOUTS, layout_of, read_tokenizer, tokenizer_files_of
from minillm.models.bert import BERT, BERTConfig
from minillm.models.encoders import FAMILIES, Encoder, EncoderConfig, buckets_of
from minillm.models.fine_tuned import FineTuned, FineTunedConfig
from minillm.runs.conversion import import_file
from minillm.text import PublishedTokenizer, load_tokenizer, tokenizer_files, tokenizer_json
from minillm.text.byte_pairs import train
from minillm.text.tokenizer_json import CONTROL, NORMAL
from minillm.text.word_pieces import SPECIALS, WordPieces

from .make_frozen_encoders import (
    CONFIGS,
    LABELS,
    C,
    V,
    config_of,
    heads,
    inputs,
    random_model,
    theirs,
)

LETTERS = "abcdefghijklmnop"
PIECES = WordPieces([*SPECIALS, *LETTERS, *("##" + letter for letter in LETTERS), "é", "!", "京"])
MPNET = ["<s>", "<pad>", "</s>", "[UNK]", "[MASK]", *PIECES.tokens[5:-1], "<mask>"]
MPNET_PIECES = of_words(MPNET, ["<s>", "<pad>", "</s>", "[UNK]", "<mask>"])
ROBERTA_SPECIALS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
TEXTS = [
    "", "abc! Éa 京 b", "a b c d e f g h i j k l m n", "<mask> [MASK] ab", "é <mask>.", " \n ",
    "aaaaaaaaaaaaaaaa b", "<s> x </s> <pad>", "a<mask>  b", "madeupword0000 <|endoftext|>",
]  # fmt: skip
FROZEN = Path(__file__).with_name("frozen_encoders.npz")
MODELS = [(family, head) for family in CONFIGS for head in heads(family)]


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def byte_pairs():
    """A tokenizer as RoBERTa's: with <s> and so on, and tokens that no text becomes."""
    learned = train(["the sea shells that she sells"], 270, [])
    unused = ["<|endoftext|>", "madeupword0000"]
    return of_pairs(
        learned.merges, ROBERTA_SPECIALS, unused=unused, bos="<s>", eos="</s>",
        lstrip=["<mask>"],
    )  # fmt: skip


def sentence_pieces():
    """A unigram tokenizer as XLM-R's."""
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "▁", *LETTERS, "▁a", "▁b", "ab", "!", "é", "<mask>"]
    scores = [
        0.0 if token.startswith("<") else -1.0 - number for number, token in enumerate(tokens)
    ]
    types = [NORMAL if score else CONTROL for score in scores]
    flags = {"<mask>": {"lstrip": True}}
    values = tokenizer_json.sentence_pieces(tokens, scores, types, flags=flags)
    step = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    spaces = [
        {"type": "Replace", "pattern": {"Regex": pattern}, "content": content}
        for pattern, content in ((r"\A +| +\z", ""), (" {2,}", " "))
    ]
    values["normalizer"]["normalizers"] = spaces
    return PublishedTokenizer(with_unigrams(values, tokens, scores) | {"pre_tokenizer": step})


def tokenizer_for(family):
    made = {"mpnet": MPNET_PIECES, "roberta": byte_pairs(), "xlm-roberta": sentence_pieces()}
    return made.get(family, PIECES)


def layout(family):
    return next(one for one in LAYOUTS if one.model_type == family)


def save(path, family, head, tensors, **changes):
    """A folder as transformers writes it, with a tokenizer of V tokens."""
    path.mkdir()
    for name, content in tokenizer_files(PIECES).items():
        (path / name).write_bytes(content)
    (path / "config.json").write_text(json.dumps(config_of(family, head) | changes))
    save_file(tensors, path / "model.safetensors")
    return path


def frozen(family, head):
    arrays = np.load(FROZEN)
    prefix = f"{'roberta' if family == 'xlm-roberta' else family}/{head}/"  # the same model
    found = {n.removeprefix(prefix): arrays[n] for n in arrays.files if n.startswith(prefix)}
    tensors = {n.removeprefix("weight/"): a for n, a in found.items() if n.startswith("weight/")}
    return tensors, found["hidden"], found["logits"]


def outputs_of(model):
    """The vectors and the logits of a model of ours, as ``theirs`` has them."""
    ids, lengths = inputs()
    real = np.arange(C) < lengths[:, None]
    if isinstance(model, FineTuned):
        return None, model.forward(ids, lengths)[0]
    x, _ = model.hidden(ids, lengths)
    hidden, logits = np.where(real[..., None], x, 0), np.zeros(0)
    if model.config.masked_words:
        words, _ = model.masked_words(x.reshape(-1, x.shape[-1]))
        logits = np.where(real[..., None], words.reshape(*ids.shape, -1), 0)
    return hidden, logits


def converted(model):
    params = {name: array.astype(np.float64) for name, array in model.params.items()}
    return type(model)(model.config, params=params)


def assert_close(results, expected, tolerance=1e-5):
    for ours, other in zip(results, expected, strict=True):
        if ours is not None and other.size:
            np.testing.assert_allclose(ours, other, atol=tolerance * np.ptp(other), rtol=0)


# --- reading and writing -----------------------------------------------------------------------


@pytest.mark.usefixtures("both_twins")
@pytest.mark.parametrize(("family", "head"), MODELS)
def test_frozen(tmp_path, family, head):
    """The outputs are transformers', and the same tensors are written again."""
    tensors, *expected = frozen(family, head)
    path = save(tmp_path / "in", family, head, tensors)
    contents = huggingface.read(path)
    model = contents.model
    assert isinstance(model, FineTuned) == (head == "labels")
    assert_close(outputs_of(model), expected)
    assert_close(outputs_of(converted(model)), expected, 1e-12)
    huggingface.write(contents, tmp_path / "out")
    written = load_file(tmp_path / "out" / "model.safetensors")
    assert written.keys() == tensors.keys()
    for name, array in tensors.items():
        np.testing.assert_array_equal(written[name], array, err_msg=name)
    values = json.loads((tmp_path / "out" / "config.json").read_text())
    expected_values = config_of(family, head)
    assert expected_values.items() <= values.items()
    again = huggingface.read(tmp_path / "out")
    assert again.model.config == model.config
    assert again.facts == contents.facts


def test_one_format_recognises_a_folder_and_holds_its_model(tmp_path):
    for family in CONFIGS:
        for head in heads(family):
            path = save(tmp_path / f"{family}-{head}", family, head, frozen(family, head)[0])
            [reader] = [one for one in formats() if one.recognises(path, b"")]
            model = reader.read(path).model
            assert reader.holds(model)
            assert layout_of(model) is layout(family)


@pytest.mark.parametrize(("family", "head"), [("roberta", "words"), ("mpnet", "words")])
def test_an_encoder_whose_architecture_has_a_head_that_is_missing(tmp_path, family, head):
    """Sentence encoders are often saved so."""
    tensors, *expected = frozen(family, head)
    prefix = layout(family).prefix
    bare = {n.removeprefix(prefix): a for n, a in tensors.items() if n.startswith(prefix)}
    model = huggingface.read(save(tmp_path / "in", family, head, bare)).model
    assert not model.config.masked_words
    assert_close([outputs_of(model)[0]], expected[:1])


def test_what_an_encoder_does_not_use_is_left_out(tmp_path):
    tensors, *expected = frozen("electra", "vectors")
    D = tensors["encoder.layer.0.output.dense.bias"].size
    head = {"discriminator_predictions.dense.weight": np.ones((D, D), np.float32)}
    path = save(
        tmp_path / "in",
        "electra",
        "vectors",
        {**{f"electra.{n}": a for n, a in tensors.items()}, **head},
        architectures=["ElectraForPreTraining"],
    )
    assert_close([outputs_of(huggingface.read(path).model)[0]], expected[:1])
    tensors, *expected = frozen("roberta", "labels")
    tensors["roberta.pooler.dense.bias"] = np.ones(D, np.float32)
    model = huggingface.read(save(tmp_path / "b", "roberta", "labels", tensors)).model
    assert_close(outputs_of(model), expected)


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("roberta", {"hidden_act": "relu"}, "hidden_act: expected 'gelu', found 'relu'"),
        ("roberta", {"layer_norm_eps": 0}, "eps: expected a finite number above 0, found 0.0"),
        ("roberta", {"max_position_embeddings": 3}, "expected a whole number from 4 up, found 3"),
        ("roberta", {"pad_token_id": -1}, "pad_token_id: expected a whole number from 0 up"),
        ("roberta", {"is_decoder": True}, "is_decoder: expected False, found True"),
        (
            "roberta",
            {"architectures": ["RobertaForTokenClassification"]},
            "expected RobertaModel or",
        ),
        ("bert", {"architectures": 3}, "architectures: expected BertModel or BertForMaskedLM"),
        ("mpnet", {"architectures": 3}, "architectures: expected MPNetModel or MPNetForMasked"),
        ("distilbert", {"activation": "relu"}, "activation: expected 'gelu', found 'relu'"),
        ("distilbert", {"dropout": 2}, "dropout: expected 0 or more and below 1, found 2"),
        ("mpnet", {"pad_token_id": 0}, "pad_token_id: expected 1, found 0"),
        ("electra", {"embedding_size": None}, "embedding_size: expected a whole number from 1"),
        ("electra", {"embedding_size": 7}, "word_embeddings.weight: expected shape (40, 7), foun"),
    ],
)
def test_unsupported_folders(tmp_path, family, changes, message):
    head = next(iter(heads(family)))
    path = save(tmp_path / "in", family, head, frozen(family, head)[0], **changes)
    with pytest.raises(InputError) as caught:
        huggingface.read(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


# --- classifiers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "labels"),
    [
        ({"id2label": {"0": "a", "1": "b", "2": "c"}}, ("a", "b", "c")),
        ({"id2label": None, "num_labels": 3}, ("LABEL_0", "LABEL_1", "LABEL_2")),
        ({"id2label": {"2": "c", "0": "a", "1": "b"}, "num_labels": 3}, ("a", "b", "c")),
    ],
)
def test_labels(tmp_path, changes, labels):
    tensors, *_ = frozen("bert", "labels")
    path = save(tmp_path / "in", "bert", "labels", tensors, **changes)
    assert huggingface.read(path).facts["labels"] == labels


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id2label": {"0": "a", "2": "b", "3": "c"}}, "expected a name for each number from 0"),
        ({"id2label": {"0": "a"}}, "two or more, all different, found ['a']"),
        ({"id2label": {"0": "a", "1": "a", "2": "b"}}, "all different, found ['a', 'a', 'b']"),
        ({"id2label": {"0": "a", "1": 3, "2": "b"}}, "all different, found ['a', 3, 'b']"),
        ({"id2label": ["a", "b", "c"]}, "id2label: expected a name for each number from 0 up"),
        ({"id2label": None}, "classifier.weight: expected shape (2, 8), found (3, 8)"),
        ({"problem_type": "regression"}, "problem_type: expected None or 'single_label_classif"),
        ({"classifier_dropout": 1}, "dropout: expected 0 or more and below 1, found 1"),
    ],
)
def test_unsupported_classifiers(tmp_path, changes, message):
    path = save(tmp_path / "in", "bert", "labels", frozen("bert", "labels")[0], **changes)
    with pytest.raises(InputError) as caught:
        huggingface.read(path)
    assert message in str(caught.value)


@pytest.mark.parametrize("family", CONFIGS)
def test_an_imported_classifier(tmp_path, family):
    """It labels texts as its files say, is exported again, and can be trained further."""
    tensors, *_ = frozen(family, "labels")
    path = save(tmp_path / "in", family, "labels", tensors)
    line = import_file(str(path), tmp_path / "run")
    assert line.endswith(" layers, 40 tokens")
    run = minillm.load(tmp_path / "run")
    [result] = run.classify(["ab c"])
    ids = np.array([[PIECES.bos, *PIECES.encode("ab c"), PIECES.eos]])
    logits, _ = run.model.forward(ids, np.array([ids.shape[1]]))
    p = np.exp(logits[0]) / np.exp(logits[0]).sum()
    assert result.label == LABELS[int(p.argmax())]
    assert result.probabilities[LABELS[0]] == pytest.approx(p[0], rel=1e-5)
    with pytest.raises(InputError, match="give the text to measure it on as FILE"):
        run.evaluate()
    assert run.evaluate(texts=["ab", "c"], labels=["bad", "good"])["items"] == 2
    run.export(tmp_path / "out")
    written = load_file(tmp_path / "out" / "model.safetensors")
    for name, array in tensors.items():
        np.testing.assert_array_equal(written[name], array, err_msg=name)
    values = json.loads((tmp_path / "out" / "config.json").read_text())
    assert list(values["id2label"].values()) == list(LABELS)
    assert values["label2id"] == {label: number for number, label in enumerate(LABELS)}


def test_a_classifier_that_transformers_lacks(tmp_path):
    encoder = EncoderConfig(V, C, 1, 2, 8, family="distilbert", masked_words=False)
    for options, able in (
        ({}, []),
        ({"pooling": "first"}, []),
        ({"pooling": "first", "head": "tanh"}, []),
        ({"pooling": "first", "head": "relu"}, ["distilbert"]),
    ):
        config = FineTunedConfig("encoder", encoder, 2, **options)
        model = FineTuned(config, np.random.default_rng(0))
        found = layout_of(model)
        assert ([found.model_type] if found else []) == able


def test_an_eps_that_distilbert_lacks(tmp_path):
    config = EncoderConfig(V, C, 1, 2, 8, family="distilbert", eps=1e-5)
    model = Encoder(config, np.random.default_rng(0))
    with pytest.raises(InputError, match="distilbert: layer_norm_eps: expected 1e-12, found 1e-05"):
        huggingface.write(Contents(model, PIECES), tmp_path / "out")


# --- tokenizers --------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_tokenizers_are_written_and_read_back(tmp_path, family):
    tokenizer, own = tokenizer_for(family), layout(family)
    for name, content in tokenizer_files_of(own, tokenizer, C).items():
        (tmp_path / name).write_bytes(content)
    again = read_tokenizer(own, tmp_path)
    roles = ("bos", "eos", "mask", "padding", "add_bos", "add_eos")
    ours = {role: getattr(tokenizer, role, False) for role in roles} | dict.fromkeys(
        roles[-2:], False
    )
    assert {role: getattr(again, role) for role in roles} == ours
    assert all(
        again.encode(t).tolist() == tokenizer.encode_each([t], [""])[0].tolist() for t in TEXTS
    )
    transformers = pytest.importorskip("transformers")
    other = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in TEXTS:
        ids = [again.bos, *again.encode(text).tolist(), again.eos]
        assert other(text)["input_ids"] == ids, text
    (tmp_path / "theirs").mkdir()
    other.save_pretrained(tmp_path / "theirs")
    back = read_tokenizer(own, tmp_path / "theirs")
    assert all(back.encode(text).tolist() == again.encode(text).tolist() for text in TEXTS)


def test_pieces_of_mpnet(tmp_path):
    for name, content in tokenizer_files(MPNET_PIECES).items():
        (tmp_path / name).write_bytes(content)
    again = load_tokenizer(tmp_path)
    assert (again.bos, again.eos, again.mask, again.padding) == (0, 2, len(MPNET) - 1, 1)
    for text in TEXTS:
        assert again.encode(text).tolist() == MPNET_PIECES.encode(text).tolist()


def test_a_bert_of_many_languages(tmp_path):
    """A sentence encoder with XLM-R's tokenizer."""
    library = pytest.importorskip("sentence_transformers")
    tokenizer = sentence_pieces()
    config = BERTConfig(len(tokenizer), C, 2, 2, 8, masked_words=False, pooler=True)
    contents = Contents(
        BERT(config, np.random.default_rng(0)), tokenizer, facts={"pooling": "mean"}
    )
    huggingface.write(contents, tmp_path / "ours")
    loaded = library.SentenceTransformer(str(tmp_path / "ours"), device="cpu")
    expected = loaded.encode(TEXTS)
    loaded.save(str(tmp_path / "theirs"))
    for folder in ("ours", "theirs"):
        import_file(str(tmp_path / folder), tmp_path / f"run-{folder}")
        vectors = minillm.load(tmp_path / f"run-{folder}").embed(TEXTS)
        np.testing.assert_allclose(vectors, expected, atol=1e-5 * np.ptp(expected), rtol=0)


def test_byte_pairs_get_no_frame_twice(tmp_path):
    for name, content in tokenizer_files_of(layout("roberta"), byte_pairs(), C).items():
        (tmp_path / name).write_bytes(content)
    whole, ours = load_tokenizer(tmp_path), read_tokenizer(layout("roberta"), tmp_path)
    assert whole.encode("sea").tolist() == [ours.bos, *ours.encode("sea").tolist(), ours.eos]


def test_tokens_that_no_text_becomes():
    tokenizer = byte_pairs()
    assert len(tokenizer) == len(train(["the sea shells that she sells"], 270, [])) + 7
    ids = tokenizer.encode("<|endoftext|>madeupword0000")
    unused = {tokenizer.texts.index(text) for text in ("<|endoftext|>", "madeupword0000")}
    assert not unused & {*ids}
    assert tokenizer.encode("a <mask>").tolist() == [ord("a"), tokenizer.mask]


@pytest.mark.parametrize("tokens", [["[UNK]", "a"], [*SPECIALS[:4], "a"]])
def test_a_tokenizer_without_the_special_tokens(tmp_path, tokens):
    for name, content in tokenizer_files(WordPieces(tokens)).items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="expected a tokenizer with"):
        read_tokenizer(layout("distilbert"), tmp_path)


# --- against the libraries ---------------------------------------------------------------------


@pytest.mark.usefixtures("both_twins")
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("family", "head"), MODELS)
def test_transformers(tmp_path, family, head, seed):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    own = random_model(family, head, seed)
    own.save_pretrained(tmp_path / "theirs")
    tensors = load_file(tmp_path / "theirs" / "model.safetensors")
    path = save(tmp_path / "in", family, head, tensors)
    (path / "config.json").write_bytes((tmp_path / "theirs" / "config.json").read_bytes())
    contents = huggingface.read(path)
    expected = theirs(own, family)
    assert_close(outputs_of(contents.model), expected)
    huggingface.write(contents, tmp_path / "out")
    loaded, notes = type(own).from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(notes.values())
    for ours, other in zip(theirs(loaded.eval(), family), expected, strict=True):
        np.testing.assert_array_equal(ours, other)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("family", FAMILIES)
def test_sentence_transformers(tmp_path, family, pooling):
    """all-mpnet-base-v2, all-distilroberta-v1 and multi-qa-distilbert in small."""
    library = pytest.importorskip("sentence_transformers")
    tokenizer = tokenizer_for(family)
    options = {"embedding": 6} if family == "electra" else {}
    padding = 1 if FAMILIES[family].after_padding else 0
    config = EncoderConfig(
        *(len(tokenizer), C, 2, 2, 8, 12, 1),
        family=family,
        padding=padding,
        masked_words=False,
        **options,
    )
    model = Encoder(config, np.random.default_rng(0))
    facts = {"pooling": "first" if pooling == "cls" else "mean", "normalised": pooling == "mean"}
    huggingface.write(Contents(model, tokenizer, facts=facts), tmp_path / "ours")
    loaded = library.SentenceTransformer(str(tmp_path / "ours"), device="cpu")
    expected = loaded.encode(TEXTS)
    loaded.save(str(tmp_path / "theirs"))
    for folder in ("ours", "theirs"):
        import_file(str(tmp_path / folder), tmp_path / f"run-{folder}")
        vectors = minillm.load(tmp_path / f"run-{folder}").embed(TEXTS)
        np.testing.assert_allclose(vectors, expected, atol=1e-5 * np.ptp(expected), rtol=0)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("family", CONFIGS)
def test_adapters(tmp_path, family):
    """Those of PEFT are read, and ours are the same."""
    pytest.importorskip("torch")
    peft = pytest.importorskip("peft")
    head = next(iter(heads(family)))
    modules = {"mpnet": ["q", "v"], "distilbert": ["q_lin", "lin1"]}.get(family, ["query", "dense"])
    adapter = peft.LoraConfig(r=2, target_modules=modules, init_lora_weights=False)
    own = random_model(family, head)
    own.save_pretrained(tmp_path / "theirs")
    tensors = load_file(tmp_path / "theirs" / "model.safetensors")
    import_file(str(save(tmp_path / "base", family, head, tensors)), tmp_path / "run")
    adapted = peft.get_peft_model(own, adapter).eval()
    adapted.save_pretrained(tmp_path / "adapter")
    import_file(str(tmp_path / "adapter"), tmp_path / "adapted", init=str(tmp_path / "run"))
    run, expected = minillm.load(tmp_path / "adapted"), theirs(adapted, family)
    assert_close(outputs_of(run.model)[:1], expected[:1])
    run.export(tmp_path / "ours", format="peft")
    again = peft.PeftModel.from_pretrained(random_model(family, head), tmp_path / "ours").eval()
    np.testing.assert_array_equal(theirs(again, family)[0], expected[0])


def test_buckets_of_transformers():
    torch = pytest.importorskip("torch")
    modeling = pytest.importorskip("transformers.models.mpnet.modeling_mpnet")
    T = 700
    distance = torch.arange(T)[None] - torch.arange(T)[:, None]
    expected = modeling.MPNetEncoder.relative_position_bucket(distance).numpy()
    np.testing.assert_array_equal(buckets_of(T), expected)
