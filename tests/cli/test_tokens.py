"""The tokens of a text, as each kind of vocabulary splits it."""

from minillm.cli import main
from minillm.text import BytePairs
from minillm.text.tokenizer_files import tokenizer_files


def shown(capsys, *arguments):
    capsys.readouterr()
    assert main(["tokens", *map(str, arguments)]) == 0
    return [tuple(line.split("  ")) for line in capsys.readouterr().out.splitlines()]


def test_the_characters_of_a_run(gpt, capsys):
    pieces = shown(capsys, gpt, "the cat\n")
    assert [piece for _, piece in pieces] == [*"the␣cat", r"\n"]
    assert len({id for id, _ in pieces}) == 7  # t is twice there


def test_the_pieces_of_a_run_and_the_words_that_they_do_not_make(bert, capsys):
    pieces = shown(capsys, bert, "the dog §")
    assert pieces[0][1:] == ("the",)
    assert pieces[-1][1:] == ("§", "(unknown)")


def test_a_tokenizer_of_other_programs(tmp_path, capsys):
    for name, content in tokenizer_files(BytePairs([(b" ", b"a")])).items():
        (tmp_path / name).write_bytes(content)
    text = "b a é<|endoftext|>"
    expected = ["b", "␣a", "␣", r"\xc3", r"\xa9", "<|endoftext|>"]
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        pieces = shown(capsys, path, text)
        assert [piece.strip() for _, piece in pieces] == expected
        assert [int(id) for id, _ in pieces] == [98, 256, 32, 0xC3, 0xA9, 257]


def test_the_vocabularies_of_an_encoder_decoder(tmp_path, capsys):
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("one two\tun deux\n" * 20)
    out, options = tmp_path / "run", ["--steps", "1", "--hidden", "4", "--minimum-count", "1"]
    assert main(["train", "seq2seq", str(pairs), "--out", str(out), *options]) == 0
    assert [piece[1:] for piece in shown(capsys, out, "one un")] == [("one",), ("un", "(unknown)")]
    target = out / "vocabulary.target.json"
    assert [piece[1:] for piece in shown(capsys, target, "one un")] == [
        ("one", "(unknown)"),
        ("un",),
    ]


def test_what_cannot_be_split(gpt, tmp_path, fails):
    assert "TEXT, line 1, column 2: the character '§'" in fails("tokens", gpt, "t§")
    assert "expected one of vocabulary.json" in fails("tokens", tmp_path, "a")
