"""SentencePiece's tokens: both algorithms, frozen vectors, files, and what is refused."""

import json
from base64 import b64decode
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.decoding.pieces import Pieces
from minillm.errors import InputError
from minillm.text import load_tokenizer, pairs_by_score, tokenizer_files, vocabulary_from_dict
from minillm.text.bpe_fast import merge
from minillm.text.charsmap import Charsmap
from minillm.text.sentence_pieces import SentencePieces
from minillm.text.sentencepiece_files import fields, scores_in
from minillm.text.unigram import segment

VECTORS = json.loads(Path(__file__).with_name("sentencepiece_vectors.json").read_text())
MODELS = VECTORS["models"]
BYTES = [f"<0x{value:02X}>" for value in range(256)]
WORDS = st.text("abc▁é", max_size=12)
SCORES = st.dictionaries(st.text("abc▁", min_size=1, max_size=4), st.integers(-9, 0), max_size=12)


def plain(scores, **options):
    """A tokenizer of these tokens, with bytes for other characters."""
    texts = ["<unk>", "<s>", "</s>", *BYTES, *scores]
    numbers = [0.0] * 259 + [float(score) for score in scores.values()]
    options = {"byte_fallback": True, **options}
    return SentencePieces(texts, numbers, None, ["<s>", "</s>"], **options)


@pytest.fixture(params=MODELS)
def frozen(request, tmp_path):
    path = tmp_path / "tokenizer.model"
    path.write_bytes(b64decode(MODELS[request.param]["model"]))
    return load_tokenizer(path), MODELS[request.param]["ids"]


def test_ids_are_the_librarys(frozen):
    tokenizer, ids = frozen
    for text, expected in zip(VECTORS["texts"], ids, strict=True):
        assert tokenizer.encode_known(text).tolist() == expected, text


def test_texts_come_back(frozen):
    tokenizer, _ = frozen
    for text in VECTORS["texts"]:
        if not (tokenizer.squeeze or tokenizer.charsmap or "▁" in text):
            ids = tokenizer.encode_known(text)
            assert tokenizer.decode(ids) == text
            assert "".join(tokenizer.stream(ids)) == text


def test_all_forms_are_read_back(frozen, tmp_path):
    tokenizer, _ = frozen
    stored = json.loads(json.dumps(tokenizer.to_dict()))
    assert vocabulary_from_dict(stored).to_dict() == tokenizer.to_dict()
    for name, content in tokenizer_files(tokenizer).items():
        (tmp_path / name).write_bytes(content)
    again = load_tokenizer(tmp_path)
    for text in VECTORS["texts"]:
        assert again.encode(text).tolist() == tokenizer.encode(text).tolist()
    library = pytest.importorskip("tokenizers")
    theirs = library.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in VECTORS["texts"]:
        if not tokenizer.charsmap:  # the library tokenizers drops marks that are not in the table
            assert again.encode(text).tolist() == theirs.encode(text).ids


@given(WORDS, SCORES)
def test_pairs_are_merged_as_in_the_definition(text, scores):
    """Where every character is a token."""
    scores = dict.fromkeys("abc▁é", -10) | scores
    tokenizer = plain(scores, prefix="none")
    found = [tokenizer.texts[number] for number in tokenizer.encode(text)]
    assert found == pairs_by_score.encode(text, scores)


@given(WORDS, SCORES)
def test_the_best_path_is_the_best_of_all(text, scores):
    def best(rest):
        """The largest sum of all segmentations."""
        if not rest:
            return 0.0
        parts = [(scores.get(rest[:n], -30.0 if n == 1 else None), n) for n in range(1, 5)]
        parts = [(score, n) for score, n in parts if score is not None and n <= len(rest)]
        return max(score + best(rest[n:]) for score, n in parts)

    text = text[:8]
    found = segment(text, scores, -30.0)
    assert "".join(found) == text
    assert sum(scores.get(part, -30.0) for part in found) == best(text)
    assert segment(text, scores, -30.0, max(map(len, scores), default=1)) == found
    worst = min(scores.values(), default=0) - 10
    assert segment(text, scores) == segment(text, scores, worst)


@given(WORDS, SCORES)
def test_words_may_be_cut(text, scores):
    """The ids of a whole text are the same, as long as sums of scores are exact."""
    scores = dict.fromkeys("abc▁é", -10) | scores
    tokenizer = plain(scores, prefix="none", unigram=True)
    whole = segment(text, {**scores, "é": -10})
    assert [tokenizer.texts[number] for number in tokenizer.encode(text)] == whole


def test_unknown_characters_are_bytes_or_one_unknown_token():
    tokenizer = plain({"▁": -1.0, "a": -2.0})
    ids = tokenizer.encode("aéa")
    assert [tokenizer.texts[number] for number in ids] == ["▁", "a", "<0xC3>", "<0xA9>", "a"]
    assert tokenizer.decode(ids) == "aéa"
    assert list(tokenizer.stream(ids)) == ["a", "é", "a"]
    without = SentencePieces(["<unk>", "▁", "a"], [0.0, -1.0, -2.0])
    assert without.encode("aéèa é").tolist() == [1, 2, 0, 2, 1, 0]
    assert without.unknown == 0
    assert 0 in without.hidden
    with pytest.raises(InputError, match="line 1, column 2: expected text, found a lone surrogate"):
        tokenizer.encode("a\ud800")


def test_where_a_space_is_put_before_a_text():
    scores = {"▁": -1.0, "a": -2.0}
    texts = {"a": "▁a", " a": "▁▁a", "a<s>a": "▁a<s>▁a", "a<s> a": "▁a<s>▁▁a", "": ""}

    def cut(prefix, text):
        tokenizer = plain(scores, prefix=prefix)
        return "".join(tokenizer.texts[number] for number in tokenizer.encode(text))

    for text, expected in texts.items():
        assert cut("each", text) == expected
        assert cut("missing", text) == expected.replace("▁▁", "▁")
        assert cut("none", text) == text.replace(" ", "▁")
    assert cut("first", "a<s>a<s> a") == "▁a<s>a<s>▁a"
    assert cut("first", "<s>a") == "<s>a"
    ordinary = plain(scores, prefix="first")
    assert len(ordinary.encode_ordinary("a")) == 2
    assert len(ordinary.encode_ordinary("a", first=False)) == 1


def test_an_answer_begins_without_the_space():
    tokenizer = plain({"▁a": -1.0, "▁": -2.0, "a": -3.0})
    ids = tokenizer.encode("a a").tolist()
    end = tokenizer.special.ids["</s>"]
    for after, expected in ((end, "a a"), (None, "a a"), (ids[0], " a a")):
        pieces = Pieces(tokenizer, after=after)
        assert "".join(pieces.add(number) for number in [*ids, end]) + pieces.end() == expected


def test_scores_of_merges_and_merges_of_scores(tmp_path):
    tokenizer = plain({"a": -9.0, "b": -9.5, "ab": -1.0, "aab": -2.0, "abab": -3.0})
    (tmp_path / "tokenizer.json").write_bytes(tokenizer_files(tokenizer)["tokenizer.json"])
    again = load_tokenizer(tmp_path)
    assert [tuple(again.texts[n] for n in pair) for pair in again.merges.tolist()] == [
        *(("a", "b"), ("a", "ab"), ("ab", "ab")),
    ]
    scores, same = scores_in(again)
    assert same
    assert [scores[again.pieces[text]] for text in ("ab", "aab", "abab")] == [0.0, -1.0, -2.0]
    fewer = SentencePieces(again.texts, None, again.merges[:2], again.specials)
    assert not scores_in(fewer)[1]  # by score, ab ab would be merged


def test_a_table_of_replacements():
    data = b64decode(MODELS["unigram with a table"]["model"])
    table = Charsmap(dict(fields(dict(fields(data))[3]))[2])
    texts = {
        "\ufb01x": "fix",
        "Ａ": "A",
        "A": "a",
        "e\u0301\u0301": "é",
        "\u0301": "",
        "e": "e",
        "漢\t": "漢 ",
    }
    for text, expected in texts.items():
        assert table.normalise(text) == expected
    assert table.normalise("".join(texts)) == "".join(texts.values())
    assert Charsmap(b"").normalise("Ａ") == "Ａ"
    for damaged in (b"x", table.data[:100], b"\0" * 8):
        with pytest.raises(ValueError, match="expected a table of characters"):
            Charsmap(damaged)


@given(st.lists(st.integers(0, 4), max_size=9))
def test_a_merge_may_have_any_rank(word):
    """Equal ranks: the first pair is merged first."""
    table = {(1, 2): (0.5, 3), (2, 1): (0.5, 4), (3, 3): (-1.0, 0)}
    parts = list(word)
    while pairs := [(table[p][0], at) for at, p in enumerate(pairwise(parts)) if p in table]:
        at = min(pairs)[1]
        parts[at : at + 2] = [table[tuple(parts[at : at + 2])][1]]
    assert merge(word, table.get) == parts


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"texts": ["a", "a"]}, "texts: expected distinct texts"),
        ({"texts": ["<unk>", ""]}, "texts: expected distinct texts"),
        ({"texts": ["c", "a", "b"]}, "unknown: expected '<unk>' among the texts"),
        ({"scores": None}, "expected scores, or merges"),
        ({"merges": []}, "expected scores, or merges"),
        ({"scores": None, "merges": [[1, 2]]}, "merges: expected 'ab' among the texts"),
        ({"scores": None, "merges": [[1, 7]]}, "merges: expected ids of the 3 texts"),
        ({"scores": None, "merges": [], "unigram": True}, "expected scores, or merges"),
        ({"scores": [1.0]}, "scores: expected 3 numbers, found 1"),
        ({"scores": [1.0, float("nan"), 0.0]}, "scores: expected finite numbers"),
        ({"specials": ["x"]}, "specials: expected some of the texts, found 'x'"),
        ({"prefix": "all"}, "prefix: expected each or missing or first or none"),
        ({"charsmap": "AAAA"}, "expected a table of characters"),
        ({"add_eos": True}, "add_eos: expected '</s>' among the specials"),
        ({"shown": ["a"]}, "shown: expected special tokens, found 'a'"),
    ],
)
def test_what_does_not_fit_together_is_refused(arguments, message):
    given = {"texts": ["<unk>", "a", "b"], "scores": [0.0, -1.0, -2.0], **arguments}
    with pytest.raises(ValueError, match=message):
        SentencePieces(**given)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update(scores=["a"]), "scores: expected finite numbers"),
        (lambda v: v.update(scores=3), "scores: expected finite numbers"),
        (lambda v: v.update(merges=[1]), 'expected "merges": pairs of numbers'),
        (lambda v: v.update(texts="abc"), 'expected "texts": a list of strings'),
        (lambda v: v.update(prefix=3), 'expected "prefix": a text'),
        (lambda v: v.update(unigram=1), 'expected "unigram": true or false'),
        (lambda v: v.update(shown=[3]), 'expected "shown": a list of strings'),
    ],
)
def test_a_damaged_vocabulary_of_a_run_is_refused(change, message):
    values = json.loads(json.dumps(plain({"a": -1.0}).to_dict()))
    change(values)
    with pytest.raises(ValueError, match=message):
        vocabulary_from_dict(values)


def test_a_damaged_model_is_refused(tmp_path):
    data = b64decode(MODELS["pairs"]["model"])
    path = tmp_path / "tokenizer.model"
    for damaged, message in (
        (data[:-1], "Protocol Buffers, but it is damaged"),
        (data[:1000], "Protocol Buffers, but it is damaged"),
        (b"\xff" * 20, "Protocol Buffers, but it is damaged"),
        (b"", "expected a unigram model or byte pairs"),
        (data + b"\x12\x02\x18\x03", "expected a unigram model or byte pairs, found type 3"),
        (data + b"\x12\x05\x18\x02\xc0\x01\x01", 'expected "▁" in place of the space'),
        (data + b"\x0a\x06\x0a\x02zz\x18\x05", "expected tokens that are used"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=message) as error:
            load_tokenizer(tmp_path)
        assert str(error.value).startswith(f"{path}: ")


def test_a_configuration_adds_tokens_to_a_model(tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(b64decode(MODELS["pairs"]["model"]))
    plain = load_tokenizer(tmp_path)
    count = len(plain)
    assert plain.add_bos
    assert plain.tokens[plain.bos] == b"<s>"
    added = {
        "2": {"content": "</s>", "special": True},
        str(count): {"content": "<|end|>", "special": True, "rstrip": True},
        str(count + 1): {"content": "<think>", "special": False},
    }
    config = {"added_tokens_decoder": added, "add_bos_token": False, "add_eos_token": True}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = load_tokenizer(tmp_path)
    assert len(tokenizer) == count + 2
    ids = tokenizer.encode("the cat<|end|>\n<think>")
    assert ids[-3:].tolist() == [count, count + 1, tokenizer.eos]
    assert tokenizer.hidden >= {count}
    assert count + 1 not in tokenizer.hidden
    np.testing.assert_array_equal(ids[:-3], plain.encode_known("the cat"))
    del added[str(count)]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=f"added_tokens_decoder: expected ids from {count} on"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update(normalizer={"type": "NFD"}), "normalizer: expected steps of Sentence"),
        (lambda v: v["normalizer"]["normalizers"].append({"type": "Strip", "strip_right": True}),
         "removes spaces at the ends and within"),
        (lambda v: v.update(pre_tokenizer={"type": "Whitespace"}), "pre_tokenizer: expected Meta"),
        (lambda v: v.update(pre_tokenizer={"type": "Metaspace", "replacement": "▁",
                                           "prepend_scheme": "last"}), "prepend_scheme: expected"),
        (lambda v: v.update(decoder={"type": "ByteLevel"}), "decoder: expected Replace or"),
        (lambda v: v["model"].update(dropout=0.5), "dropout: expected None"),
        (lambda v: v["model"]["vocab"].update(zz=10**6), "expected as ids each number from 0 to"),
        (lambda v: v["model"]["merges"].append(["a"]), "model.merges: pairs of texts"),
        (lambda v: v["model"]["merges"].append(["a", "漢字"]), "model.merges: expected tokens"),
        (lambda v: v["model"]["merges"].append(["a", "0"]), "merges: expected 'a0' among"),
        (lambda v: v["model"].update(byte_fallback=False, fuse_unk=False), "model.fuse_unk"),
    ],
)  # fmt: skip
def test_other_steps_are_refused(tmp_path, change, message):
    (tmp_path / "tokenizer.model").write_bytes(b64decode(MODELS["pairs"]["model"]))
    files = tokenizer_files(load_tokenizer(tmp_path))
    values = json.loads(files["tokenizer.json"])
    change(values)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(values))
    with pytest.raises(InputError, match=message) as error:
        load_tokenizer(tmp_path)
    assert str(error.value).count(str(path)) == 1


@pytest.mark.parametrize(
    ("step", "options"),
    [
        ({"prepend_scheme": "always"}, {"prefix": "missing", "separate": True}),
        ({"prepend_scheme": "first", "split": False}, {"prefix": "first", "separate": False}),
        ({"prepend_scheme": "never", "split": False}, {"prefix": "none", "separate": False}),
        ({"add_prefix_space": True}, {"prefix": "missing", "separate": True}),
        ({"add_prefix_space": False}, {"prefix": "none", "separate": True}),
    ],
)
def test_the_steps_of_other_versions_are_read(tmp_path, step, options):
    tokenizer = plain({"▁": -1.0, "a": -2.0})
    values = json.loads(tokenizer_files(tokenizer)["tokenizer.json"])
    values["normalizer"] = None
    values["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", **step}
    (tmp_path / "tokenizer.json").write_text(json.dumps(values))
    found = load_tokenizer(tmp_path)
    assert {name: getattr(found, name) for name in options} == options
    again = tmp_path / "again"
    again.mkdir()
    (again / "tokenizer.json").write_bytes(tokenizer_files(found)["tokenizer.json"])
    assert load_tokenizer(again).to_dict() == found.to_dict()


def test_special_tokens_at_the_end_may_be_cut():
    """Gemma 3 has a token for images, and its text models have no row for it."""
    whole = plain({"a": -1, "▁a": -2})
    texts, scores = [*whole.texts, "<image>", "<end>"], [*whole.scores, 0.0, 0.0]
    specials = [*whole.specials, "<image>", "<end>"]
    longer = SentencePieces(texts, scores, None, specials, byte_fallback=True, lstrip=["<end>"])
    assert longer.cut(len(whole)).to_dict() == whole.to_dict()
    assert longer.cut(99999).to_dict() == longer.to_dict()
    assert longer.cut(len(whole)).encode("<image>").tolist() == whole.encode("<image>").tolist()
    with pytest.raises(ValueError, match="expected 260 tokens, found 263"):
        longer.cut(260)  # a word
    with pytest.raises(ValueError, match="expected 1 tokens, found 263"):
        longer.cut(1)
