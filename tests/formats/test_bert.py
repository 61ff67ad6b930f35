"""BERT in transformers' format: read in every form that it comes in, damage, written."""

import json

import numpy as np
import pytest
from other_programs import export_bert, import_bert
from published import old_files
from safetensors.numpy import save_file

from minillm.errors import InputError, short
from minillm.formats.sentences import Sentences
from minillm.models.bert import BERT, BERTConfig
from minillm.text import PublishedTokenizer, tokenizer_json
from minillm.text.byte_pairs import train
from minillm.text.tokenizer_files import tokenizer_files
from minillm.text.word_pieces import SPECIALS, WordPieces

PIECES = WordPieces([*SPECIALS, "the", "sea", "##shell", "##s", "é", "##é", "S"], lower_case=False)
THEIRS = PublishedTokenizer(tokenizer_json.of_ours(PIECES)).to_dict()
V, C, D, F, LAYERS = len(PIECES), 16, 6, 10, 2
CONFIG = {
    "model_type": "bert",
    "architectures": ["BertForPreTraining"],
    "vocab_size": V,
    "max_position_embeddings": C,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 3,
    "hidden_size": D,
    "intermediate_size": F,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "hidden_dropout_prob": 0.25,
    "pad_token_id": 0,
}
# Their names, ours, and their shape; a matrix is ours transposed, unless it is a table.
EMBEDDINGS = {
    "embeddings.word_embeddings.weight": ("embedding.E", (V, D)),
    "embeddings.position_embeddings.weight": ("positions.E", (C, D)),
    "embeddings.token_type_embeddings.weight": ("segments.E", (2, D)),
    "embeddings.LayerNorm.weight": ("embedding.norm.gain", (D,)),
    "embeddings.LayerNorm.bias": ("embedding.norm.bias", (D,)),
}
BLOCK = {
    "attention.self.query.weight": ("attention.W_qkv 0", (D, D)),
    "attention.self.query.bias": ("attention.b_qkv 0", (D,)),
    "attention.self.key.weight": ("attention.W_qkv 1", (D, D)),
    "attention.self.key.bias": ("attention.b_qkv 1", (D,)),
    "attention.self.value.weight": ("attention.W_qkv 2", (D, D)),
    "attention.self.value.bias": ("attention.b_qkv 2", (D,)),
    "attention.output.dense.weight": ("attention.W_o", (D, D)),
    "attention.output.dense.bias": ("attention.b_o", (D,)),
    "attention.output.LayerNorm.weight": ("norm_1.gain", (D,)),
    "attention.output.LayerNorm.bias": ("norm_1.bias", (D,)),
    "intermediate.dense.weight": ("feed_forward.W_1", (F, D)),
    "intermediate.dense.bias": ("feed_forward.b_1", (F,)),
    "output.dense.weight": ("feed_forward.W_2", (D, F)),
    "output.dense.bias": ("feed_forward.b_2", (D,)),
    "output.LayerNorm.weight": ("norm_2.gain", (D,)),
    "output.LayerNorm.bias": ("norm_2.bias", (D,)),
}
POOLER = {
    "pooler.dense.weight": ("pooler.W", (D, D)),
    "pooler.dense.bias": ("pooler.b", (D,)),
}
MASKED_WORDS = {
    "cls.predictions.transform.dense.weight": ("mask.W", (D, D)),
    "cls.predictions.transform.dense.bias": ("mask.b", (D,)),
    "cls.predictions.transform.LayerNorm.weight": ("mask.norm.gain", (D,)),
    "cls.predictions.transform.LayerNorm.bias": ("mask.norm.bias", (D,)),
    "cls.predictions.bias": ("mask.output_b", (V,)),
}
NEXT = {  # of which no model makes use
    "cls.seq_relationship.weight": np.ones((2, D), np.float32),
    "cls.seq_relationship.bias": np.ones(2, np.float32),
}
BODY = EMBEDDINGS | {
    f"encoder.layer.{layer}.{theirs}": (f"blocks.{layer}.{ours}", shape)
    for layer in range(LAYERS)
    for theirs, (ours, shape) in BLOCK.items()
}
ALL = BODY | POOLER | MASKED_WORDS
ARCHITECTURES = {
    "BertModel": BODY | POOLER,
    "BertForMaskedLM": BODY | MASKED_WORDS,
    "BertForNextSentencePrediction": BODY | POOLER,
    "BertForPreTraining": ALL,
}
E_NAME, DECODER = "embeddings.word_embeddings.weight", "cls.predictions.decoder"


def values_of(theirs):
    """Numbers of seven bits, for bfloat16 has eight; others for each name."""
    rng = np.random.default_rng(list(theirs.encode()))
    return rng.integers(-127, 128, ALL[theirs][1]).astype(np.float32) / 64


def weights(names=ALL, prefix="bert."):
    return {n if n.startswith("cls.") else prefix + n: values_of(n) for n in names}


def make(path, tensors=None, config=CONFIG, tokenizer=PIECES, **changes):
    """A folder as transformers writes it, with its tokenizer."""
    path.mkdir()
    for name, content in (tokenizer_files(tokenizer) | old_files(tokenizer)).items():
        (path / name).write_bytes(content)
    (path / "config.json").write_text(json.dumps(config | changes))
    save_file(weights() if tensors is None else tensors, path / "model.safetensors")
    return path


def check(path, names=ALL):
    """That each weight is in its place."""
    model, tokenizer, _ = import_bert(path)
    heads = {
        "masked_words": MASKED_WORDS.keys() <= names.keys(),
        "pooler": POOLER.keys() <= names.keys(),
    }
    assert model.config == BERTConfig(V, C, LAYERS, 3, D, F, 2, 0.25, 1e-12, **heads)
    assert tokenizer.to_dict() == THEIRS
    assert model.params.keys() == {ours.split()[0] for ours, _ in names.values()}
    for theirs in names:
        ours, _, part = names[theirs][0].partition(" ")
        array = model.params[ours]
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
        if part:
            array = np.split(array, 3, axis=-1)[int(part)]
        expected = values_of(theirs)
        expected = expected if ours.endswith(".E") else expected.T
        np.testing.assert_array_equal(array, expected, err_msg=theirs)
    x, _ = model.hidden(np.arange(4)[None])
    assert x.shape == (1, 4, D)
    return model


# --- reading -----------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "bert."])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_with_and_without_prefix(tmp_path, architecture, prefix):
    names = ARCHITECTURES[architecture]
    tensors = weights(names, prefix)
    if "Next" in architecture or "PreTraining" in architecture:
        tensors |= NEXT
    check(make(tmp_path / "bert", tensors, architectures=[architecture]), names)


def test_no_pooler(tmp_path):
    check(make(tmp_path / "bert", weights(BODY, ""), architectures=["BertModel"]), BODY)


def test_unknown_entries_are_ignored(tmp_path):
    """Names of the first BERTs, and of transformers 5."""
    import_bert(make(tmp_path / "a", directionality="bidi", pooler_fc_size=768, use_cache=True))


def test_more_heads_than_the_architecture_has(tmp_path):
    """Names as in the folders of the first BERTs, which were made from pre-training checkpoints."""
    check(make(tmp_path / "bert", architectures=["BertForMaskedLM"]))


def test_buffers_and_tied_weights(tmp_path):
    tensors = weights()
    tensors["bert.embeddings.position_ids"] = np.arange(C)[None]
    tensors["bert.embeddings.token_type_ids"] = np.zeros((1, C), np.int64)
    tensors[f"{DECODER}.weight"] = tensors[f"bert.{E_NAME}"].copy()
    tensors[f"{DECODER}.bias"] = tensors["cls.predictions.bias"].copy()
    check(make(tmp_path / "bert", tensors, tie_word_embeddings=False))


def test_the_bias_of_the_output_under_its_other_name(tmp_path):
    tensors = weights()
    tensors[f"{DECODER}.bias"] = tensors.pop("cls.predictions.bias")
    check(make(tmp_path / "bert", tensors))


def test_the_oldest_names_of_norms(tmp_path):
    tensors = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("Norm.bias", "Norm.beta"): array
        for name, array in weights().items()
    }
    assert any(name.endswith(".gamma") for name in tensors)
    check(make(tmp_path / "bert", tensors))


def test_defaults_of_the_config(tmp_path):
    left = ("hidden_act", "layer_norm_eps", "architectures")
    check(make(tmp_path / "bert", config={n: v for n, v in CONFIG.items() if n not in left}))


@pytest.mark.parametrize("left_out", ["tokenizer.json", "vocab.txt"])
def test_each_file_of_the_tokenizer_is_enough(tmp_path, left_out):
    path = make(tmp_path / "bert")
    (path / left_out).unlink()
    (path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    check(path)


# --- sentence encoders -------------------------------------------------------------------------

STEPS = ("Transformer", "Pooling", "Normalize")
FLAGS = {"mean": "mean_tokens", "first": "cls_token", "max": "max_tokens"}


def encoder(path, pooling=None, steps=STEPS, longest=10, places=("", "1_Pooling", "2_Normalize")):
    """Makes a sentence encoder's folder of one of transformers."""
    place = path / places[0]
    make(path, weights(ARCHITECTURES["BertModel"], ""), architectures=["BertModel"])
    if place != path:
        place.mkdir()
        for file in [file for file in path.iterdir() if file != place]:
            file.rename(place / file.name)
    modules = [
        {"idx": n, "name": str(n), "path": where, "type": f"sentence_transformers.models.{step}"}
        for n, (step, where) in enumerate(zip(steps, places, strict=False))
    ]
    (path / "modules.json").write_text(json.dumps(modules))
    (path / places[1]).mkdir()
    pooling = {"pooling_mode_mean_tokens": True} if pooling is None else pooling
    (path / places[1] / "config.json").write_text(json.dumps(pooling))
    if longest is not None:
        values = {"max_seq_length": longest, "do_lower_case": False}
        (place / "sentence_bert_config.json").write_text(json.dumps(values))
    return path


@pytest.mark.parametrize("pooling", FLAGS)
@pytest.mark.parametrize("normalised", [True, False])
def test_sentence_encoders(tmp_path, pooling, normalised):
    flags = {f"pooling_mode_{flag}": flag == FLAGS[pooling] for flag in FLAGS.values()}
    values = {"word_embedding_dimension": D, **flags}
    path = encoder(tmp_path / "old", values, STEPS if normalised else STEPS[:2])
    assert import_bert(path)[2] == Sentences(pooling, normalised, 10)
    names = {"mean": "mean", "first": "cls", "max": "max"}
    for number, mode in enumerate((names[pooling], [names[pooling]])):
        values = {"embedding_dimension": D, "pooling_mode": mode}
        path = encoder(tmp_path / f"new{number}", values, STEPS if normalised else STEPS[:2])
        assert import_bert(path)[2] == Sentences(pooling, normalised, 10)


def test_without_a_pooling_it_is_the_mean(tmp_path):
    assert import_bert(encoder(tmp_path / "encoder", {}))[2] == Sentences("mean", True, 10)


def test_the_number_of_tokens(tmp_path):
    path = encoder(tmp_path / "encoder", longest=None)
    file = path / "tokenizer_config.json"
    values = json.loads(file.read_text())
    assert import_bert(path)[2].longest is None
    for longest, result in ((7, 7), (C, None), (int(1e30), None)):
        file.write_text(json.dumps(values | {"model_max_length": longest}))
        assert import_bert(path)[2].longest == result
    (path / "modules.json").unlink()
    file.write_text(json.dumps(values | {"model_max_length": 7}))
    assert import_bert(path)[2] == Sentences(None, False, 7)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pooling_mode_lasttoken": True}, "expected one of mean, cls, max, found 'pooling_mode_l"),
        (
            {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True},
            "found ['mean', 'cls'",
        ),
        (
            {"pooling_mode": "weightedmean"},
            "pooling_mode: expected one of mean, cls, max, found 'w",
        ),
        ({"pooling_mode": {"a": 1}}, "pooling_mode: expected one of mean, cls, max, found {'a'"),
        ({"word_embedding_dimension": 7}, "word_embedding_dimension: expected 6, the width of the"),
    ],
)
def test_poolings_that_are_not_done(tmp_path, values, message):
    path = encoder(tmp_path / "encoder", values)
    assert f"{path / '1_Pooling' / 'config.json'}: " in refusal(path)
    assert message in refusal(path)


def test_vectors_that_are_cut_are_refused(tmp_path):
    path = encoder(tmp_path / "encoder")
    file = path / "config_sentence_transformers.json"
    file.write_text('{"truncate_dim": null}')
    assert import_bert(path)[2] == Sentences("mean", True, 10)
    file.write_text('{"truncate_dim": 4}')
    assert "truncate_dim: expected None, found 4" in refusal(path)


def test_unsupported_sentence_encoders_are_refused(tmp_path):
    path = encoder(tmp_path / "dense", steps=("Transformer", "Pooling", "Dense"))
    assert "expected the steps Transformer, Pooling and perhaps Normalize, the " in refusal(path)
    modules = path / "modules.json"
    modules.write_text("{}")
    assert "modules.json: expected array, found {}" in refusal(path)
    modules.write_text("[")
    assert "modules.json: expected JSON, but it is damaged" in refusal(path)
    for place in ("../x", "a/b", "x" * 5000, "a\0b"):
        modules.write_text(json.dumps([{"type": "Transformer", "path": place}]))
        message = refusal(path)
        assert "expected steps with type and path, found" in message
        assert len(message) < 500
    modules.write_text("[1]")
    assert "expected steps with type and path, found 1" in refusal(path)

    path = encoder(tmp_path / "encoder")
    file = path / "sentence_bert_config.json"
    for longest in (2, "9", True, 9.5):
        file.write_text(json.dumps({"max_seq_length": longest}))
        assert "max_seq_length: expected a whole number from 3 up, found" in refusal(path)
    file.unlink()
    prompts = path / "config_sentence_transformers.json"
    prompts.write_text(json.dumps({"prompts": {"a": "b"}, "default_prompt_name": "a"}))
    assert "default_prompt_name: expected None" in refusal(path)
    prompts.write_text(json.dumps({"prompts": {"a": "b"}, "default_prompt_name": None}))
    import_bert(path)
    (path / "1_Pooling" / "config.json").unlink()
    assert "1_Pooling/config.json: there is no such file" in refusal(path)


# --- damage ------------------------------------------------------------------------------------


def refusal(path):
    """The message, which names the folder in each line."""
    with pytest.raises(InputError) as caught:
        import_bert(path)
    message = str(caught.value)
    assert all(str(path) in reason and "\n" not in reason for reason in caught.value.args)
    return message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_act": "relu"}, "hidden_act: expected 'gelu', found 'relu'"),
        ({"hidden_act": "gelu_new"}, "hidden_act: expected 'gelu', found 'gelu_new'"),
        ({"is_causal": True}, "is_causal: expected False or None, found True"),
        ({"layer_norm_eps": 0.0}, "eps: expected a finite number above 0, found 0.0"),
        ({"layer_norm_eps": "small"}, "layer_norm_eps: expected a number, found 'small'"),
        ({"is_decoder": True}, "is_decoder: expected False, found True"),
        ({"hidden_size": 3 * 10**9}, "word_embeddings.weight: expected shape (12, 3000000000), fo"),
        (
            {"intermediate_size": 12},
            "0.intermediate.dense.weight: expected shape (12, 6), found (1",
        ),
        ({"max_position_embeddings": 20}, "expected shape (20, 6), found (16, 6)"),
        (
            {"type_vocab_size": 1},
            "token_type_embeddings.weight: expected shape (1, 6), found (2, 6)",
        ),
    ],
)
def test_another_model(tmp_path, changes, message):
    assert message in refusal(make(tmp_path / "bert", **changes))


@pytest.mark.parametrize("head", [MASKED_WORDS, POOLER])
def test_a_part_of_a_head(tmp_path, head):
    first, last = next(iter(head)), list(head)[-1]
    tensors = {n: a for n, a in weights().items() if n.removeprefix("bert.") != last}
    assert f"the tensor {last} is missing" in refusal(make(tmp_path / "bert", tensors))
    tensors = {n: a for n, a in weights().items() if n.removeprefix("bert.") != first}
    message = refusal(make(tmp_path / "other", tensors))
    assert f"{short(last)}: the model has no tensor" in message or head is POOLER


def test_a_head_of_the_architecture_that_is_missing(tmp_path):
    """As in a sentence encoder's folder."""
    check(make(tmp_path / "bert", weights(BODY | POOLER)), BODY | POOLER)


@pytest.mark.parametrize(("name", "of"), [("weight", E_NAME), ("bias", "cls.predictions.bias")])
def test_an_output_of_its_own(tmp_path, name, of):
    own = values_of(of)
    own.flat[-1] += 1
    tensors = weights() | {f"{DECODER}.{name}": own}
    message = refusal(make(tmp_path / "bert", tensors))
    assert f"{DECODER}.{name}: expected the weights of {of}, found others" in message
    tensors[f"{DECODER}.{name}"] = np.zeros(3, np.float32)
    assert "found others" in refusal(make(tmp_path / "other", tensors))


def test_an_output_that_is_not_tied(tmp_path):
    message = refusal(make(tmp_path / "bert", tie_word_embeddings=False))
    assert f"the tensor {DECODER}.weight is missing" in message


def test_tokenizers_of_others(tmp_path):
    path = make(tmp_path / "bert")
    for file in ("tokenizer.json", "vocab.txt", "tokenizer_config.json"):
        (path / file).unlink()
    assert "expected one of vocabulary.json" in refusal(path)
    for name, content in tokenizer_files(train(["sea"], 260)).items():
        (path / name).write_bytes(content)
    assert "expected a tokenizer with [CLS], [SEP] and [MASK]" in refusal(path)
    pieces = WordPieces(["[UNK]", *PIECES.tokens[5:]])
    message = refusal(make(tmp_path / "other", tokenizer=pieces))
    assert "expected a tokenizer with [CLS], [SEP] and [MASK]" in message


# --- writing -----------------------------------------------------------------------------------


def new(**options):
    sizes = {"context": C, "layers": LAYERS, "heads": 2, "width": D, "dropout": 0.1, "eps": 1e-7}
    return BERT(BERTConfig(V, **sizes | options), np.random.default_rng(1))


@pytest.mark.parametrize("inner", [None, F])
@pytest.mark.parametrize("pooler", [True, False])
@pytest.mark.parametrize("masked_words", [True, False])
def test_written_and_read_back(tmp_path, masked_words, pooler, inner):
    model = new(masked_words=masked_words, pooler=pooler, inner=inner)
    path = tmp_path / "out"
    export_bert(model, PIECES, path)
    again, tokenizer, sentences = import_bert(path)
    assert again.params.keys() == model.params.keys()
    for name, array in model.params.items():
        np.testing.assert_array_equal(again.params[name], array)
    assert sentences == Sentences()
    assert tokenizer.to_dict() == THEIRS
    assert again.config.inner == (inner or 4 * D)
    assert again.config.eps == model.config.eps == 1e-7
    names = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert {file.name for file in path.iterdir()} == names
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    "sentences",
    [Sentences("mean", True, 9), Sentences("first"), Sentences("max", False, 5), Sentences()],
)
def test_sentence_encoders_written_and_read_back(tmp_path, sentences):
    export_bert(new(masked_words=False), PIECES, tmp_path / "out", sentences)
    assert import_bert(tmp_path / "out")[2] == sentences
    assert (tmp_path / "out" / "modules.json").exists() == (sentences.pooling is not None)
    values = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert values["model_max_length"] == (sentences.longest or C)


def test_the_config_that_is_written(tmp_path):
    export_bert(new(pooler=True, eps=1e-5), PIECES, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text()) == {
        "model_type": "bert",
        "architectures": ["BertForMaskedLM"],
        "vocab_size": V,
        "max_position_embeddings": C,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 2,
        "hidden_size": D,
        "intermediate_size": 4 * D,
        "type_vocab_size": 2,
        "hidden_act": "gelu",
        "is_decoder": False,
        "tie_word_embeddings": True,
        "layer_norm_eps": 1e-05,
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.0,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "pad_token_id": 0,
    }
