"""What each verb prints, as text and as JSON, of arguments, files and standard input."""

import json
import sys

import numpy as np
import pytest

import minillm
from minillm.runs.kinds.pairs import PairRun
from minillm.text import BytePairs
from minillm.text.tokenizer_files import tokenizer_files

# --- a text that is continued, measured or split --------------------------------------------------


def test_generate_prints_what_write_yields(lm, prints):
    options = ("--prompt", "the ", "--length", "20", "--seed", "1")
    written = prints("generate", lm, *options)
    assert written == minillm.load(lm).generate("the ", length=20, seed=1) + "\n"
    short, long = (
        prints("generate", lm, "--temperature", "0", "--length", length) for length in ("5", "300")
    )
    assert long.startswith(short.rstrip("\n"))  # although it has a table of input terms


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--prompt", "the Cat"], "prompt, line 1, column 5: the character 'C' (U+0043)"),
        (["--top-p", "3"], "--top-p: expected a number above 0 and at most 1, found '3'"),
        (["--stop", "th"], "--stop: expected a single character, found 'th'"),
    ],
)
def test_wrong_options_of_generate(lm, fails, options, complaint):
    assert complaint in fails("generate", lm, *options)


def test_words_that_a_prompt_cannot_have(ngram, runs, fails):
    assert "--prompt: the word 'sofa' is not among" in fails(
        "generate", ngram, "--prompt", "the sofa"
    )
    assert "found 'seq2seq'" in fails("generate", runs("seq2seq"))
    assert "no run in it" in fails("generate", ngram.parent)


def test_eval_prints_figures_by_name(lm, prints, evaluated, typed, tmp_path, fails):
    results = evaluated(lm)
    assert results == minillm.load(lm).evaluate(beside=True)
    lines = [line.split() for line in prints("eval", lm).splitlines()]
    assert ["nats", "per", "token", f"{results['nats_per_token']:.4f}"] in lines
    typed("the dog")
    assert evaluated(lm, "-")["tokens"] == 7
    (tmp_path / "other.txt").write_text("the cat\nsat on\u2026\n")
    line = fails("eval", lm, tmp_path / "other.txt")
    assert "other.txt, line 2, column 7" in line
    assert "U+2026" in line


def test_eval_of_labels_has_their_confusion(runs, prints, evaluated, fails, tmp_path):
    pytest.importorskip("sklearn")
    classifier = runs("classifier")
    results = evaluated(classifier)
    assert results["labels"] == ["bad", "good"]
    assert np.sum(results["confusion"]) == results["items"] == 4
    printed = prints("eval", classifier)
    assert "accuracy" in printed
    assert len(printed.partition("confusion: each row is a label")[2].splitlines()) == 4
    (tmp_path / "texts.tsv").write_text("good\tfine\nugly\tso so\n")
    line = fails("eval", classifier, tmp_path / "texts.tsv")
    assert "text 2: expected a label among bad, good; found 'ugly'" in line
    assert "no test part" in fails("eval", classifier, "--part", "test")


def test_what_eval_cannot_measure_is_told_before_the_work(runs, monkeypatch, capsys, evaluated):
    for name in ("sacrebleu", "rouge_score", "rapidfuzz"):
        monkeypatch.setitem(sys.modules, name, None)
    told, translate = [], PairRun.translate

    def told_before(*arguments, **options):
        told.append(capsys.readouterr().err)
        return translate(*arguments, **options)

    monkeypatch.setattr(PairRun, "translate", told_before)
    assert "bleu" not in evaluated(runs("seq2seq"), "--beam", "1")
    packages = "bleu, chrf, rouge needs the packages of: pip install 'minillm-book[metrics]'"
    assert told == [f"minillm: not measured: {packages}\n"]


# --- lines that are answered ----------------------------------------------------------------------


def test_translate(runs, prints, typed):
    run = minillm.load(runs("seq2seq"))
    texts = ["one two", "five four"]
    typed("one two\nfive four\n")
    assert prints("translate", run.path).splitlines() == run.translate(texts)
    typed("one two\nfive four\n")
    printed = prints("translate", run.path, "--beam", "3", "--n-best", "3")
    rows = [line.split("\t") for line in printed.splitlines()]
    assert rows == [
        [str(number), f"{best.hypothesis.score:.4f}", best.text]
        for number, found in enumerate(run.hypotheses(texts, beam=3), 1)
        for best in found
    ]
    typed("one two\nfive four\n")
    for line in prints("translate", run.path, "--no-repeat", "1", "--least", "3").splitlines():
        assert 3 <= len(line.split()) == len(set(line.split()))


def test_there_are_as_many_lines_out_as_in(runs, prints, typed):
    """A line that is empty, or cannot be read, has an empty one; so does all after bad bytes."""
    folder = runs("spelled")
    typed("ab\n\nba\n  \n" + "ab" * 201 + "\n")
    printed = prints("translate", folder, "--least", "1")
    assert [bool(line) for line in printed.splitlines()] == [True, False, True, False, True]
    assert prints.noted.splitlines() == [
        "minillm: 2 of 5 lines are empty, first standard input, line 2",
        "minillm: 1 of 5 sources are cut to 400 tokens",
    ]
    typed("ab\nabc\nba\nx\n\nab\n")
    first, *lines = prints("translate", folder, "--least", "1", status=2).split("\n")
    assert [bool(line) for line in lines] == [False, True, False, False, True, False]
    assert lines[4] == first
    errors = prints.noted.splitlines()
    assert len(errors) == 3
    for number, error in zip((2, 4), errors, strict=False):
        assert error.startswith(f"minillm: standard input, line {number}, ")
    typed("ab\nabc\nab\n")
    printed = prints("translate", folder, "--n-best", "1", status=2)
    assert [line[0] for line in printed.splitlines()] == ["1", "3"]
    typed(b"ab\nba\n\xff\nab\n")
    assert len(prints("translate", folder, status=2).splitlines()) == 2
    assert "standard input, line 3: expected UTF-8 text" in prints.noted


def test_wrong_input_of_translate(runs, fails, typed):
    folder = runs("seq2seq")
    typed("")
    line = fails("translate", folder)
    assert "standard input: expected lines of text, found an empty file" in line
    line = fails("translate", folder, "--beam", "2", "--n-best", "3")
    assert "--n-best: expected at most --beam 2" in line


def test_classify(runs, prints, typed):
    run = minillm.load(runs("classifier"))
    texts = ["a fine day", "", "  ", "wind and rain é"]
    found = run.classify(texts)
    expected = [f"{a.label}\t{a.probability:.4f}\t{t}" for a, t in zip(found, texts, strict=True)]
    typed("\n".join(texts))
    assert prints("classify", run.path).splitlines() == expected
    assert prints("classify", run.path, "\n".join(texts[::3])).splitlines() == expected[::3]
    printed = prints("classify", run.path, texts[0], "--json", *texts[1:])
    assert [json.loads(line) for line in printed.splitlines()] == [
        {"label": a.label, "probabilities": a.probabilities, "text": t}
        for a, t in zip(found, texts, strict=True)
    ]


def test_an_argument_that_is_no_text(runs, fails):
    assert "lone surrogate" in fails("classify", runs("classifier"), "a \udcff day")


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_an_image_is_a_line_of_numbers(options, runs, prints, typed):
    folder = runs("image-classifier")
    typed("".join(f"{' '.join([one] * 64)}\n" for one in ("0.5", "x", "0.5", "2")))
    first, second, third, last = prints("classify", folder, *options, status=2).splitlines()
    assert first == third
    assert second == last == ("null" if options else "")
    for line, message in zip((2, 4), prints.noted.splitlines(), strict=True):
        assert f"standard input, line {line}: expected an image: 64 numbers from 0 to 1" in message


def test_fill(runs, prints, fails):
    run, text = minillm.load(runs("bert")), "the [MASK] sat on the [MASK]"
    assert prints("fill", run.path, text, "--top", "3") == "\n".join(
        "".join(f"{probability:7.4f}  {token}\n" for token, probability in gap)
        for gap in run.fill(text, top=3)
    )
    line = fails("fill", run.path, "the cat")
    assert "TEXT: expected [MASK] where a word is missing, found 'the cat'" in line
    assert "TEXT: expected at most 10 tokens, found 12" in fails(
        "fill", run.path, "[MASK]" + " the" * 11
    )


def test_embed_writes_an_array(runs, prints, typed, tmp_path, fails):
    run, to = minillm.load(runs("bert")), tmp_path / "v.npy"
    assert prints("embed", run.path, "the cat", "", "the dog", "--to", to) == ""
    np.testing.assert_array_equal(np.load(to), run.embed(["the cat", "", "the dog"]))
    typed("the cat\n")
    prints("embed", run.path, "--to", to, "--pooling", "first")
    np.testing.assert_array_equal(np.load(to), run.embed(["the cat"], "first"))
    to.unlink()
    line = fails("embed", run.path, "--pooling", "last", "--to", to)
    assert "--pooling: expected one of mean, first" in line
    assert not to.exists()


def test_similar_texts(runs, prints, tmp_path, fails):
    bert = runs("bert")
    (tmp_path / "lines").write_text("the dog\nthe cat sat\n\na mouse\n")
    among = ("--among", tmp_path / "lines")
    lines = prints("similar", bert, "the cat sat", *among, "--count", "2").splitlines()
    assert len(lines) == 2
    assert lines[0] == " 1.0000  the cat sat"
    assert prints("similar", bert, "the cat", "the cat") == "1.0000\n"
    assert "compares two texts, or one with --among FILE" in fails("similar", bert, "one")
    line = fails("similar", runs("word2vec"), "the", *among)
    assert "--among: a run of word2vec compares words, not texts" in line


def test_answer(runs, prints, typed, tmp_path, fails):
    run, page = minillm.load(runs("qa")), tmp_path / "page.txt"
    text = "Ada found gold.\r\nBob found a cafe\u0301 \U0001f600."
    page.write_bytes(text.encode())
    text = page.read_text()
    [many] = run.answers(["Who?"], text, 1000)
    printed = prints("answer", run.path, "--context", page, "Who?", "--n-best", "1000")
    lines = [line.split("\t") for line in printed.splitlines()]
    assert [line[:2] for line in lines] == [["1", f"{answer.probability:.4f}"] for answer in many]
    places = {line[2]: line[3] for line in lines}
    assert places[""] == "no answer"
    assert places["Ada"] == "line 1, column 1"
    assert places["cafe\u0301"] == "line 2, column 13"
    typed("What did Ada find?\nWho?\n")
    printed = prints("answer", run.path, "--context", page, "--n-best", "2")
    assert [line.split("\t")[0] for line in printed.splitlines()] == ["1", "1", "2", "2"]
    typed(text)
    assert prints("answer", run.path, "--context", "-", "Who?", "What?").count("\n") == 2


def test_wrong_input_of_answer(runs, fails, tmp_path):
    (tmp_path / "page.txt").write_text("Ada found gold.")
    answer = ["answer", runs("qa"), "--context"]
    assert "there is no such file" in fails(*answer, tmp_path / "none", "Who?")
    line = fails(*answer, tmp_path / "page.txt", " ")
    assert "expected a question of a token or more, found none" in line
    assert "--context: expected a file, as standard input has the questions" in fails(*answer, "-")
    assert "expected --context, found none" in fails("answer", runs("qa"), "Who?")


# --- word vectors ---------------------------------------------------------------------------------


def test_similar_words_and_analogies(runs, prints, fails):
    run = minillm.load(runs("word2vec"))
    assert prints("similar", run.path, "cat", "--count", "3") == "".join(
        f"{score:7.4f}  {word}\n" for word, score in run.vectors.most_similar("cat", topn=3)
    )
    assert prints("similar", run.path, "cat", "cat") == "1.0000\n"
    assert len(prints("analogy", run.path, "cat", "mat", "dog", "--count", "2").splitlines()) == 2
    line = fails("similar", run.path, "matt")
    assert "'matt' is not among the 9 that the model knows; did you mean mat" in line
    for words in ([], ["cat", "dog", "mat"]):
        assert "expected one word or two" in fails("similar", run.path, *words)
    assert "expected three words" in fails("analogy", run.path, "cat")


def test_sets_of_words(runs, prints, fails, tmp_path):
    run, pairs, questions = runs("word2vec"), tmp_path / "pairs.tsv", tmp_path / "questions.txt"
    pairs.write_text(
        "# a remark\nword1\tword2\tscore\ncat\tdog\t9\nmat,log,8\nthe cat 1\ncat\tpink\t9\n"
    )
    assert "on 3 of 4 pairs (1 have an unknown word)" in prints("similar", run, "--set", pairs)
    questions.write_text(": animals\ncat dog cat dog\n: mixed\ncat mat pink white\n")
    lines = prints("analogy", run, "--set", questions).splitlines()
    assert [line.split()[0] for line in lines] == ["animals", "mixed", "all"]
    assert "of 1 (0 with unknown words)" in lines[0]
    assert "0 of 0 (1 with unknown words)" in lines[1]
    questions.write_text(": animals\ncat dog cat\n")
    assert "line 2: expected four words" in fails("analogy", run, "--set", questions)
    pairs.write_text("cat dog 1\ncat x\n")
    assert "line 2: expected two words" in fails("similar", run, "--set", pairs)


# --- pictures and pages ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "options", "told"),
    [
        ("gpt", "the cat", [], "layer 0, mean over the heads"),
        ("transformer", "one two", ["--layer", "1", "--head", "0"], "layer 1, head 0"),
    ],
)
def test_a_picture_of_attention_says_what_it_shows(
    name, text, options, told, runs, prints, tmp_path
):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "a.png"
    printed = prints("plot", "attention", runs(name), text, "--to", picture, *options)
    assert printed.startswith(f"{picture}\n{told} (of 2 layers ")
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("name", "text", "options", "complaint"),
    [
        ("gpt", "the cat", ["--layer", "2"], "--layer: expected 0 to 1, found 2"),
        ("gpt", "the cat", ["--head", "2"], "--head: expected 0 to 1, found 2"),
        ("no attention", "one", [], "this model has no attention"),
    ],
)
def test_pictures_that_cannot_be(name, text, options, complaint, runs, fails):
    assert complaint in fails("plot", "attention", runs(name), text, *options)


def test_other_pictures(runs, prints, tmp_path):
    pytest.importorskip("matplotlib")
    vectors, picture = runs("word2vec"), tmp_path / "x.png"
    for words in ([], ["cat", "dog", "mat"]):
        assert prints("plot", "words", vectors, *words) == f"{vectors / 'words.png'}\n"
        assert (vectors / "words.png").read_bytes().startswith(b"\x89PNG")
    assert prints("plot", "loss", runs("gpt")) == f"{runs('gpt') / 'loss.png'}\n"
    assert prints("plot", "loss", runs("gpt"), runs("bert"), "--to", picture) == f"{picture}\n"
    assert picture.read_bytes().startswith(b"\x89PNG")


# --- tokens ---------------------------------------------------------------------------------------


def test_tokens(runs, prints, fails, tmp_path):
    def shown(*arguments):
        return [line.split("  ") for line in prints("tokens", *arguments).splitlines()]

    pieces = shown(runs("gpt"), "the cat\n")
    assert [piece for _, piece in pieces] == [*"the␣cat", r"\n"]
    assert len({id for id, _ in pieces}) == 7  # t is twice there
    assert shown(runs("bert"), "the §")[-1][1:] == ["§", "(unknown)"]
    options = {"steps": 1, "hidden": 4, "minimum_count": 1, "quiet": True}
    minillm.train("seq2seq", tmp_path / "run", pairs=[("one two", "un deux")] * 20, **options)
    for vocabulary, expected in (
        ("", [["one"], ["un", "(unknown)"]]),
        ("vocabulary.target.json", [["one", "(unknown)"], ["un"]]),
    ):
        assert [row[1:] for row in shown(tmp_path / "run" / vocabulary, "one un")] == expected
    for name, content in tokenizer_files(BytePairs([(b" ", b"a")])).items():
        (tmp_path / name).write_bytes(content)
    expected = ["b", "␣a", "␣", r"\xc3", r"\xa9", "<|endoftext|>"]
    for path in (tmp_path, tmp_path / "tokenizer.json"):  # of another program
        pieces = shown(path, "b a é<|endoftext|>")
        assert [piece.strip() for _, piece in pieces] == expected
        assert [int(id) for id, _ in pieces] == [98, 256, 32, 0xC3, 0xA9, 257]
    assert "TEXT, line 1, column 2: the character '§'" in fails("tokens", runs("gpt"), "t§")
    assert "expected one of vocabulary.json" in fails("tokens", tmp_path.parent, "a")


# --- export ---------------------------------------------------------------------------------------


def test_export_goes_by_default_into_the_folder_of_the_run(runs, prints, fails, tmp_path):
    vectors = runs("word2vec")
    printed = prints("export", vectors, "--format", "word2vec")
    assert printed.strip() == str(vectors / "vectors.txt")
    assert (vectors / "vectors.txt").read_text().startswith("9 ")
    line = fails("export", vectors, "--format", "arpa")
    assert "--format: a run of word2vec is exported as word2vec, found 'arpa'" in line
    damaged = tmp_path / "vectors.bin"
    damaged.write_bytes(b"8 2\na \0\0\0\0")
    line = fails("import", damaged, "--out", tmp_path / "out")
    assert "word 1 of 8: expected a word, a space and" in line
    assert not (tmp_path / "out").exists()
