"""What stands beside an encoder in a folder: its tokenizer, and the files of sentence encoders.

Against transformers and sentence-transformers where they are installed.
"""

import json
from dataclasses import asdict

import numpy as np
import pytest
from published import of_pairs, of_words, with_unigrams

import minillm
from minillm.errors import InputError
from minillm.formats import huggingface
from minillm.formats.format import Contents
from minillm.formats.huggingface import LAYOUTS, read_tokenizer, tokenizer_files_of
from minillm.formats.sentences import Sentences
from minillm.models.bert import BERT, BERTConfig
from minillm.models.encoders import FAMILIES, Encoder, EncoderConfig, buckets_of
from minillm.models.fine_tuned import FineTuned, FineTunedConfig
from minillm.runs.conversion import import_file
from minillm.text import PublishedTokenizer, load_tokenizer, tokenizer_files, tokenizer_json
from minillm.text.byte_pairs import train
from minillm.text.tokenizer_json import CONTROL, NORMAL
from minillm.text.word_pieces import SPECIALS, WordPieces

LETTERS = "abcdefghijklmnop"
PIECES = WordPieces([*SPECIALS, *LETTERS, *("##" + letter for letter in LETTERS), "é", "!", "京"])
MPNET = ["<s>", "<pad>", "</s>", "[UNK]", "[MASK]", *PIECES.tokens[5:-1], "<mask>"]
MPNET_PIECES = of_words(MPNET, ["<s>", "<pad>", "</s>", "[UNK]", "<mask>"])
ROBERTA_SPECIALS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
C, D = 12, 8
TEXTS = [
    "", "abc! Éa 京 b", "a b c d e f g h i j k l m n", "<mask> [MASK] ab", "é <mask>.", " \n ",
    "aaaaaaaaaaaaaaaa b", "<s> x </s> <pad>", "a<mask>  b", "madeupword0000 <|endoftext|>",
]  # fmt: skip


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
    scores = [0.0 if token.startswith("<") else -1.0 - at for at, token in enumerate(tokens)]
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


TOKENIZERS = {
    "bert": lambda: PIECES,
    "distilbert": lambda: PIECES,
    "electra": lambda: PIECES,
    "mpnet": lambda: MPNET_PIECES,
    "roberta": byte_pairs,
    "xlm-roberta": sentence_pieces,
    "bert of many languages": sentence_pieces,  # a sentence encoder with XLM-R's tokenizer
}


def layout(family):
    return next(one for one in LAYOUTS if one.model_type == family)


def new(family, tokenizer, **options):
    rng, sizes = np.random.default_rng(0), {"context": C, "layers": 2, "heads": 2, "width": D}
    if family.startswith("bert"):
        return BERT(BERTConfig(len(tokenizer), **sizes, **options), rng)
    sizes |= {"embedding": 6} if family == "electra" else {}
    sizes |= {"padding": 1 if FAMILIES[family].after_padding else 0, "segments": 1}
    config = EncoderConfig(len(tokenizer), **sizes, family=family, **options)
    return Encoder(config, rng)


def write(path, model, tokenizer=PIECES, sentences=None):
    facts = asdict(sentences or Sentences())
    huggingface.write(Contents(model, tokenizer, facts=facts), path)
    return path


def add(path, files):
    path.mkdir(exist_ok=True)
    for name, content in files.items():
        (path / name).write_bytes(content)
    return path


# --- tokenizers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_tokenizers_are_written_and_read_back(tmp_path, family):
    tokenizer, own = TOKENIZERS[family](), layout(family)
    again = read_tokenizer(own, add(tmp_path / "a", tokenizer_files_of(own, tokenizer, C)))
    for role in ("bos", "eos", "mask", "padding"):
        assert getattr(again, role) == getattr(tokenizer, role)
    assert not again.add_bos
    assert not again.add_eos
    ids = [again.encode(text).tolist() for text in TEXTS]
    assert ids == [tokenizer.encode_each([text], [""])[0].tolist() for text in TEXTS]
    transformers = pytest.importorskip("transformers")
    other = transformers.AutoTokenizer.from_pretrained(tmp_path / "a")
    assert [other(text)["input_ids"] for text in TEXTS] == [[again.bos, *i, again.eos] for i in ids]
    cut = other(TEXTS[2], truncation=True)["input_ids"]
    assert cut == [again.bos, *ids[2][: C - 2], again.eos]
    other.save_pretrained(tmp_path / "theirs")
    back = read_tokenizer(own, tmp_path / "theirs")
    assert [back.encode(text).tolist() for text in TEXTS] == ids


@pytest.mark.parametrize("left_out", ["tokenizer.json", "vocab.txt"])
def test_each_file_of_the_tokenizer_is_enough(tmp_path, left_out):
    files = tokenizer_files(PIECES) | {"vocab.txt": "\n".join([*PIECES.tokens, ""]).encode()}
    del files[left_out]
    again = read_tokenizer(layout("bert"), add(tmp_path, files))
    assert again.to_dict() == PublishedTokenizer(tokenizer_json.of_ours(PIECES)).to_dict()


def test_byte_pairs_get_no_frame_twice(tmp_path):
    add(tmp_path, tokenizer_files_of(layout("roberta"), byte_pairs(), C))
    whole, ours = load_tokenizer(tmp_path), read_tokenizer(layout("roberta"), tmp_path)
    assert whole.encode("sea").tolist() == [ours.bos, *ours.encode("sea").tolist(), ours.eos]


def test_tokens_that_no_text_becomes():
    tokenizer = byte_pairs()
    ids = tokenizer.encode("<|endoftext|>madeupword0000")
    unused = {tokenizer.texts.index(text) for text in ("<|endoftext|>", "madeupword0000")}
    assert not unused & {*ids}
    assert tokenizer.encode("a <mask>").tolist() == [ord("a"), tokenizer.mask]


@pytest.mark.parametrize(
    "tokenizer", [WordPieces(["[UNK]", "a"]), WordPieces([*SPECIALS[:4], "a"]), train(["sea"], 260)]
)
def test_a_tokenizer_without_the_special_tokens(tmp_path, tokenizer):
    add(tmp_path, tokenizer_files(tokenizer))
    message = r"expected a tokenizer with \[CLS\], \[SEP\] and \[MASK\], or <s>, </s> and <mask>"
    with pytest.raises(InputError, match=message):
        read_tokenizer(layout("distilbert"), tmp_path)


# --- the files of sentence encoders --------------------------------------------------------------

POOLING = "1_Pooling/config.json"
NUMBER = "sentence_bert_config.json"
CUT = "config_sentence_transformers.json"
STEPS = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]


def modules(*steps):
    return [{"path": path, "type": f"sentence_transformers.models.{name}"} for path, name in steps]


@pytest.mark.parametrize(
    "sentences",
    [Sentences("mean", True, 9), Sentences("first"), Sentences("max", False, 5), Sentences()],
)
def test_sentence_encoders_are_written_and_read_back(tmp_path, sentences):
    model = new("bert", PIECES, masked_words=False)
    path = write(tmp_path / "out", model, sentences=sentences)
    assert Sentences.of(huggingface.read(path).facts) == sentences
    assert (path / "modules.json").exists() == (sentences.pooling is not None)
    values = json.loads((path / "tokenizer_config.json").read_text())
    assert values["model_max_length"] == (sentences.longest or C)


@pytest.fixture
def encoder(tmp_path):
    """A folder as sentence-transformers writes it; and a function that changes some files."""
    path = write(
        tmp_path / "encoder",
        new("bert", PIECES, masked_words=False),
        sentences=Sentences("mean", True, 10),
    )

    def change(files):
        for name, content in files.items():
            if content is None:
                (path / name).unlink()
            else:
                text = content if isinstance(content, str) else json.dumps(content)
                (path / name).write_text(text)
        return path

    return change


def flags(**on):
    return {f"pooling_mode_{name}": value for name, value in on.items()}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, ("mean", True, 10)),
        ({"modules.json": modules(*STEPS[:2])}, ("mean", False, 10)),
        ({"modules.json": None}, (None, False, 10)),
        ({POOLING: {}}, ("mean", True, 10)),
        ({POOLING: flags(mean_tokens=False, cls_token=True)}, ("first", True, 10)),
        ({POOLING: flags(max_tokens=True)}, ("max", True, 10)),
        ({POOLING: {"pooling_mode": "cls", "embedding_dimension": D}}, ("first", True, 10)),
        ({CUT: {"truncate_dim": None, "prompts": {"a": "b"}}}, ("mean", True, 10)),
        ({NUMBER: {"max_seq_length": C}}, ("mean", True, None)),
        ({NUMBER: None, "tokenizer_config.json": {}}, ("mean", True, None)),
        ({NUMBER: None, "tokenizer_config.json": {"model_max_length": 7}}, ("mean", True, 7)),
        (
            {NUMBER: None, "tokenizer_config.json": {"model_max_length": int(1e30)}},
            ("mean", True, None),
        ),
    ],
)
def test_what_the_files_of_a_sentence_encoder_say(encoder, files, expected):
    assert Sentences.of(huggingface.read(encoder(files)).facts) == Sentences(*expected)


PATHS = "expected steps with type and path, found"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (POOLING, flags(lasttoken=True), "expected one of mean, cls, max, found 'pooling_mode_l"),
        (POOLING, flags(mean_tokens=True, cls_token=True), "found ['mean', 'cls'"),
        (POOLING, {"pooling_mode": {"a": 1}}, "expected one of mean, cls, max, found {'a'"),
        (POOLING, {"word_embedding_dimension": 7}, "expected 8, the width of the"),
        (POOLING, None, "there is no such file"),
        (CUT, {"truncate_dim": 4}, "truncate_dim: expected None, found 4"),
        (CUT, {"default_prompt_name": "a"}, "default_prompt_name: expected None"),
        ("modules.json", modules(*STEPS[:2], ("3", "Dense")), "expected the steps Transformer, P"),
        ("modules.json", modules(("0", "Transformer"), STEPS[1]), "the first one in the same fo"),
        ("modules.json", "[1]", f"{PATHS} 1"),
        *(("modules.json", modules((place, "Transformer")), PATHS) for place in ("../x", "a\0b")),
        *(
            (NUMBER, {"max_seq_length": longest}, "max_seq_length: expected a whole number from 3 ")
            for longest in (2, "9")
        ),
    ],
)
def test_sentence_encoders_that_are_refused(encoder, file, content, message):
    path = encoder({file: content})
    with pytest.raises(InputError) as caught:
        huggingface.read(path)
    assert str(caught.value).startswith(f"{path / file}: ")
    assert message in str(caught.value)
    assert len(str(caught.value)) < 500


# --- runs, and other programs --------------------------------------------------------------------


def test_an_imported_classifier_labels_as_its_files_say(tmp_path):
    encoder = new("roberta", PIECES, masked_words=False, eps=1e-5).config
    config = FineTunedConfig("encoder", encoder, 3, pooling="first", head="tanh")
    model = FineTuned(config, np.random.default_rng(0))
    facts = {"labels": ("bad", "so so", "good"), "longest": None}
    huggingface.write(Contents(model, PIECES, facts=facts), tmp_path / "in")
    values = json.loads((tmp_path / "in" / "config.json").read_text())
    assert values["label2id"] == {"bad": 0, "so so": 1, "good": 2}
    import_file(str(tmp_path / "in"), tmp_path / "run")
    run = minillm.load(tmp_path / "run")
    [result] = run.classify(["ab c"])
    ids = np.array([[PIECES.bos, *PIECES.encode("ab c"), PIECES.eos]])
    logits, _ = model.forward(ids, np.array([ids.shape[1]]))
    p = np.exp(logits[0]) / np.exp(logits[0]).sum()
    assert result.label == facts["labels"][int(p.argmax())]
    assert result.probabilities["bad"] == pytest.approx(p[0], rel=1e-5)
    with pytest.raises(InputError, match="give the text to measure it on as FILE"):
        run.evaluate()
    assert run.evaluate(texts=["ab", "c"], labels=["bad", "good"])["items"] == 2


@pytest.mark.parametrize(
    ("family", "sentences"),
    [
        *((family, Sentences("mean", True, C - 3)) for family in TOKENIZERS),
        *((family, Sentences("first")) for family in FAMILIES),
        ("bert", Sentences("max")),
        ("bert", Sentences("first", True)),
    ],
)
def test_sentence_transformers(tmp_path, family, sentences):
    """It loads what we write, and we what it writes; the vectors are the same."""
    library = pytest.importorskip("sentence_transformers")
    tokenizer = TOKENIZERS[family]()
    model = new(family, tokenizer, masked_words=False)
    write(tmp_path / "ours", model, tokenizer, sentences)
    loaded = library.SentenceTransformer(str(tmp_path / "ours"), device="cpu")
    assert loaded.max_seq_length == (sentences.longest or C)
    expected = loaded.encode(TEXTS)
    loaded.save(str(tmp_path / "theirs"))
    for folder in ("ours", "theirs"):
        import_file(str(tmp_path / folder), tmp_path / f"run-{folder}")
        vectors = minillm.load(tmp_path / f"run-{folder}").embed(TEXTS)
        atol = 3e-6 * np.abs(expected).max()
        np.testing.assert_allclose(vectors, expected, atol=atol, rtol=0)


def test_buckets_of_transformers():
    torch = pytest.importorskip("torch")
    modeling = pytest.importorskip("transformers.models.mpnet.modeling_mpnet")
    T = 700
    distance = torch.arange(T)[None] - torch.arange(T)[:, None]
    expected = modeling.MPNetEncoder.relative_position_bucket(distance).numpy()
    np.testing.assert_array_equal(buckets_of(T), expected)
