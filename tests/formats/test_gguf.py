"""Llamas in GGUF files: there and back, the order of rows, and what is refused by name."""

from dataclasses import replace

import numpy as np
import pytest
from other_programs import import_gguf
from published import WORDS, of_pairs, of_pieces

from minillm.errors import InputError
from minillm.formats.gguf import export_gguf, read_weights
from minillm.models.gpt import GPTConfig
from minillm.models.llama import Llama, LlamaConfig
from minillm.ops.rotary_scaling import Linear, Llama3, Yarn
from minillm.quantised import Quantised
from minillm.quantised.blocks import TYPES, WRITTEN
from minillm.quantised.gguf import open_gguf, write_gguf
from minillm.quantised.matrix import dequantised
from minillm.text import Characters, ChatTemplate
from minillm.text.byte_pairs import train

PLAIN = train(["she sells sea shells by the sea shore\n"], 262)
TOKENIZER = of_pairs(PLAIN.merges, ["<|bos|>", "<|eos|>"], "smollm", bos="<|bos|>", eos="<|eos|>")
CONFIG = LlamaConfig(
    len(TOKENIZER), 16, 2, heads=4, key_heads=2, width=32, feed_forward=64, head_width=8,
    rotary_base=500.0, eps=1e-6,
)  # fmt: skip
SCALING = Llama3(8.0, 1.0, 4.0, 8192.0)


def new(**changes):
    model = Llama(replace(CONFIG, **changes), np.random.default_rng(0))
    for name, array in model.params.items():
        if name.endswith("gain"):
            array += np.linspace(0, 1, len(array), dtype=array.dtype)
    return model


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.gguf"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tied": False, "key_heads": 4, "eps": 1e-5},
        {"rope_scaling": SCALING, "key_heads": 1, "rotary_base": 5e5, "head_width": 12},
        {
            "rope_scaling": Llama3(32.0, 1.0, 4.0, 8192.0),
            "rotary_base": 5e3,
        },  # none has all of it
        {"rope_scaling": Linear(2.5)},
        {"rope_scaling": Yarn(4.0, 9.0)},
    ],
)
def test_there_and_back(path, changes):
    model = new(**changes)
    export_gguf(model, TOKENIZER, path, chat=ChatTemplate("{{ messages }}"))
    again, tokenizer, chat = import_gguf(path)
    assert again.config == model.config
    for name, array in model.params.items():
        np.testing.assert_array_equal(again.params[name], array, err_msg=name)
    assert tokenizer.to_dict() == TOKENIZER.to_dict()
    assert chat == ChatTemplate("{{ messages }}", "<|bos|>", "<|eos|>")


def test_rows_without_a_token_are_named_and_come_back(path):
    model = new(vocabulary=320)
    export_gguf(model, TOKENIZER, path)
    metadata = open_gguf(path)[0]
    size = len(TOKENIZER)
    assert metadata["tokenizer.ggml.tokens"][size:] == [f"[PAD{n}]" for n in range(size, 320)]
    assert set(metadata["tokenizer.ggml.token_type"][size:].tolist()) == {5}
    again, tokenizer, _ = import_gguf(path)
    assert again.config == model.config
    assert tokenizer.to_dict() == TOKENIZER.to_dict()
    np.testing.assert_array_equal(again.params["embedding.E"], model.params["embedding.E"])
    few = {"tokenizer.ggml.tokens": metadata["tokenizer.ggml.tokens"][:size]}
    few["tokenizer.ggml.token_type"] = metadata["tokenizer.ggml.token_type"][:size]
    assert changed(path, **few)[1].to_dict() == TOKENIZER.to_dict()
    assert "has 7 rows, but the tokenizer has 263" in refused(
        path, arrays={"token_embd.weight": (np.zeros((7, 32)), "F32")}
    )


def test_names_and_layout_are_theirs(path):
    """Row 2 i + h of a head of a query or a key is ours in half h, at place i."""
    model = new()
    export_gguf(model, TOKENIZER, path)
    tensors = {name: tensor.read() for name, tensor in open_gguf(path)[1].items()}
    qkv, w = model.params["blocks.1.attention.W_qkv"].T, 8
    for name, first, heads in (("attn_q", 0, 4), ("attn_k", 32, 2)):
        rows = tensors[f"blk.1.{name}.weight"]
        assert rows.shape == (heads * w, 32)
        for head in range(heads):
            for i in range(w // 2):
                for half in range(2):
                    ours = qkv[first + head * w + half * w // 2 + i]
                    np.testing.assert_array_equal(rows[head * w + 2 * i + half], ours)
    np.testing.assert_array_equal(tensors["blk.1.attn_v.weight"], qkv[48:])
    gate_up = model.params["blocks.0.feed_forward.W_gate_up"].T
    np.testing.assert_array_equal(tensors["blk.0.ffn_gate.weight"], gate_up[:64])
    np.testing.assert_array_equal(tensors["blk.0.ffn_up.weight"], gate_up[64:])
    np.testing.assert_array_equal(tensors["token_embd.weight"], model.params["embedding.E"])
    assert "output.weight" not in tensors
    assert import_gguf(path)[2] is None


@pytest.mark.parametrize("type", [type for type in WRITTEN if type != "F32"])
def test_quantised_weights_stay_quantised(path, type):
    width = max(32, TYPES[type].weights)
    model = new(width=width, feed_forward=width, tied=False)
    export_gguf(model, TOKENIZER, path, type)
    again, _, _ = import_gguf(path)
    types = {name: tensor.type for name, tensor in open_gguf(path)[1].items()}
    assert types["blk.0.attn_k.weight"] == types["token_embd.weight"] == type
    assert types["output.weight"] == ("Q8_0" if TYPES[type].bits < 6.5 else type)
    assert types["output_norm.weight"] == "F32"
    dense = dequantised(again)
    for name, array in model.params.items():
        floats = type in ("F16", "BF16") or name.endswith("gain")
        assert isinstance(again.params[name], np.ndarray if floats else Quantised), name
        assert again.params[name].shape == array.shape
        error = np.abs(dense.params[name] - array).max() / np.abs(array).max()
        most = {"F16": 0.001, "BF16": 0.005, "Q8_0": 0.005, "Q6_K": 0.05}
        most |= {"Q5_0": 0.07, "Q5_K": 0.07}
        assert error <= most.get(type, 0.15)
    ids = np.arange(8)[None]
    assert np.abs(again.forward(ids)[0] - dense.forward(ids)[0]).max() < 0.1  # rounded activations
    assert np.abs(dense.forward(ids)[0] - model.forward(ids)[0]).max() < 0.5


def test_a_matrix_of_other_blocks_and_one_of_none(path):
    for type, expected in (("Q4_K", "Q5_0"), ("Q5_K", "Q8_0"), ("Q6_K", "Q8_0")):
        export_gguf(new(), TOKENIZER, path, type)  # rows of 32
        types = {name: tensor.type for name, tensor in open_gguf(path)[1].items()}
        assert types.pop("token_embd.weight") == "Q8_0"
        assert set(types.values()) == {expected, "F32"}
    with pytest.raises(InputError, match=r"attn_output.weight: .* multiple of 32, found 24"):
        export_gguf(new(head_width=6), TOKENIZER, path, "Q4_0")
    model = new()
    model.params["blocks.1.attention.W_o"][3, 3] = 1e9
    with pytest.raises(InputError, match=r"attn_output.weight: expected finite numbers that F16"):
        export_gguf(model, TOKENIZER, path, "F16")


def test_parts_of_floats_and_of_integers_are_floats(path):
    export_gguf(new(), TOKENIZER, path, "Q8_0")
    metadata, tensors = open_gguf(path)
    arrays = {n: (t.read(), "F16" if "attn_k" in n else t.type) for n, t in tensors.items()}
    write_gguf(path, metadata, arrays)
    params = import_gguf(path)[0].params
    assert isinstance(params["blocks.0.attention.W_qkv"], np.ndarray)
    assert isinstance(params["blocks.0.attention.W_o"], Quantised)


def test_units_without_byte_pairs_are_left_out(path):
    tokenizer = Characters("abc")
    model = new(vocabulary=3)
    export_gguf(model, tokenizer, path, "Q8_0")
    assert open_gguf(path)[0]["tokenizer.ggml.model"] == "none"
    assert read_weights(path, model.config).keys() == model.params.keys()
    with pytest.raises(InputError, match=r"tokenizer.ggml.model: expected 'gpt2'.*found 'none'"):
        import_gguf(path)
    with pytest.raises(InputError, match="only a run of llama has quantised weights"):
        read_weights(path, GPTConfig(3))


def refused(path, metadata=None, arrays=None, without=()):
    """The message about a file with other entries or tensors."""
    export_gguf(new(), TOKENIZER, path)
    values, tensors = open_gguf(path)
    whole = {name: (tensor.read(), "F32") for name, tensor in tensors.items()} | (arrays or {})
    values = {**values, **(metadata or {})}
    for name in without:
        whole.pop(name, None)
        values.pop(name, None)
    write_gguf(path, values, whole)
    with pytest.raises(InputError) as error:
        import_gguf(path)
    for reason in error.value.args:
        assert reason.startswith(f"{path}: ")
        assert "\n" not in reason
    return str(error.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("metadata", "complaint"),
    [
        ({"general.architecture": "qwen9"}, "architecture: expected 'llama' or 'qwen2' or"),
        ({"llama.expert_count": 8}, "llama.expert_count: expected 0, found 8"),
        ({"llama.rope.scaling.type": "x"}, "llama.rope.scaling.type: expected 'linear' or 'none'"),
        ({"llama.rope.scaling.factor": -2.0}, "factor: expected a number from 1e-9 to 1e9, fo"),
        ({"llama.rope.scaling.yarn_beta_slow": 2.0}, "scaling.yarn_beta_slow: expected none"),
        ({"llama.rope.scaling.attn_factor": 1.5}, "attn_factor: expected 1: scaled attention"),
        ({"llama.attention.causal": False}, "llama.attention.causal: expected True, found False"),
        ({"llama.rope.dimension_count": 4}, "llama.rope.dimension_count: expected 8, the width"),
        ({"llama.attention.value_length": 9}, "llama.attention.value_length: expected 8"),
        ({"llama.block_count": 0}, "llama.block_count: expected a whole number from 1 up, found 0"),
        ({"llama.block_count": 3}, "the tensor blk.2.attn_norm.weight is missing"),
        ({"llama.block_count": 1}, "'blk.1.attn_norm.weight': the model has no tensor"),
        ({"llama.attention.head_count": 5}, "key_heads: expected a divisor of"),
        ({"llama.feed_forward_length": 65}, "ffn_gate.weight: expected shape (65, 32), found (64"),
        ({"tokenizer.ggml.model": "bert"}, "tokenizer.ggml.model: expected 'gpt2', byte pairs"),
        ({"tokenizer.ggml.pre": "superbpe"}, "tokenizer.ggml.pre: expected 'gpt-2' or 'phi-2' or"),
        ({"tokenizer.ggml.tokens": 3}, "tokenizer.ggml.tokens: expected a list of texts"),
        ({"tokenizer.ggml.tokens": ["a", "a"]}, "tokenizer.ggml.token_type: expected 2 numbers"),
        ({"tokenizer.ggml.merges": ["a"]}, "found by tokenizers: "),
        ({"tokenizer.ggml.merges": ["q q"]}, "found by tokenizers: "),
        ({"tokenizer.ggml.eos_token_id": 9999}, "tokenizer.ggml.eos_token_id: expected 0 to 262"),
        ({"tokenizer.chat_template": 3}, "tokenizer.chat_template: expected a text, found 3"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_refused_by_name(path, metadata, complaint):
    assert complaint in refused(path, metadata)


@pytest.mark.parametrize(
    "metadata",
    [
        {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 1.0},
        {"llama.rope.scaling.type": "none", "llama.rope.scaling.factor": 4.0},
        {"llama.rope.scaling.attn_factor": 1.0, "llama.attention.causal": True},
        {"llama.rope.scale_linear": 0.0, "llama.tensor_data_layout": "Meta AI original pth"},
    ],
)
def test_entries_that_change_nothing(path, metadata):
    """As in llama.cpp, which gives no warning either."""
    export_gguf(new(), TOKENIZER, path)
    assert changed(path, **metadata)[0].config == CONFIG


@pytest.mark.parametrize(
    "metadata", [{"llama.rope.scaling.factor": 4.0}, {"llama.rope.scale_linear": 4.0}]
)
def test_a_factor_without_a_type_is_linear(path, metadata):
    """As in llama.cpp; the older name is for files without the newer one."""
    export_gguf(new(), TOKENIZER, path)
    assert changed(path, **metadata)[0].config == replace(CONFIG, rope_scaling=Linear(4.0))
    newer = {"llama.rope.scaling.factor": 8.0, **metadata}
    assert changed(path, **newer)[0].config.rope_scaling.factor == max(newer.values())
    assert changed(path, **metadata, **{"llama.rope.scaling.type": "none"})[0].config == CONFIG


def test_the_attention_factor_of_yarn_is_in_addition_to_the_default(path):
    export_gguf(new(rope_scaling=Yarn(4.0, 9.0, attention_factor=1.2)), TOKENIZER, path)
    found = open_gguf(path)[0]["llama.rope.scaling.attn_factor"]
    assert found == pytest.approx(1.2 / (1 + 0.1 * np.log(4)))
    assert import_gguf(path)[0].config.rope_scaling.attention_factor == pytest.approx(1.2)


def test_one_scaling_only(path):
    export_gguf(new(rope_scaling=SCALING, rotary_base=5e5), TOKENIZER, path)
    with pytest.raises(InputError, match="one scaling of the angles, found rope_freqs"):
        changed(path, **{"llama.rope.scaling.factor": 4.0})
    export_gguf(new(rope_scaling=Linear(2.0)), TOKENIZER, path)
    with pytest.raises(InputError, match="attn_factor: expected 1: scaled attention cannot be"):
        changed(path, **{"llama.rope.scaling.attn_factor": 1.5})
    with pytest.raises(
        InputError, match=r"expected Yarn\(.* in a GGUF file, found .*truncate=Fals"
    ):
        export_gguf(new(rope_scaling=Yarn(2.0, 9, truncate=False)), TOKENIZER, path)


def test_entries_that_are_unknown_are_ignored(path):
    export_gguf(new(), TOKENIZER, path)
    assert changed(path, **{"llama.more": 3, "general.more": "text"})[0].config == CONFIG


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({"blk.0.attn_q.bias": (np.zeros(32), "F32")}, "'blk.0.attn_q.bias': the model has no"),
        ({"output_norm.weight": (np.ones(32), "Q8_0")}, "output_norm.weight: expected floats"),
        ({"output_norm.weight": (np.ones((32, 1)), "F32")}, "output_norm.weight: expected shape"),
        (
            {"token_embd.weight": (np.zeros((7, 32)), "F32")},
            "has 7 rows, but the tokenizer has 263",
        ),
        (
            {"rope_freqs.weight": (np.array([1, 2, 3, 4.0]), "F32")},
            "expected the factors of Llama 3",
        ),
        ({"rope_freqs.weight": (np.ones(3), "F32")}, "rope_freqs.weight: expected shape (4,)"),
    ],
)
def test_other_tensors_are_refused(path, arrays, complaint):
    assert complaint in refused(path, arrays=arrays)


def test_missing_tensors_are_named(path):
    assert "token_embd.weight is missing" in refused(path, without=["token_embd.weight"])
    assert "output_norm.weight is missing" in refused(path, without=["output_norm.weight"])


@pytest.mark.parametrize("type", ["F32", "Q8_0", "Q4_1"])
def test_numbers_that_are_not_finite_are_refused(path, type):
    export_gguf(new(), TOKENIZER, path, type)
    tensor = open_gguf(path)[1]["blk.1.attn_v.weight"]
    data = bytearray(path.read_bytes())
    at = tensor.begin + (0 if type == "F32" else TYPES[type].bytes)
    data[at : at + 4] = b"\0\x7e\0\x7e" if type != "F32" else b"\0\0\x80\x7f"  # NaN, infinity
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"blk.1.attn_v.weight: expected finite numbers"):
        import_gguf(path)


def changed(path, **metadata):
    """The file with other metadata, where None takes an entry away."""
    found, tensors = open_gguf(path)
    values = {name: value for name, value in (found | metadata).items() if value is not None}
    write_gguf(path, values, {n: (tensor.read(), "F32") for n, tensor in tensors.items()})
    return import_gguf(path)


@pytest.mark.parametrize("add_bos", [True, False])
def test_llama_3_has_whole_words_and_bos(path, add_bos):
    names = ["<|begin_of_text|>", "<|eot_id|>"]
    tokenizer = of_pairs(
        [(b"b", b"c"), (b"a", b"b"), (b"ab", b"c")], names, "llama-bpe", (), *names,
        ["bos"] * add_bos, whole=True,
    )  # fmt: skip
    export_gguf(new(vocabulary=len(tokenizer)), tokenizer, path)
    again = import_gguf(path)[1]
    assert again.to_dict() == tokenizer.to_dict()
    assert again.decode(again.encode_known("abc")[:1]) == "abc"
    assert again.encode("abc").tolist()[: int(add_bos)] == [again.bos] * add_bos
    assert changed(path, **{"tokenizer.ggml.add_bos_token": None})[1].add_bos  # as llama.cpp
    with pytest.raises(InputError, match="add_bos_token: expected true or false, found 3"):
        changed(path, **{"tokenizer.ggml.add_bos_token": 3})


@pytest.mark.parametrize("type", ["F32", "Q8_0"])
def test_transformers_has_the_same_logits(path, type):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    pytest.importorskip("gguf")
    tied = new(rope_scaling=None)
    export_gguf(tied, TOKENIZER, path, type)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    )
    ids = np.arange(14)[None]
    with torch.no_grad():
        theirs = model(torch.tensor(ids)).logits.numpy()
    ours, _ = dequantised(import_gguf(path)[0]).forward(ids)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("options", [{}, {"nfc": True}, {"whole": True, "framed": ["bos"]}])
def test_words_and_options_of_byte_pairs_are_written_and_read_back(path, words, options):
    """As far as the names of words have the options; the others are not in such files."""
    names = ["<|bos|>", "<|eos|>", "<think>"]
    tokenizer = of_pairs(PLAIN.merges, names, words, names[2:], *names[:2], **options)
    composed = [True, False] if words in ("qwen2", "deepseek-r1-qwen") else [False]
    lost = ["composed"] * (options.get("nfc", False) not in composed)
    lost += ["merges do not make"] * (
        "whole" in options and words not in ("llama-bpe", "smaug-bpe")
    )
    export_gguf(new(vocabulary=len(tokenizer)), tokenizer, path)
    again, pre = import_gguf(path)[1], open_gguf(path)[0]["tokenizer.ggml.pre"]
    assert pre in WORDS
    assert (again.tokens, again.special.ids, again.shown) == (
        tokenizer.tokens, tokenizer.special.ids, tokenizer.shown,
    )  # fmt: skip
    assert (again.bos, again.eos, again.add_bos) == (256 + 5, 262, "framed" in options)
    expected, found = tokenizer.values, again.values
    assert found["pre_tokenizer"] == expected["pre_tokenizer"]
    if not lost:
        assert found == expected


SCORES = {"▁": -6.0, "a": -7.0, "b": -8.0, "▁a": -1.0, "ab": -2.0, "▁ab": -3.0}


def pieces(**options):
    """SentencePiece's tokens, all of which a GGUF file can describe."""
    special = ["<|end|>", "<|endoftext|>", "▁▁"]
    return of_pieces(SCORES, special, special[2:], **{"framed": ["bos"], **options})


TAKING = {text: {"rstrip": True} for text in ("</s>", "<|end|>", "▁▁")}


@pytest.mark.parametrize(
    "options", [{}, {"prefix": False, "framed": ["bos", "eos"]}, {"flags": TAKING}]
)
def test_sentencepieces_tokens_are_written_and_read_back(path, options):
    tokenizer = pieces(**options)
    export_gguf(new(vocabulary=len(tokenizer)), tokenizer, path)
    again, metadata = import_gguf(path)[1], open_gguf(path)[0]
    assert metadata["tokenizer.ggml.model"] == "llama"
    types = metadata["tokenizer.ggml.token_type"].tolist()
    assert types == [2, 3, 3, *[6] * 256, *[1] * 6, 3, 3, 4]
    assert again.texts == [text.replace("▁▁", "  ") for text in tokenizer.texts]
    assert again.hidden == tokenizer.hidden
    for text in ("ab a", "é<|end|>\n ab", "b a b", "", "bab<|endoftext|>a"):
        assert again.encode(text).tolist() == tokenizer.encode(text).tolist(), text


def test_a_tokenizer_that_a_file_cannot_describe(path):
    tokenizer = pieces(unigram=True)
    export_gguf(new(vocabulary=len(tokenizer)), tokenizer, path)
    assert open_gguf(path)[0]["tokenizer.ggml.model"] == "none"


@pytest.mark.parametrize(
    ("entry", "value", "complaint"),
    [
        ("scores", np.zeros(3, np.float32), "scores: expected 268 numbers"),
        ("scores", None, "scores: expected 268 numbers, found None"),
        ("bos_token_id", 999, "bos_token_id: expected 0 to 267"),
    ],
)
def test_sentencepieces_tokens_that_are_refused(path, entry, value, complaint):
    tokenizer = pieces()
    export_gguf(new(vocabulary=len(tokenizer)), tokenizer, path)
    metadata, tensors = open_gguf(path)
    arrays = {name: (tensor.read(), tensor.type) for name, tensor in tensors.items()}
    metadata[f"tokenizer.ggml.{entry}"] = value
    write_gguf(path, {k: v for k, v in metadata.items() if v is not None}, arrays)
    with pytest.raises(InputError, match=complaint) as error:
        import_gguf(path)
    assert str(error.value).count(str(path)) == 1
