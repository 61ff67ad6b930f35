"""ARPA files: a round trip, every kind of damage, and KenLM's scores of ours."""

import gzip

import numpy as np
import pytest

from minillm.data import builtin_corpus
from minillm.errors import InputError
from minillm.formats.arpa import read_arpa, write_arpa
from minillm.models.ngram import NGram, NGramConfig, count_ngrams, estimate
from minillm.text import Characters, Words

TOY = """\\data\\
ngram 1=4
ngram 2=3

\\1-grams:
-1.5\t<unk>
-99\t<s>\t-0.25
-0.5\ta\t-0.125
-0.75\t</s>

\\2-grams:
-0.5\ta </s>
-0.25\t<s> a
-1\ta a

\\end\\
"""


def words_model(text, order=4, smoothing="kneser-ney", prune=()):
    """-> the model, its vocabulary, and the ids of a text in sentences."""
    vocabulary = Words.from_text(text, 2)
    end, start = vocabulary.sentence_end, len(vocabulary)
    ids = vocabulary.encode(text)
    at = np.flatnonzero(ids == end)[:-1] + 1
    ids = np.insert(ids, [0, *at], start).astype(np.int32)
    config = NGramConfig(start, order, smoothing, k=0.1, prune=prune, line_end=end, unknown=0)
    return estimate(count_ngrams(ids, order, start), config), vocabulary, ids


def same(params, others):
    assert set(params) == set(others)
    for name in params:
        assert params[name].dtype == others[name].dtype
        assert np.array_equal(params[name], others[name]), name


@pytest.mark.parametrize(
    ("suffix", "order", "prune"), [(".arpa", 1, ()), (".arpa.gz", 4, ()), (".arpa", 3, (0, 1))]
)
def test_round_trip_of_words(tmp_path, suffix, order, prune):
    model, vocabulary, _ = words_model(builtin_corpus()[:20_000], order, prune=prune)
    path = tmp_path / f"model{suffix}"
    write_arpa(path, vocabulary, model.params)
    again, params = read_arpa(path)
    assert again.to_dict() == vocabulary.to_dict()
    same(params, model.params)
    packed = path.read_bytes()
    write_arpa(path, again, params)
    assert path.read_bytes() == packed
    assert packed.startswith(b"\x1f\x8b" if suffix.endswith("gz") else b"\\data\\\nngram 1=")


def test_round_trip_of_characters(tmp_path):
    text = "a b\tc\u00a0d\n\u3000é€😀\n" * 3
    vocabulary = Characters.from_text(text)
    ids = np.concatenate([[len(vocabulary)], vocabulary.encode(text)]).astype(np.int32)
    model = estimate(count_ngrams(ids, 3, len(vocabulary)), NGramConfig(len(vocabulary), 3))
    write_arpa(tmp_path / "model.arpa", vocabulary, model.params)
    again, params = read_arpa(tmp_path / "model.arpa")
    assert again.to_dict() == vocabulary.to_dict()
    same(params, model.params)


def test_reading_a_file_by_hand(tmp_path):
    (tmp_path / "toy.arpa").write_text(TOY)
    vocabulary, params = read_arpa(tmp_path / "toy.arpa")
    assert [vocabulary.decode([id]) for id in range(3)] == ["<unk>", "a", "\n"]
    assert (vocabulary.unknown, vocabulary.sentence_end) == (0, 2)
    assert params["log_p.1"].tolist() == [-1.5, -0.5, -0.75, -99]
    assert params["backoff.1"].tolist() == [0, -0.125, 0, -0.25]
    assert params["first.2"].tolist() == [0, 0, 2, 2, 3]
    assert params["word.2"].tolist() == [1, 2, 1]
    assert params["log_p.2"].tolist() == [-1, -0.5, -0.25]
    model = NGram(NGramConfig(3, 2, sizes=(4, 3)), params)
    # <s> a, a <unk> by backoff, <unk> </s> with no context seen
    expected = [0, -0.25, -0.125 - 1.5, -0.75]
    assert model.probabilities(np.array([3, 1, 0, 2], np.int32)).tolist() == expected


NEITHER = "expected words and </s>, or characters, found"
TRIGRAMS = """\\3-grams:
-1\t<s> a a
-1\t<s> </s> a
-1\ta a a

\\end\\"""
SIZES = "".join(f"ngram {n}=1\n" for n in range(1, 30))
DAMAGES = [  # a part of the file, what is in its place, and the message
    ("\\data\\\n", "", r"line 1: expected \\data\\"),
    ("ngram 1=4\nngram 2=3\n", "", "line 3: expected ngram 1=a number above 0 before it"),
    ("ngram 2=3", "ngram 2=x", "line 3: expected ngram 2=a number"),
    ("ngram 2=3", "ngram 2=" + "9" * 5000, "line 3: expected ngram 2=a number"),
    ("ngram 2=3", f"ngram 2={10**19}", "line 3: expected ngram 2=a number below 2"),
    ("ngram 2=3", f"ngram 2={2**31 - 1}", "line 16: expected 2147483647 2-grams"),
    ("ngram 1=4", "ngram 1=0", "line 5: expected ngram 1=a number above 0"),
    ("ngram 1=4\nngram 2=3\n", SIZES, r"line 22: expected ngram 21=.*, up to 20-grams"),
    ("ngram 2=3", "ngram 2=4", "line 16: expected 4 2-grams"),
    ("ngram 2=3", "ngram 2=2", r"line 14: expected \\end\\, found '-1"),
    ("\\2-grams:", "\\3-grams:", "line 11: expected .2-grams:"),
    ("-0.5\ta </s>", "nan\ta </s>", "line 12: expected 3 2-grams: log10 p"),
    ("-0.5\ta </s>", "0.5\ta </s>", "line 12: expected 3 2-grams: log10 p"),
    ("-0.125", "inf", "line 8: .* a finite backoff"),
    ("-0.125", "1e300", "line 8: .* a finite backoff"),
    ("-0.5\ta </s>", "-0.5\ta", "line 12: expected 3 2-grams: .*, words: 2"),
    ("a </s>", "b </s>", "expected 2-grams, .* of words .*, found 'b </s>'"),
    ("-0.75\t</s>", "-0.75\ta", "expected each 1-gram once, found 'a' again"),
    ("-0.5\ta\t", "-0.5\t<UNK>\t", "expected each 1-gram once, found '<unk>'"),
    ("-1\ta a", "-1\t<s> a", "expected 2-grams, each once, .*, found '<s> a'"),
    ("\\end\\\n", "", r"expected \\end\\, found the end after line 15"),
    ("-0.5\ta\t", "-0.5\t\udcff\t", r"utf-8. codec can't decode"),
    (
        TOY,
        TOY.replace("ngram 2=3\n", "ngram 2=3\nngram 3=3\n").replace("\\end\\", TRIGRAMS),
        r"3-grams, .* contexts before them, found '<s> </s> a'",
    ),
    (TOY, "\\data\\\nngram 1=2\n\n\\1-grams:\n-1\t<s>\n-1\ta\n\n\\end\\\n", NEITHER),
    (TOY, "\\data\\\nngram 1=2\n\n\\1-grams:\n-1\t<U+0020>\n-1\tab\n\n\\end\\\n", NEITHER),
]


@pytest.mark.parametrize(("old", "new", "message"), DAMAGES)
def test_damage_is_named_with_its_line(tmp_path, old, new, message):
    assert old in TOY
    path = tmp_path / "toy.arpa"
    path.write_bytes(TOY.replace(old, new).encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=message) as caught:
        read_arpa(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_gzip_files_that_are_cut_or_become_too_long(tmp_path):
    packed = gzip.compress((TOY * 20).encode())
    head = b"\\data\\\nngram 1=1\n\n\\1-grams:\n"
    for data, message in (
        (packed[: len(packed) // 2], "expected a (whole )?gzip file"),
        (
            gzip.compress(head + b"-1 " + b"a" * (20 << 20), 1),
            "line 5: expected a line of at most 16,777,216 bytes",
        ),
    ):
        (tmp_path / "a.gz").write_bytes(data)
        with pytest.raises(InputError, match=message):
            read_arpa(tmp_path / "a.gz")


@pytest.mark.parametrize(
    ("words", "pretokenised"),
    [
        (["don't", "3.14", ",", "("], False),
        (["the", "end"], False),  # either way, such words are split alike
        (["the", ".", "end."], True),
        (["do", "n't", "'s", "."], True),  # split by another rule
        (["the", "<num>", "."], True),
    ],
)
def test_a_vocabulary_tells_how_its_text_was_split(words, pretokenised, tmp_path):
    lines = "".join(f"-1\t{word}\n" for word in ["<s>", "</s>", *words])
    size = len(words) + 2
    (tmp_path / "a").write_text(f"\\data\\\nngram 1={size}\n\n\\1-grams:\n{lines}\n\\end\\\n")
    assert read_arpa(tmp_path / "a")[0].pretokenised is pretokenised


def test_the_unknown_word_in_upper_case(tmp_path):
    """It is the same word, as for KenLM, in longer n-grams too."""
    text = TOY.replace("\ta a\n", "\ta <unk>\n")
    (tmp_path / "a").write_text(text)
    expected, params = read_arpa(tmp_path / "a")
    (tmp_path / "b").write_text(text.replace("<unk>", "<UNK>"))
    vocabulary, found = read_arpa(tmp_path / "b")
    assert vocabulary.to_dict() == expected.to_dict()
    assert vocabulary.unknown == 0
    same(found, params)


def test_two_tokens_of_one_name(tmp_path):
    model, _, _ = words_model("a b\na b\n", 1)
    with pytest.raises(InputError, match="expected distinct tokens, found two to write as </s>"):
        write_arpa(tmp_path / "a", Words(["<unk>", "\n", "</s>", "b"]), model.params)
    assert not list(tmp_path.iterdir())


def test_kenlm_scores_it_as_we_do(tmp_path):
    kenlm = pytest.importorskip("kenlm")
    text = builtin_corpus()
    model, vocabulary, _ = words_model(text[:300_000], 4)
    path = tmp_path / "model.arpa"
    write_arpa(path, vocabulary, model.params)
    theirs = kenlm.Model(str(path))
    ids = vocabulary.encode(text[300_000:400_000])
    end, tokens = vocabulary.sentence_end, vocabulary.tokens
    for line in np.split(ids, np.flatnonzero(ids == end) + 1)[:1000]:
        score = model.score([np.array([len(tokens), *line], np.int32)])
        sentence = " ".join(tokens[id] for id in line if id != end)
        ends = len(line) > 0 and line[-1] == end
        ours = score.log10 + score.unknown_log10
        assert theirs.score(sentence, bos=True, eos=ends) == pytest.approx(ours, abs=1e-4)


def test_a_length_without_ngrams(tmp_path):
    text = TOY.replace("ngram 2=3\n", "ngram 2=3\nngram 3=0\n")
    (tmp_path / "a").write_text(text.replace("\\end\\", "\\3-grams:\n\n\\end\\"))
    vocabulary, params = read_arpa(tmp_path / "a")
    assert len(params["word.3"]) == 0
    write_arpa(tmp_path / "b", vocabulary, params)
    same(read_arpa(tmp_path / "b")[1], params)


def test_the_end_of_a_sentence_stays_in_a_vocabulary_of_characters(tmp_path):
    vocabulary = Characters.from_text("a b\n")  # the line's end was in the held-out text alone
    ids = np.array([4, *vocabulary.encode("ab ba")], np.int32)
    model = estimate(count_ngrams(ids, 2, 4), NGramConfig(4, 2, "mle"))
    write_arpa(tmp_path / "a", vocabulary, model.params)
    assert read_arpa(tmp_path / "a")[0].tokens == ["\n", " ", "a", "b"]
