"""Models of other programs: read in place, imported, quantised, adapted, and exported again."""

import json
from pathlib import Path

import chatting
import numpy as np
import pytest
from kind_rows import GPT as GPT_SIZES
from kind_rows import TALKS, TEXT, tsv
from other_programs import export_bert, export_folder, import_gguf
from published import of_pairs

import minillm
from minillm.cli import main
from minillm.decoding import CausalReader
from minillm.errors import InputError
from minillm.formats import huggingface
from minillm.formats.format import Contents
from minillm.formats.sentences import Sentences
from minillm.models.bert import BERT, BERTConfig
from minillm.models.decoders import FAMILIES, Decoder, DecoderConfig
from minillm.models.encoders import Encoder, EncoderConfig
from minillm.models.fine_tuned import FineTuned, FineTunedConfig
from minillm.models.gpt import GPT, GPTConfig
from minillm.models.llama import Llama, LlamaConfig
from minillm.quantised import Quantised
from minillm.text import load_tokenizer, word_pieces
from minillm.text.byte_pairs import train

SEA = "she sells sea shells on the sea shore\n"
PIECES = word_pieces.train([SEA * 3], 40)
LABELLED = tsv([("cat", "the cat sat"), ("dog", "the dog sat")] * 20)


def new(Model, config):
    return Model(config, np.random.default_rng(0))


def imported(theirs, out, *options):
    """The run that ``import`` makes of a file or a folder."""
    assert main(["import", str(theirs), *map(str, options), "--out", str(out)]) == 0
    return minillm.load(out)


def roberta():
    """Its tokenizer and its configuration."""
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    merges = train([TEXT], 280, []).merges
    tokenizer = of_pairs(merges, specials, bos="<s>", eos="</s>", lstrip=["<mask>"])
    sizes = {"context": 12, "layers": 2, "heads": 2, "width": 8, "padding": 1, "eps": 1e-5}
    return tokenizer, EncoderConfig(len(tokenizer), **sizes, segments=1, family="roberta")


# --- there and back -------------------------------------------------------------------------------


def write_gpt2(folder):
    tokenizer = train([SEA], 262)
    config = GPTConfig(len(tokenizer), context=8, layers=2, heads=3, width=6, dropout=0.1)
    export_folder(new(GPT, config), tokenizer, folder)


def write_sentences(folder):
    """A BERT that embeds sentences, with more rows than there are tokens."""
    config = BERTConfig(len(PIECES) + 9, 16, 2, 3, 6, dropout=0.1, masked_words=False)
    export_bert(new(BERT, config), PIECES, folder, Sentences("first", True, 5))


def write_roberta(folder):
    tokenizer, config = roberta()
    huggingface.write(Contents(new(Encoder, config), tokenizer), folder)


@pytest.mark.parametrize("write", [write_gpt2, write_sentences, write_roberta])
def test_there_and_back(write, tmp_path, capsys):
    write(tmp_path / "theirs")
    run = imported(tmp_path / "theirs", tmp_path / "run")
    assert "weights in 2 layers" in capsys.readouterr().out
    again = Path(run.export(tmp_path / "again", "huggingface"))
    files = {path.relative_to(again) for path in again.rglob("*.*") if path.is_file()}
    assert files == {
        path.relative_to(tmp_path / "theirs")
        for path in (tmp_path / "theirs").rglob("*.*")
        if path.is_file()
    }
    for file in files - {Path("tokenizer.json")}:
        assert (again / file).read_bytes() == (tmp_path / "theirs" / file).read_bytes()
    if write is not write_sentences:
        values = json.loads((again / "tokenizer.json").read_text())
        assert values == load_tokenizer(tmp_path / "theirs").values  # with all defaults


def test_tokens_that_the_rows_of_a_model_exceed_are_never_filled_in(tmp_path):
    model = new(BERT, BERTConfig(len(PIECES) + 9, 16, 2, 3, 6))
    model.params["mask.output_b"][-9:] = 99
    export_bert(model, PIECES, tmp_path / "theirs")
    run = imported(tmp_path / "theirs", tmp_path / "run")
    assert {word for word, _ in run.fill("she [MASK] shells", top=9)[0]} <= {*PIECES.tokens}
    assert 0 <= run.evaluate(SEA)["masked_accuracy"] <= 1
    more = minillm.train("bert", text=SEA * 20, init=run.path, steps=2, quiet=True)
    assert more.config.vocabulary == len(PIECES) + 9


def test_a_sentence_encoder(tmp_path):
    write_sentences(tmp_path / "theirs")
    run, long = imported(tmp_path / "theirs", tmp_path / "run"), SEA.strip()
    begun = " ".join(PIECES.split(long)[:3])
    np.testing.assert_array_equal(run.embed(long), run.embed(begun, "first"))  # [CLS] alone
    x, _ = run.model.hidden(np.array([[PIECES.bos, *PIECES.encode(begun), PIECES.eos]]))
    for pooling, expected in ((None, x[0, 0]), ("max", x[0].max(axis=0))):
        expected = expected / np.linalg.norm(expected)
        np.testing.assert_allclose(run.embed(long, pooling), expected, atol=1e-6)
    assert np.abs(run.embed(long, "mean") - run.embed(long)).max() > 0.01
    for call in (lambda: run.fill("she [MASK]"), lambda: run.evaluate(SEA)):
        with pytest.raises(InputError, match="without its head for masked words"):
            call()
    config = json.loads((run.path / "config.json").read_text())
    for entry, value in (("pooling", "last"), ("normalised", 2), ("longest", 2), ("longest", "9")):
        damaged = config | {"data": config["data"] | {entry: value}}
        (run.path / "config.json").write_text(json.dumps(damaged))
        with pytest.raises(InputError, match=f"data: {entry}: expected"):
            minillm.load(run.path).embed("a")


# --- encoders after BERT --------------------------------------------------------------------------


def test_an_encoder_that_is_trained_here(runs, tmp_path):
    given = {**GPT_SIZES, "family": "roberta", "steps": 3, "quiet": True}
    run = minillm.train("encoder", text=TEXT, **given)
    assert len(run.fill("the [MASK] sat", top=3)[0]) == 3
    again = huggingface.read(run.export(tmp_path / "out")).model
    for name, array in run.model.params.items():
        np.testing.assert_array_equal(again.params[name], array)
    # Pieces that are learned here have another padding token.
    with pytest.raises(InputError, match="mpnet: pad_token_id: expected 1, found 0"):
        minillm.load(runs("encoder")).export(tmp_path / "other")


def test_an_imported_encoder_is_adapted_and_fine_tuned(tmp_path):
    """With its tokenizer, its eps and its positions."""
    write_roberta(tmp_path / "theirs")
    run = imported(tmp_path / "theirs", tmp_path / "run")
    assert len(run.fill("the <mask> sat", top=2)[0]) == 2
    with pytest.raises(InputError, match="TEXT: expected <mask> where a word is missing"):
        run.fill("the [MASK] sat")
    ids = np.array([[run.tokenizer.bos, *run.tokenizer.encode("the cat"), run.tokenizer.eos]])
    x, _ = run.model.hidden(ids)
    np.testing.assert_allclose(run.embed("the cat"), x[0].mean(axis=0), atol=1e-6)
    given = {"init": run.path, "steps": 2, "batch": 4, "quiet": True}
    adapted = minillm.train("encoder", text=TEXT, **given)
    assert adapted.config == run.config
    assert adapted.tokenizer.to_dict() == run.tokenizer.to_dict()
    (tmp_path / "labelled.tsv").write_text(LABELLED)
    for options in ({}, {"lora_rank": 2}, {"pooling": "first"}):
        tuned = minillm.train("finetuned", files=tmp_path / "labelled.tsv", **given, **options)
        assert tuned.config.encoder.eps == 1e-5
        assert tuned.classify("the cat sat").label in ("cat", "dog")


def test_a_classifier_of_theirs_is_trained_further(tmp_path):
    """Its hidden layer stays, and it is exported as it came."""
    tokenizer, config = roberta()
    encoder = EncoderConfig(**{**vars(config), "masked_words": False})
    model = new(FineTuned, FineTunedConfig("encoder", encoder, 3, pooling="first", head="tanh"))
    facts = {"labels": ["a", "b", "c"]}
    huggingface.write(Contents(model, tokenizer, facts=facts), tmp_path / "theirs")
    base = imported(tmp_path / "theirs", tmp_path / "classifier")
    (tmp_path / "labelled.tsv").write_text(LABELLED)
    given = {"files": tmp_path / "labelled.tsv", "init": base.path, "steps": 2, "quiet": True}
    run = minillm.train("finetuned", **given)
    assert (run.config.head, run.config.pooling, run.config.classes) == ("tanh", "first", 2)
    np.testing.assert_allclose(run.model.params["head.W"], model.params["head.W"], atol=0.1)
    run.export(tmp_path / "again")
    values = json.loads((tmp_path / "again" / "config.json").read_text())
    assert values["architectures"] == ["RobertaForSequenceClassification"]
    assert values["id2label"] == {"0": "cat", "1": "dog"}


# --- GGUF files -----------------------------------------------------------------------------------

IDS = np.arange(20)[None]


def written(run):
    return run.generate("the cat", length=8, seed=1)


@pytest.fixture
def file(tmp_path):
    return chatting.write_gguf(tmp_path / "model.gguf")


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A run of Q4_1, imported."""
    folder = tmp_path_factory.mktemp("packed")
    chatting.write_gguf(folder / "theirs.gguf", weights="Q4_1")
    return imported(folder / "theirs.gguf", folder / "run")


def test_a_file_is_read_in_place_and_saved_as_a_run(file, tmp_path, capsys):
    first = minillm.load(file)
    assert written(minillm.load(str(file))) == written(first)
    assert first.path == first.weights_path == file
    assert first.chat_template.source == chatting.TEMPLATE.source
    assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"]
    first.save(tmp_path / "saved")
    saved = minillm.load(tmp_path / "saved")
    assert written(saved) == written(first)
    assert saved.fingerprint() == first.fingerprint()  # the file is copied
    assert saved.chat_template == first.chat_template
    before = written(first)
    chatting.write_gguf(file, seed=1)
    assert written(minillm.load(file)) != before
    assert capsys.readouterr() == ("", "")


def test_other_files_in_the_place_of_a_run(file, tmp_path):
    (tmp_path / "v.txt").write_text("2 2\ncat 1 0\ndog 0 1\n")
    assert minillm.load(tmp_path / "v.txt").vectors["dog"].tolist() == [0, 1]
    first, theirs = minillm.load(file), tmp_path / "theirs"
    first.export(theirs, "huggingface")
    run = minillm.load(theirs)
    assert run.path == theirs
    assert run.chat_template is not None
    before = run.fingerprint()
    first.model.params["norm.gain"][0] += 1
    first.export(tmp_path / "changed", "huggingface")
    assert minillm.load(tmp_path / "changed").fingerprint() != before


def test_what_is_no_model(file, tmp_path):
    other, damaged, adapter = (tmp_path / name for name in ("a.txt", "b.gguf", "adapter"))
    other.write_text("<!doctype html>")
    damaged.write_bytes(file.read_bytes()[:-40])
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    for path, message in (
        (other, r"a\.txt: expected a run, .* found '<!doctype html>'"),
        (damaged, r"b\.gguf: "),
        (adapter, r"adapter: expected a run, found LoRA's updates"),
    ):
        with pytest.raises(InputError, match=message):
            minillm.load(path)


def test_what_a_verb_writes_by_default_is_here(file, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert main(["look", str(file), "the cat"]) == 0
    assert main(["plot", "attention", str(file), "the cat"]) == 0
    assert {path.name for path in Path().iterdir()} == {"look.html", "attention.png"}
    assert main(["tokens", str(file), "the"]) == 0


def test_import_keeps_the_file_as_it_is(packed, tmp_path):
    theirs = (packed.path.parent / "theirs.gguf").read_bytes()
    assert (packed.path / "model.gguf").read_bytes() == theirs
    assert not (packed.path / "model.safetensors").exists()
    assert isinstance(packed.model.params["blocks.0.attention.W_o"], Quantised)
    assert packed.trace("the cat").attention[0].weights.ndim == 4
    assert "cat" in packed.look("the cat").html
    for name, options in (("same.gguf", {}), ("same", {"format": "gguf"})):
        assert Path(packed.export(tmp_path / name, **options)).read_bytes() == theirs
    packed.export(tmp_path / "b.gguf", "huggingface")
    assert (tmp_path / "b.gguf").is_dir()


def test_a_copy_and_a_run_that_is_replaced(packed, tmp_path):
    packed.save(tmp_path / "copy")
    assert minillm.load(tmp_path / "copy").fingerprint() == packed.fingerprint()
    given = {"text": TEXT, "steps": 1, "overwrite": True, "width": 8, "layers": 1, "quiet": True}
    run = minillm.train("llama", tmp_path / "copy", **given)
    assert not (tmp_path / "copy" / "model.gguf").exists()
    assert isinstance(run.model.params["embedding.E"], np.ndarray)


@pytest.mark.parametrize("form", ["q8_0", "q4_k", "f32"])
def test_quantise_makes_a_run(form, packed, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["quantise", str(packed.path), "--to", form, "--out", str(out)]) == 0
    assert capsys.readouterr().out.startswith(f"{form}: ")
    run = minillm.load(out)
    assert np.abs(packed.model.forward(IDS)[0] - run.model.forward(IDS)[0]).max() < 0.3
    _, tokenizer, chat = import_gguf(run.export(tmp_path / "a.gguf", "gguf"))
    assert tokenizer.to_dict() == packed.tokenizer.to_dict()
    assert chat == run.chat_template == packed.chat_template
    given = {"text": chatting.TEXT * 20, "steps": 1, "init": out, "context": 16, "quiet": True}
    if form == "f32":
        assert minillm.train("llama", **given).config.width == 32
    elif form == "q8_0":
        with pytest.raises(InputError, match="its weights are quantised, and cannot be trained"):
            minillm.train("llama", **given)


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("quantise RUN --to q5_2 --out OUT", "--to: expected one of f32, f16, q4_0"),
        ("quantise RUN --to q8_0 --out RUN", "it already holds a run"),
        ("quantise GPT --to q8_0 --out OUT", "expected a run of llama, found one"),
        ("export GPT OUT --format gguf", "a run of gpt is exported as huggingface"),
        ("export RUN FULL --format huggingface", "it exists already"),
        ("import EMPTY --out OUT", "expected a run, which is a folder, or a"),
        ("import GGUF --out RUN", "it already holds a run"),
        ("export GPT OUT.gguf", "a run of gpt is exported as huggingface or peft, found"),
    ],
)
def test_wrong_arguments(command, complaint, packed, runs, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    names = {"RUN": str(packed.path), "GPT": str(runs("gpt"))}
    names |= {"OUT": str(tmp_path / "out"), "EMPTY": str(tmp_path / "empty")}
    names |= {"FULL": str(packed.path.parent), "GGUF": str(packed.path.parent / "theirs.gguf")}
    words = [names.get(word, word) for word in command.split()]
    try:
        status = main(words)
    except SystemExit as exit:
        status = exit.code
    assert status == 2
    assert complaint in capsys.readouterr().err
    assert not list(tmp_path.glob("out*"))


def test_damaged_runs_are_named(packed, tmp_path):
    packed.save(tmp_path / "run")
    path = tmp_path / "run" / "model.gguf"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=rf"{path}: .*expected [0-9,]+ bytes from"):
        minillm.load(tmp_path / "run")
    path.unlink()
    with pytest.raises(InputError, match=r"model.safetensors: it does not exist yet"):
        minillm.load(tmp_path / "run")


# --- Llamas and decoders --------------------------------------------------------------------------


def test_bos_precedes_what_is_read_and_is_not_written(tmp_path, monkeypatch):
    tokenizer = of_pairs([], ["<s>"], bos="<s>", framed=["bos"])
    export_folder(new(Llama, LlamaConfig(257, 16, 1, 2, width=8)), tokenizer, tmp_path / "theirs")
    run, read = imported(tmp_path / "theirs", tmp_path / "run"), []
    original = CausalReader.read

    def noted(reader, ids, state):
        read.append(ids.tolist())
        return original(reader, ids, state)

    monkeypatch.setattr(CausalReader, "read", noted)
    assert run.generate("ab", length=1, temperature=0, stop=["c"])[:2] == "ab"
    assert read[0] == [[256, *b"ab"]]
    assert run.generate("", length=1, temperature=0)[:3] != "<s>"
    assert run.evaluate(text="abc\n")["tokens"] == 4  # the first one after BOS
    with pytest.raises(InputError, match="stop: expected a single token"):
        run.write("a", stop=["ab"])


EACH = [pytest.param(n, marks=() if n == "gemma3" else pytest.mark.deep) for n in FAMILIES]


@pytest.mark.filterwarnings("ignore:.*llama.cpp ignores the window")
@pytest.mark.parametrize("family", EACH)
def test_the_life_of_a_decoder(family, tmp_path):
    """Quantised, fine-tuned, merged, exported, imported again."""
    first, packed, chat, merged, back = (tmp_path / name for name in "abcde")
    window = {"window": 40} if FAMILIES[family].windows else {}
    sizes = {"context": 128, "layers": 6, "heads": 2, "key_heads": 1, "width": 32}
    config = DecoderConfig(
        len(chatting.TOKENIZER), **sizes, feed_forward=32, family=family, **window
    )
    model = new(Decoder, config)
    for array in model.params.values():
        if array.ndim == 2:
            array *= 8
    chatting.save(first, model, "decoder")
    (tmp_path / "chats.jsonl").write_text(TALKS)
    for command in (
        ["quantise", first, "--to", "q8_0", "--out", packed],
        [
            *("finetune", packed, tmp_path / "chats.jsonl", "--out", chat),
            *("--lora-rank", "2", "--steps", "2"),
        ],
        ["merge", chat, "--out", merged],
        ["export", merged, tmp_path / "x.gguf"],
        ["import", tmp_path / "x.gguf", "--out", back],
    ):
        assert main([*map(str, command)]) == 0
    runs = [minillm.load(path) for path in (first, packed, chat, merged, back)]
    last = "llama" if family == "mistral" else "decoder"  # a GGUF file has no windows for it
    assert [run.kind.name for run in runs] == ["decoder", "decoder", "chat", "chat", last]
    assert {run.config.family for run in runs[:4]} == {family}
    one, other = (
        "".join(run.chat([chatting.user("the cat")], length=12, temperature=0)) for run in runs[3:]
    )
    assert one == other
    assert runs[0].evaluate(text="the cat sat on the mat")["nats_per_token"] > 0
    runs[2].look("the cat")


def test_a_fresh_decoder_of_characters_has_ngrams_and_stays_here(tmp_path, capsys):
    """Other programs have none, so it is neither exported nor quantised."""
    run = minillm.train("decoder", text=TEXT, **{**GPT_SIZES, "steps": 1, "quiet": True})
    run.save(tmp_path / "run")
    run = minillm.train("decoder", tmp_path / "run", resume=True, steps=2, quiet=True)
    assert run.config.ngrams == 4
    assert len(run.generate("the ", length=40, seed=1)) == 44
    run.look("the cat")
    out = tmp_path / "out"
    with pytest.raises(InputError, match="expected a model without n-grams"):
        run.export(out, "gguf")
    assert main(["quantise", str(run.path), "--to", "q8_0", "--out", str(out)]) == 2
    assert "expected a model without n-grams" in capsys.readouterr().err
    assert not out.exists()
    words = {**GPT_SIZES, "steps": 1, "unit": "word", "quiet": True}
    assert minillm.train("decoder", text=TEXT, **words).config.ngrams is None
