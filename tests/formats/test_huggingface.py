"""Folders of transformers: read, written, in every form that they come in, and what is refused.

A model is a row of make_frozen.py.  Its outputs are compared with frozen ones, and with those that
transformers computes where it is installed.
"""

import json
import struct
from dataclasses import replace
from functools import cache
from importlib.util import find_spec

import numpy as np
import pytest
from other_programs import import_gguf
from published import of_pieces
from safetensors.numpy import load_file, save_file
from usual import usual_kernels

import minillm
from minillm import use_kernels
from minillm.data.entries import Entries
from minillm.decoding import ChatSampling, Sampling
from minillm.errors import InputError
from minillm.formats import huggingface
from minillm.formats.format import Contents, formats
from minillm.formats.gguf import export_gguf
from minillm.formats.gguf_config import ARCHITECTURES, Architecture
from minillm.formats.huggingface import LAYOUTS, layout_of, read_chat_template, read_sampling
from minillm.formats.layout import config_of, plain
from minillm.models.decoders import FAMILIES, Changes, Decoder, DecoderConfig
from minillm.models.encoders import Encoder, EncoderConfig
from minillm.models.fine_tuned import FineTuned, FineTunedConfig
from minillm.models.gpt import GPT, GPTConfig
from minillm.models.llama import Llama, LlamaConfig
from minillm.models.mamba import Mamba
from minillm.ops.rotary_scaling import Linear, Llama3, Yarn
from minillm.runs.conversion import import_file
from minillm.text import Characters, ChatTemplate, WordPieces, tokenizer_files
from minillm.text.byte_pairs import train
from minillm.text.word_pieces import SPECIALS

from .make_frozen import FROZEN, LABELLED, ROWS, computed, frozen, inputs, random_model
from .make_frozen import outputs_of as outputs_of_theirs

TOKENIZER = train(["she sells sea shells by the sea shore\n"], 262)
LETTERS = "abcdefghijklmnop"
PIECES = WordPieces([*SPECIALS, *LETTERS, *("##" + letter for letter in LETTERS), "é", "!", "京"])
GONE = object()  # an entry that is taken away
UNTRAINED = ("ForPreTraining", "ForNextSentencePrediction")  # which have a head that is left out
FAMILY = {layout.family or layout.model_type: layout for layout in LAYOUTS}


@cache
def of_file(name):
    """A model in a file, and its outputs."""
    return frozen(name)


@cache
def of_transformers(name):
    return computed(name, seed=1)


def layout(name):
    return FAMILY[name.partition(" ")[0].strip(",")]


def changed(values, changes):
    """Entries with others; GONE: without one."""
    return {name: value for name, value in (values | changes).items() if value is not GONE}


def add_tokenizer(path, tokenizer):
    for name, content in tokenizer_files(tokenizer).items():
        (path / name).write_bytes(content)


def save(path, name, tensors=None, model_of=of_file, **changes):
    """A folder as transformers writes it, with a tokenizer."""
    path.mkdir()
    found = model_of(name)
    add_tokenizer(path, TOKENIZER if ROWS[name].causal else PIECES)
    values = changed(json.loads(found.config), changes)
    (path / "config.json").write_text(json.dumps(values))
    save_file(found.weights if tensors is None else tensors, path / "model.safetensors")
    return path


def converted(model, dtype):
    params = {name: array.astype(dtype) for name, array in model.params.items()}
    return type(model)(model.config, params=params)


def outputs_of(model, row):
    """What a model of ours computes, under the names of make_frozen.py."""
    ids, *rest = inputs(row)
    if row.causal:
        before = ids[:, :-1]
        if isinstance(model, Mamba):
            logits = model.forward(before, model.zero_state(len(ids)))[0][0]
        else:
            logits, _ = model.forward(before)
        return {"logits": logits[:, -2:], "loss": model.loss((before, ids[:, 1:]))[0]}
    lengths, segments = rest
    if isinstance(model, FineTuned):
        return {"logits": model.forward(ids, lengths)[0]}
    real = (np.arange(ids.shape[1]) < lengths[:, None])[..., None]
    x, _ = model.hidden(ids, lengths, segments)
    outputs = {"hidden": np.where(real, x, 0)}
    if model.config.masked_words:
        logits, _ = model.masked_words(x.reshape(-1, x.shape[-1]))
        outputs["logits"] = np.where(real, logits.reshape(*ids.shape, -1), 0)
    return outputs


def assert_close(found, expected, tolerance):
    for name, array in found.items():
        atol = tolerance * np.abs(expected[name]).max()
        np.testing.assert_allclose(array, expected[name], atol=atol, rtol=0, err_msg=name)


def assert_same(model, expected):
    assert model.config == expected.config
    assert_same_arrays(model.params, expected.params)


def assert_same_arrays(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def refusal(path):
    """The message, which names the folder in each line."""
    with pytest.raises(InputError) as caught:
        huggingface.read(path)
    assert all(reason.count(str(path)) == 1 and "\n" not in reason for reason in caught.value.args)
    message = str(caught.value)
    assert len(message) < 600
    return message


# --- outputs, and the folder that is written -----------------------------------------------------

THEIRS = find_spec("torch") and find_spec("transformers")


@usual_kernels
@pytest.mark.parametrize("name", ROWS if THEIRS else FROZEN)
def test_outputs_are_those_of_transformers_there_and_back(tmp_path, name, kernels):
    """With what transformers computes now, or what it once did."""
    model_of = of_transformers if THEIRS else of_file
    row, expected = ROWS[name], model_of(name)
    contents = huggingface.read(save(tmp_path / "in", name, model_of=model_of))
    model, single = contents.model, row.tolerances[1]
    exact = converted(model, np.float64)
    with use_kernels(kernels):
        assert_close(outputs_of(model, row), expected.outputs, single)
        assert_close(outputs_of(exact, row), expected.outputs, row.tolerances[0])
    assert layout_of(model) is layout(name)
    [reader] = [one for one in formats() if one.recognises(tmp_path / "in", b"")]
    assert reader.holds(model)
    if row.gradients:  # they have the names and the layout of weights
        path = save(tmp_path / "gradients", name, expected.gradients, model_of)
        gradients = huggingface.read(path).model.params
        ids = inputs(row)[0]
        found = exact.loss((ids[:, :-1], ids[:, 1:]))[1]()
        assert found.keys() == gradients.keys()
        most = row.gradients * max(np.abs(array).max() for array in gradients.values())
        for entry, array in gradients.items():
            np.testing.assert_allclose(found[entry], array, atol=most, rtol=0, err_msg=entry)

    huggingface.write(contents, tmp_path / "out")
    again = huggingface.read(tmp_path / "out")
    assert_same(again.model, model)
    assert again.facts == contents.facts
    assert again.tokenizer.texts == contents.tokenizer.texts
    if row.end not in UNTRAINED:
        assert_same_arrays(load_file(tmp_path / "out" / "model.safetensors"), expected.weights)
        values, theirs = json.loads((tmp_path / "out" / "config.json").read_text()), expected.config
        missing = row.entries.keys() - values.keys() - {"rope_parameters"}
        assert missing <= (set() if row.end == LABELLED else {"classifier_dropout"})
        for entry, value in json.loads(theirs).items():
            if entry in values and not entry.startswith(("bos_", "eos_", "pad_", "rope_")):
                assert values[entry] == value, entry
    if THEIRS:
        import torch

        theirs = random_model(row, seed=1).double()
        loaded, notes = type(theirs).from_pretrained(
            tmp_path / "out", dtype="float64", attn_implementation="eager", output_loading_info=True
        )
        assert all("seq_relationship" in one for names in notes.values() for one in names)
        with torch.no_grad():
            outputs = outputs_of_theirs(loaded.eval(), row)
        assert_same_arrays({n: y.numpy() for n, y in outputs.items()}, expected.outputs)


def test_every_family_has_a_row():
    assert {layout(name).model_type for name in ROWS} == {one.model_type for one in LAYOUTS}
    assert FAMILIES.keys() <= FAMILY.keys()
    assert ARCHITECTURES.keys() == {"llama", *FAMILIES}


def test_a_new_family_is_a_row_in_three_tables(tmp_path, monkeypatch):
    changes = Changes(bias=True, head_norms=True, windows=True, global_every=2, four_norms=True)
    monkeypatch.setitem(FAMILIES, "toy", changes)
    names = {
        "blocks.*.attention.norm": "layers.*.attn_norm",
        "blocks.*.feed_forward.norm": "layers.*.ffn_norm",
    }
    toy = replace(FAMILY["gemma3"], model_type="toy", family="toy", classes=("Toy",))
    toy = replace(toy, names={**FAMILY["llama"].names, **names})
    monkeypatch.setattr(huggingface, "LAYOUTS", (*LAYOUTS, toy))
    monkeypatch.setitem(ARCHITECTURES, "toy", Architecture("toy"))
    model = new(Decoder, DecoderConfig(262, **SIZES, family="toy", window=5))
    huggingface.write(Contents(model, TOKENIZER), tmp_path / "a")
    assert_same(huggingface.read(tmp_path / "a").model, model)
    export_gguf(model, TOKENIZER, tmp_path / "a.gguf")
    assert_same(import_gguf(tmp_path / "a.gguf")[0], model)


# --- the forms that weights come in --------------------------------------------------------------


def bits(tensors):
    """The weights with the numbers that bfloat16 has, and these numbers as a file stores them."""
    upper = {name: array.view("<u4") >> 16 for name, array in tensors.items()}
    floats = {name: (half << 16).view(np.float32) for name, half in upper.items()}
    return floats, {name: half.astype("<u2") for name, half in upper.items()}


def save_bfloat16(path, tensors):
    """By hand, because NumPy has no bfloat16."""
    header, data = {}, b""
    for name, array in tensors.items():
        offsets = [len(data), len(data) + array.nbytes]
        header[name] = {"dtype": "BF16", "shape": array.shape, "data_offsets": offsets}
        data += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def shard(path, tensors):
    """The same in two files with an index, which is returned."""
    names = sorted(tensors)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, path / file)
    weight_map = {name: file for file, part in parts.items() for name in part}
    index = path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    (path / "model.safetensors").unlink()
    return index


def test_half_precision_and_several_files(tmp_path):
    floats, halves = bits(of_file("gpt2").weights)
    path = save(tmp_path / "a", "gpt2", floats)
    expected = huggingface.read(path).model
    save_bfloat16(path / "model.safetensors", halves)
    assert_same(huggingface.read(path).model, expected)
    shard(path, floats)
    assert_same(huggingface.read(path).model, expected)
    tensors = {name: array.astype(np.float16) for name, array in of_file("gpt2").weights.items()}
    found = huggingface.read(save(tmp_path / "b", "gpt2", tensors)).model
    assert_same(found, huggingface.read(save(tmp_path / "c", "gpt2")).model)


def renamed(*pairs):
    def change(tensors):
        for old, new in pairs:
            tensors = {name.replace(old, new): array for name, array in tensors.items()}
        return tensors

    return change


def copied(**copies):
    """More tensors, each a copy of another one or an array."""

    def change(tensors):
        more = {n: a if isinstance(a, np.ndarray) else tensors[a] for n, a in copies.items()}
        return tensors | {name.replace("__", "."): array.copy() for name, array in more.items()}

    return change


ONES = np.ones((8, 8), np.float32)
CLS = "cls.predictions"
GAMMA = (("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta"))
EMBEDDING = "bert.embeddings.word_embeddings.weight"
FORMS = [  # other names of the same tensors, and tensors that are no weights
    ("gpt2", renamed(("transformer.", "")), {}),
    ("roberta ForMaskedLM", renamed(("roberta.", "")), {}),
    ("mamba", renamed(("embeddings.", "embedding.")), {}),
    ("mamba", copied(lm_head__weight="backbone.embeddings.weight"), {}),
    ("gpt2", copied(transformer__h__0__attn__bias=ONES.astype(np.uint8)), {}),
    ("gpt2", copied(transformer__h__1__attn__masked_bias=np.array(-1e4, np.float32)), {}),
    ("gpt2", copied(lm_head__weight="transformer.wte.weight"), {"tie_word_embeddings": False}),
    ("qwen2", copied(lm_head__weight="model.embed_tokens.weight"), {}),
    ("llama", copied(model__layers__0__self_attn__rotary_emb__inv_freq=ONES[0]), {}),
    ("bert ForMaskedLM", renamed(*GAMMA), {}),
    ("bert ForMaskedLM", renamed((f"{CLS}.bias", f"{CLS}.decoder.bias")), {}),
    ("bert ForMaskedLM", copied(bert__embeddings__position_ids=np.arange(12)[None]), {}),
    ("bert ForMaskedLM", copied(bert__embeddings__token_type_ids=np.arange(12)[None]), {}),
    (
        "bert ForMaskedLM",
        copied(
            cls__predictions__decoder__weight=EMBEDDING,
            cls__predictions__decoder__bias=f"{CLS}.bias",
        ),
        {"tie_word_embeddings": False},
    ),
    ("bert ForPreTraining", lambda tensors: tensors, {"architectures": ["BertForMaskedLM"]}),
    ("roberta ForSequenceClassification", copied(roberta__pooler__dense__bias=ONES[0]), {}),
    (
        "electra Model",
        copied(discriminator_predictions__dense__weight=ONES),
        {"architectures": ["ElectraForPreTraining"]},
    ),
]


@pytest.mark.parametrize(("name", "change", "entries"), FORMS)
def test_tensors_under_other_names_and_tensors_that_are_no_weights(tmp_path, name, change, entries):
    expected = huggingface.read(save(tmp_path / "usual", name)).model
    tensors = change(of_file(name).weights)
    assert tensors.keys() != of_file(name).weights.keys() or entries
    assert_same(
        huggingface.read(save(tmp_path / "other", name, tensors, **entries)).model, expected
    )


@pytest.mark.parametrize(
    ("name", "heads"),
    [
        ("mpnet ForMaskedLM", ["masked_words"]),
        ("bert ForPreTraining", ["masked_words"]),
        ("bert Model", ["pooler"]),
    ],
)
def test_an_encoder_may_lack_a_head_of_its_architecture(tmp_path, name, heads):
    """Sentence encoders are often saved so."""
    prefix = layout(name).prefix
    tensors = of_file(name).weights
    if name == "bert Model":
        tensors = {n: array for n, array in tensors.items() if not n.startswith("pooler.")}
    else:
        tensors = {n.removeprefix(prefix): a for n, a in tensors.items() if n.startswith(prefix)}
    whole = huggingface.read(save(tmp_path / "whole", name)).model
    model = huggingface.read(save(tmp_path / "part", name, tensors)).model
    assert model.config == replace(whole.config, **dict.fromkeys(heads, False))
    for entry, array in model.params.items():
        np.testing.assert_array_equal(array, whole.params[entry])


def without(*names):
    return lambda tensors: {n: array for n, array in tensors.items() if n not in names}


def other(name, array):
    return lambda tensors: tensors | {name: array}


LN, ELSE = "transformer.ln_f.bias", "the model has no tensor"
DECODER, CONV = f"{CLS}.decoder", "backbone.layers.0.mixer.conv1d.weight"
TENSORS = [
    ("gpt2", without(LN), "the tensor ln_f.bias is missing"),
    ("gpt2", other(LN, ONES[0]), "ln_f.bias: expected shape (16,), found (8,)"),
    ("gpt2", other(LN, np.zeros(16, np.int32)), "bfloat16, found I32 in 1 of 28 tensors"),
    ("gpt2", lambda t: {n: a.astype(float) for n, a in t.items()}, "F64 in 28 of 28 tensors"),
    ("gpt2", other(LN, np.full(16, np.nan, np.float32)), "expected finite weights, found others"),
    ("gpt2", other("transformer.score.weight", ONES), f"'score.weight': {ELSE}"),
    ("gpt2", other("transformer.h.0.attn.bias_2", ONES), f"'h.0.attn.bias_2': {ELSE}"),
    ("gpt2", other("ln_f.bias", np.zeros(16, np.float32)), "has 'ln_f.bias' under two names"),
    ("gpt2", other("lm_head.weight", ONES), "lm_head.weight: expected the weights of wte.weight"),
    ("mamba", lambda t: t | {CONV: t[CONV][:, 0].copy()}, "(12, 1, 3), found (12, 3)"),
    ("bert ForMaskedLM", without(f"{CLS}.transform.LayerNorm.bias"), "LayerNorm.bias is missing"),
    ("bert Model", without("pooler.dense.bias"), "the tensor pooler.dense.bias is missing"),
    ("bert ForMaskedLM", lambda t: t | {f"{DECODER}.weight": t[EMBEDDING] + 1},
     f"{DECODER}.weight: expected the weights of embeddings.word_embeddings.weight, found oth"),
    ("bert ForMaskedLM", other(f"{DECODER}.bias", ONES[0]),
     f"{DECODER}.bias: expected the weights of {CLS}.bias, found others"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "change", "message"), TENSORS)
def test_tensors_that_do_not_fit(tmp_path, name, change, message):
    assert message in refusal(save(tmp_path / "in", name, change(of_file(name).weights)))


def test_tensors_of_another_family(tmp_path):
    path = save(tmp_path / "a", "qwen3", model_type="mistral", architectures=None)
    assert f"k_norm.weight': {ELSE}" in refusal(path)


def test_damaged_indices(tmp_path):
    path = save(tmp_path / "gpt2", "gpt2")
    index = shard(path, of_file("gpt2").weights)
    weight_map = json.loads(index.read_text())["weight_map"]
    file = weight_map[LN]
    elsewhere = {"a.safetensors": "b.safetensors", "b.safetensors": "a.safetensors"}
    for changed_map, message in (
        (None, "expected an object 'weight_map'"),
        ({LN: 1}, "expected an object 'weight_map'"),
        (weight_map | {LN: "c.safetensors"}, "c.safetensors: there is no such file"),
        (weight_map | {LN: "../gpt2/a.safetensors"}, "same folder, found '../gpt2/a.safetensors'"),
        (weight_map | {LN: "x" * 5000}, "found 'xxxx"),
        (weight_map | {LN: "\n"}, r"found '\n'"),
        (weight_map | {"a\nb": file}, r"the tensor 'a\nb' is missing"),
        (weight_map | {LN: elsewhere[file]}, f"the tensor '{LN}' is missing"),
        (without(LN)(weight_map), "ln_f.bias is missing"),
    ):
        index.write_text(json.dumps({"weight_map": changed_map}))
        assert message in refusal(path)
    index.unlink()
    (path / "pytorch_model.bin").touch()
    assert "found 'pytorch_model.bin', a pickle, which may run any program: save" in refusal(path)


# --- config.json ---------------------------------------------------------------------------------

OLD_ANGLES = {"rope_parameters": GONE, "rope_theta": 500.0}
LLAMA_3 = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 9,
}
OWN = Llama3(*LLAMA_3.values())
LINEAR = {"type": "linear", "factor": 2}
NEWER = {"rope_type": "default", "rope_theta": 9.0}
WHOLE = {"rope_type": "default", "rope_theta": 3e5}
LOCAL = "sliding_attention"
OLD_GEMMA = {"rope_parameters": GONE, "rope_theta": 3e5, "rope_local_base_freq": 200.0}
TYPES, PATTERN = "layer_types", "sliding_window_pattern"
MANY = {"num_attention_heads": 8, "num_key_value_heads": GONE}


def scaled(**values):
    return {"rope_parameters": GONE, "rope_theta": 500.0, "rope_scaling": values}


ENTRIES = [  # entries that a config.json may have or lack, and the fields of ours that follow
    ("gpt2", {"activation_function": GONE, "layer_norm_epsilon": GONE, "resid_pdrop": GONE},
     {"dropout": 0.1}),
    ("gpt2", {"activation_function": "gelu_pytorch_tanh", "architectures": GONE}, {}),
    ("gpt2", {"architectures": ["GPT2Model"], "n_ctx": 8, "more": 3, "summary_type": "a"}, {}),
    ("bert Model", {"hidden_act": GONE, "layer_norm_eps": GONE, "hidden_dropout_prob": GONE},
     {"eps": 1e-12, "dropout": 0.1}),
    ("bert Model", {"directionality": "bidi", "pooler_fc_size": 768, "is_causal": False}, {}),
    ("distilbert ForMaskedLM", {"dropout": GONE, "activation": GONE}, {"dropout": 0.1}),
    ("mamba", {"intermediate_size": GONE, "expand": 3, "hidden_act": "swish"}, {"inner": 24}),
    ("mamba", {"intermediate_size": GONE, "expand": GONE}, {"inner": 16}),
    ("mamba", {"state_size": GONE, "conv_kernel": GONE}, {"state": 16, "convolution": 4}),
    ("mamba", {"layer_norm_epsilon": GONE, "tie_word_embeddings": GONE}, {"eps": 1e-5}),
    ("mamba", {"time_step_rank": "auto"}, {"rank": 1}),
    # The sizes of a Llama and its relatives
    ("llama", {"num_key_value_heads": GONE, "head_dim": GONE, "hidden_act": GONE},
     {"key_heads": 4, "head_width": 4}),
    ("llama", {"rms_norm_eps": GONE, "tie_word_embeddings": GONE}, {"eps": 1e-6, "tied": False}),
    ("llama", {"architectures": ["LlamaModel"], "pretraining_tp": 1, "hidden_act": "swish"}, {}),
    ("mistral", MANY | {"sliding_window": GONE, "max_position_embeddings": 5000, "head_dim": 2},
     {"heads": 8, "key_heads": 8, "window": 4096, "context": 5000, "head_width": 2}),
    ("mistral", {"sliding_window": None}, {"window": None}),
    ("mistral", {"sliding_window": 64}, {"window": None}),  # it hides no token
    ("qwen2", {"use_sliding_window": GONE, "tie_word_embeddings": GONE, TYPES: GONE},
     {"tied": False}),
    ("qwen3", {"head_dim": GONE}, {"head_width": 128}),
    ("smollm3", {"num_key_value_heads": GONE, "no_rope_layer_interval": GONE,
                 "no_rope_layers": [1, 1, 1, 0], "tie_word_embeddings": GONE},
     {"key_heads": 4, "unrotated_every": 4, "tied": True}),
    ("smollm3", {"no_rope_layers": GONE}, {}),
    ("smollm3", {"no_rope_layers": [1, 0, 1, 0, 1, 1]}, {}),  # more than layers
    ("smollm3", {"rope_parameters": GONE}, {"rotary_base": 2e6}),
    ("gemma3", {"sliding_window": GONE, "max_position_embeddings": 5000},
     {"window": 4096, "context": 5000}),
    ("gemma3", {"head_dim": GONE, "query_pre_attn_scalar": GONE, "num_key_value_heads": GONE},
     {"head_width": 256, "key_heads": 4}),
    ("gemma3", {"tie_word_embeddings": GONE, "hidden_activation": GONE}, {"tied": True}),
    ("gemma3", {f"_{PATTERN}": GONE, PATTERN: GONE, TYPES: GONE}, {"global_every": 6}),
    ("gemma3", {f"_{PATTERN}": GONE, PATTERN: 2, TYPES: GONE}, {"global_every": 2}),
    ("gemma3", {f"_{PATTERN}": 2, PATTERN: 3, TYPES: GONE}, {"global_every": 2}),
    ("phi3", {"rms_norm_eps": GONE, "sliding_window": GONE}, {"window": None, "eps": 1e-5}),
    # Angles
    ("llama", {"rope_parameters": GONE}, {"rotary_base": 1e4}),
    ("llama", OLD_ANGLES, {"rotary_base": 500.0}),
    ("llama", {"rope_parameters": {"rope_theta": 7}}, {"rotary_base": 7.0}),
    ("llama", scaled(rope_type="default", scale=2), {"rotary_base": 500.0}),
    ("llama", scaled(type="dynamic", factor=4.0), {"rotary_base": 500.0}),
    ("llama", scaled(rope_type="llama3", **LLAMA_3), {"rotary_base": 500.0, "rope_scaling": OWN}),
    ("llama", scaled(type="linear", factor=2), {"rotary_base": 500.0, "rope_scaling": Linear(2)}),
    ("llama", scaled(type="yarn", factor=4.0),
     {"rotary_base": 500.0, "rope_scaling": Yarn(4.0, 64.0)}),  # of the context
    ("llama", scaled(type="yarn") | {"original_max_position_embeddings": 8},
     {"rotary_base": 500.0, "rope_scaling": Yarn(8.0, 8.0)}),
    # It replaces the parameters, with the base, and a length next to both comes first.
    ("llama", {"rope_scaling": LINEAR, "rope_parameters": NEWER}, {"rope_scaling": Linear(2)}),
    ("llama", {"rope_scaling": LINEAR | {"rope_theta": 7.0}, "rope_parameters": NEWER},
     {"rotary_base": 7.0, "rope_scaling": Linear(2)}),
    ("llama", scaled(type="llama3", **LLAMA_3) | {"original_max_position_embeddings": 12},
     {"rotary_base": 500.0, "rope_scaling": replace(OWN, original_context=12.0)}),
    ("gemma3", OLD_GEMMA, {"rotary_base": 3e5, "local_base": 200.0}),
    ("gemma3", OLD_GEMMA | {"rope_scaling": {"type": "linear", "factor": 8}},
     {"rotary_base": 3e5, "local_base": 200.0, "rope_scaling": Linear(8.0)}),
    ("gemma3", {"rope_parameters": GONE}, {"rotary_base": 1e6, "local_base": 1e4}),
    ("gemma3", {"rope_parameters": {"full_attention": WHOLE, LOCAL: {}}}, {"rotary_base": 3e5}),
    ("gemma3", {"rope_parameters": {"full_attention": WHOLE | {"factor": 8.0,
                                                               "rope_type": "linear"}}},
     {"rotary_base": 3e5, "rope_scaling": Linear(8.0)}),
]  # fmt: skip


def config_from(path, name, **changes):
    values = changed(json.loads(of_file(name).config), changes)
    file = Entries(path / "config.json", values)
    tensors = {plain(layout(name), n): array for n, array in of_file(name).weights.items()}
    return config_of(layout(name), file, tensors)


@pytest.mark.parametrize(("name", "entries", "fields"), ENTRIES)
def test_entries_in_either_version_and_missing_ones(tmp_path, name, entries, fields):
    """Missing ones have the defaults of transformers."""
    expected = replace(config_from(tmp_path, name), **fields)
    assert config_from(tmp_path, name, **entries) == expected


DISTIL, LABELS_OF = "distilbert ForMaskedLM", "bert ForSequenceClassification"
FIXED = {  # entries that may have one value, and another one
    "gpt2": {
        "is_causal": False, "quantization_config": {}, "activation_function": "relu",
        "layer_norm_epsilon": 1e-6, "scale_attn_weights": False,
        "scale_attn_by_inverse_layer_idx": True, "architectures": ["GPT2ForSequenceClassification"],
    },
    "llama": {"hidden_act": "gelu", "partial_rotary_factor": 0.5},
    "gemma3": {
        "final_logit_softcapping": 30.0, "attn_logit_softcapping": 50.0,
        "use_bidirectional_attention": True, "hidden_activation": "silu",
    },
    "smollm3": {"use_sliding_window": True},
    "phi3": {"partial_rotary_factor": 0.75},
    "bert Model": {
        "architectures": 3, "hidden_act": "gelu_new", "is_causal": True, "is_decoder": True,
    },
    DISTIL: {"activation": "relu", "layer_norm_eps": 1e-5},
    "mpnet ForMaskedLM": {"pad_token_id": 0},
    LABELS_OF: {"problem_type": "regression"},
}  # fmt: skip
WRONG = [
    ("gpt2", {"model_type": "t5"}, "model_type: expected 'gpt2' or 'llama' or 'mistral' or"),
    ("gpt2", {"n_embd": 6}, "heads: expected a divisor of width, found 4 and 6"),
    ("gpt2", {"n_embd": 8}, "wte.weight: expected shape (262, 8), found (262, 16)"),
    ("gpt2", {"n_layer": 3}, "the tensor h.2.attn.c_attn.weight is missing"),
    ("gpt2", {"n_layer": 10**12}, "layers: expected 10,000 or less"),
    ("gpt2", {"n_positions": 1}, "context: expected 2 or more, found 1"),
    ("gpt2", {"vocab_size": 9}, "config.json says vocab_size 9, but the tokenizer has 262 tokens"),
    ("gpt2", {"resid_pdrop": 1.0}, "dropout: expected 0 or more and below 1, found 1.0"),
    ("gpt2", {"tie_word_embeddings": False}, "the tensor lm_head.weight is missing"),
    ("gpt2", {"n_embd": int("9" * 100)}, "config.json: n_embd: expected a whole number"),
    ("llama", {"tie_word_embeddings": 1}, "tie_word_embeddings: expected true or false, found 1"),
    ("llama", {"num_key_value_heads": 3}, "key_heads: expected a divisor of heads, found 3 and 4"),
    ("llama", {"head_dim": 5}, "head_width: expected an even number, found 5"),
    ("llama", scaled(type="ntk"), "rope_type: expected 'default' or 'dynamic' or 'line"),
    ("llama", scaled(type="llama3", factor=2), "low_freq_factor: expected a number, found None"),
    ("llama", scaled(type="yarn", original_max_position_embeddings=0), "from 1e-9 to 1e9, found n"),
    ("llama", scaled(type="yarn", factor=2, mscale=1), "mscale: expected None or"),
    ("llama", {"rope_scaling": [2]}, "rope_scaling: expected an object or null, found [2]"),
    ("phi3", {"rope_parameters": {"rope_type": {}}}, "rope_type: expected 'default' or 'dynamic'"),
    ("phi3", scaled(type=["yarn"]), "rope_type: expected 'default' or 'dynamic' or"),
    ("llama", {"rope_parameters": {"rope_theta": "a"}}, "rope_parameters: rope_theta: expected a"),
    ("llama", {"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor: expect"),
    ("gemma3", {"query_pre_attn_scalar": 2}, "query_pre_attn_scalar: expected 6, as head_dim, fo"),
    ("gemma3", {TYPES: ["full_attention"]}, "layer_types: expected 'full_attention' for"),
    ("gemma3", {TYPES: ["full_attention", *[LOCAL] * 3]}, "for every layer of number 3, 2 3 and"),
    ("gemma3", OLD_GEMMA | {"rope_local_base_freq": 0}, "config.json: local_base: expected a fin"),
    ("gemma3", {"sliding_window": 0}, "sliding_window: expected a whole number from 1 up, found"),
    ("gemma3", {"rope_parameters": {LOCAL: LINEAR | {"rope_type": "linear"}}},
     "sliding_attention: rope_type: expected 'default'"),
    ("gemma3", {"rope_parameters": {"full_attention": 3}}, "expected an object for each type of l"),
    ("smollm3", {"no_rope_layers": [0, 1, 0, 1]}, "no_rope_layers: expected 0 for every layer of"),
    ("qwen2", {TYPES: [LOCAL] * 4}, "layer_types: expected 'full_attention'"),
    ("mistral", {"sliding_window": "a"}, "sliding_window: expected a whole number from 1 up"),
    ("mamba", {"model_type": "mamba2"}, "model_type: expected 'gpt2' or 'llama'"),
    ("mamba", {"conv_kernel": 4}, "conv1d.weight: expected shape (12, 1, 4), found (12, 1, 3)"),
    ("mamba", {"conv_kernel": 1}, "convolution: expected 2 or more, found 1"),
    ("mamba", {"time_step_rank": "x"}, "time_step_rank: expected a whole number from 1 up, found"),
    ("mamba", {"expand": 2.5}, "expand: expected a whole number from 1 up, found 2.5"),
    ("bert Model", {"layer_norm_eps": 0.0}, "eps: expected a finite number above 0, found 0.0"),
    ("bert Model", {"hidden_size": 2 * 10**9}, "word_embeddings.weight: expected shape (40, 2000"),
    ("bert Model", {"max_position_embeddings": 20}, "expected shape (20, 8), found (12, 8)"),
    ("bert ForMaskedLM", {"tie_word_embeddings": False}, f"the tensor {DECODER}.weight is missin"),
    ("roberta ForMaskedLM", {"max_position_embeddings": 3}, "a whole number from 4 up, found 3"),
    ("roberta ForMaskedLM", {"pad_token_id": -1}, "pad_token_id: expected a whole number from 0"),
    ("electra Model", {"embedding_size": None}, "embedding_size: expected a whole number from 1"),
    (LABELS_OF, {"id2label": {"0": "a", "2": "b", "3": "c"}}, "expected a name for each number fr"),
    (LABELS_OF, {"id2label": {"0": "a"}}, "two or more, all different, found ['a']"),
    (LABELS_OF, {"id2label": {"0": "a", "1": "a"}}, "all different, found ['a', 'a']"),
    (LABELS_OF, {"id2label": ["a", "b", "c"]}, "id2label: expected a name for each number from 0"),
    (LABELS_OF, {"id2label": None}, "classifier.weight: expected shape (2, 8), found (3, 8)"),
    (LABELS_OF, {"classifier_dropout": 1}, "dropout: expected 0 or more and below 1, found 1"),
]  # fmt: skip


@pytest.mark.parametrize("name", FIXED)
def test_entries_of_other_models_are_refused_by_name(tmp_path, name):
    path = save(tmp_path / "in", name)
    values = json.loads((path / "config.json").read_text())
    for entry, value in FIXED[name].items():
        (path / "config.json").write_text(json.dumps(values | {entry: value}))
        message = refusal(path)
        assert f"config.json: {entry}: expected " in message
        assert message.endswith(f"found {value!r}")


@pytest.mark.parametrize(("name", "entries", "message"), WRONG)
def test_what_cannot_be_run_is_refused_by_name(tmp_path, name, entries, message):
    assert message in refusal(save(tmp_path / "in", name, **entries))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "config.json: there is no such file"),
        (b"{", "config.json: expected JSON, but it is damaged"),
        (b"[1]", "config.json: expected a JSON object, found [1]"),
        (b"{}", "config.json: model_type: expected 'gpt2' or 'llama' or"),
    ],
)
def test_a_damaged_config(tmp_path, content, message):
    path = save(tmp_path / "gpt2", "gpt2")
    (path / "config.json").unlink()
    if content is not None:
        (path / "config.json").write_bytes(content)
    assert message in refusal(path)


@pytest.mark.parametrize(
    ("entries", "labels"),
    [
        ({"id2label": None, "num_labels": 3}, ("LABEL_0", "LABEL_1", "LABEL_2")),
        ({"id2label": {"2": "c", "0": "a", "1": "b"}, "num_labels": 3}, ("a", "b", "c")),
    ],
)
def test_labels(tmp_path, entries, labels):
    assert huggingface.read(save(tmp_path / "in", LABELS_OF, **entries)).facts["labels"] == labels


# --- writing -------------------------------------------------------------------------------------


def new(Model, config):
    return Model(config, np.random.default_rng(0))


SIZES = {"context": 16, "layers": 8, "heads": 4, "key_heads": 2, "width": 16, "feed_forward": 8}


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("gemma3", {"global_every": 0, "window": None, "local_base": 7.0}),
        ("gemma3", {"global_every": 0, "window": 3, "local_base": 7.0}),
        ("smollm3", {"unrotated_every": 0}),
        ("phi3", {"rope_scaling": Linear(4.0)}),
        ("smollm3", {"rope_scaling": Llama3(8.0, 1.0, 4.0, 8192.0)}),
    ],
)
def test_decoders_whose_layers_are_all_alike(tmp_path, family, options):
    """Each whole or each local, with the same angles."""
    model = new(Decoder, DecoderConfig(262, **SIZES, family=family, **options))
    huggingface.write(Contents(model, TOKENIZER), tmp_path / "out")
    again, ids = huggingface.read(tmp_path / "out").model, np.arange(9)[None]
    np.testing.assert_array_equal(again.forward(ids)[0], model.forward(ids)[0])
    if "window" in options:
        types = json.loads((tmp_path / "out" / "config.json").read_text())["layer_types"]
        assert set(types) == {LOCAL if options["window"] else "full_attention"}


def test_the_folder_of_a_gpt2(tmp_path):
    model = new(GPT, GPTConfig(262, context=8, layers=1, heads=2, width=6))
    path = tmp_path / "out"
    path.mkdir()  # an empty folder may be there
    huggingface.write(Contents(model, TOKENIZER, ChatTemplate("{{ messages }}")), path)
    names = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert {file.name for file in path.iterdir()} == names | {"chat_template.jinja"}
    assert [file.name for file in tmp_path.iterdir()] == ["out"]
    values = json.loads((path / "config.json").read_text())
    roles = {"bos_token_id": 261, "eos_token_id": 261, "pad_token_id": None}
    assert roles.items() <= values.items()
    settings = json.loads((path / "tokenizer_config.json").read_text())
    assert settings == {
        "model_max_length": 8,
        "clean_up_tokenization_spaces": False,
        "tokenizer_class": "PreTrainedTokenizerFast",
        **dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>"),
    }
    found = huggingface.read(path)
    assert found.tokenizer.tokens == TOKENIZER.tokens
    assert found.chat == ChatTemplate("{{ messages }}", "<|endoftext|>", "<|endoftext|>")


@pytest.mark.parametrize(("inner", "expand"), [(6, 1), (12, 2), (5, None)])
def test_the_inner_width_of_a_mamba_is_written_twice(tmp_path, inner, expand):
    """Some programs read it, others the multiple of the width."""
    config = replace(huggingface.read(save(tmp_path / "in", "mamba")).model.config, width=6)
    model = new(Mamba, replace(config, inner=inner))
    huggingface.write(Contents(model, TOKENIZER), tmp_path / "out")
    values = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (values["intermediate_size"], values.get("expand")) == (inner, expand)
    settings = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert "model_max_length" not in settings  # it reads texts of any length


def test_whole_or_not_at_all(tmp_path, monkeypatch):
    contents = Contents(new(GPT, GPTConfig(262, 8, 1, 2, 6)), TOKENIZER)
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path, tmp_path / "file"):
        with pytest.raises(InputError, match="expected the name of a new folder, but it exists"):
            huggingface.write(contents, path)
    with pytest.raises(InputError, match="expected the name of a folder, found an empty one"):
        huggingface.write(contents, "")
    characters = replace(contents, tokenizer=Characters(["a", "b"]))
    with pytest.raises(InputError, match="transformers has no tokenizer that splits a text into c"):
        huggingface.write(characters, tmp_path / "out")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("minillm.formats.folder.write_tensors", full)
    with pytest.raises(OSError, match="No space") as caught:
        huggingface.write(contents, tmp_path / "out")
    assert caught.value.filename == str(tmp_path / "out")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


def test_models_that_transformers_lacks(tmp_path):
    sizes = {"context": 12, "layers": 1, "heads": 2, "width": 8, "family": "distilbert"}
    encoder = EncoderConfig(40, **sizes, masked_words=False)
    for options, able in (
        ({}, False),
        ({"pooling": "first"}, False),
        ({"pooling": "first", "head": "tanh"}, False),
        ({"pooling": "first", "head": "relu"}, True),
    ):
        model = new(FineTuned, FineTunedConfig("encoder", encoder, 2, **options))
        assert (layout_of(model) is not None) == able
    model = new(Encoder, EncoderConfig(40, **sizes, eps=1e-5))
    with pytest.raises(InputError, match="distilbert: layer_norm_eps: expected 1e-12, found 1e-05"):
        huggingface.write(Contents(model, PIECES), tmp_path / "out")


# --- what is beside the model ---------------------------------------------------------------------


def test_the_chat_template_of_a_folder(tmp_path):
    """A file of its own, or an entry of tokenizer_config.json, where there may be several."""
    assert read_chat_template(tmp_path) is None
    named = [{"name": "tool", "template": "y"}, {"name": "default", "template": "z"}]
    for value, expected in (("x", "x"), (named, "z"), ([], None)):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": value}))
        assert read_chat_template(tmp_path) == expected
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": 3}')
    with pytest.raises(InputError, match="chat_template: expected a text, found 3"):
        read_chat_template(tmp_path)
    (tmp_path / "chat_template.jinja").write_text("é")
    assert read_chat_template(tmp_path) == "é"
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"chat_template.jinja: 'utf-8' codec"):
        read_chat_template(tmp_path)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"do_sample": True, "top_k": 20, "temperature": 0.6}, {"top_k": 20, "temperature": 0.6}),
        ({"do_sample": True, "top_k": 0, "top_p": 0.9}, {"temperature": 1.0, "top_p": 0.9}),
        ({"do_sample": True, "top_k": -1}, {}),
        ({"do_sample": True}, {}),
        ({"temperature": 0.6}, {}),  # it is not sampled by default
    ],
)
def test_how_the_authors_sample(tmp_path, values, expected):
    (tmp_path / "generation_config.json").write_text(json.dumps(values))
    assert read_sampling(tmp_path) == expected


def test_how_the_authors_sample_is_the_default_of_chat(tmp_path):
    path, run = save(tmp_path / "llama", "llama"), tmp_path / "run"
    (path / "chat_template.jinja").write_text("{{ messages }}")
    file = path / "generation_config.json"
    for values, sampling in (
        ({"do_sample": True, "top_k": 20, "temperature": 0.6}, Sampling(0.6, top_k=20)),
        ({}, ChatSampling()),
    ):
        file.write_text(json.dumps(values))
        import_file(str(path), run, overwrite=True)
        assert minillm.load(run).answering.sampling == sampling
    file.write_text('{"do_sample": true, "temperature": "hot"}')
    with pytest.raises(InputError, match="llama: its values for sampling: temperature: expected"):
        import_file(str(path), tmp_path / "other")


def test_a_special_token_without_a_row_is_left_out(tmp_path):
    """As Gemma 3's for images."""
    tokenizer = of_pieces({"▁": 0, "a": 0})
    longer, texts = of_pieces({"▁": 0, "a": 0}, ["<image>"]), tokenizer.texts
    sizes = {"context": 8, "layers": 1, "heads": 2, "width": 8, "family": "gemma3"}
    model = new(Decoder, DecoderConfig(len(texts), **sizes))
    huggingface.write(Contents(model, longer), tmp_path / "gemma")
    assert huggingface.read(tmp_path / "gemma").tokenizer.values == tokenizer.values
    model = new(Decoder, DecoderConfig(len(texts) - 1, **sizes))
    huggingface.write(Contents(model, tokenizer), tmp_path / "smaller")
    assert "but the tokenizer has 261 tokens" in refusal(tmp_path / "smaller")


def test_rows_past_the_tokenizer_are_kept_and_never_written(tmp_path):
    config = LlamaConfig(320, 16, 1, 2, width=8)
    model, path, run = new(Llama, config), tmp_path / "llama", tmp_path / "run"
    model.params["embedding.E"][262:] *= 50  # by far the largest logits, of either sign
    chat = ChatTemplate("{{ messages[0].content }}")
    huggingface.write(Contents(model, TOKENIZER, chat), path)
    found = huggingface.read(path)
    assert_same(found.model, model)
    assert len(found.tokenizer) == 262
    ids = TOKENIZER.encode("she ")
    assert model.forward(ids[None])[0][0, -1].argmax() >= 262
    import_file(str(path), run)
    opened = minillm.load(run)
    for values in ({"temperature": 0}, {"temperature": 5.0, "seed": 0}):
        assert len(TOKENIZER.encode("".join(opened.write("she ", length=30, **values)))) > 4
    answer = opened.chat([{"role": "user", "content": "she"}], length=10)
    assert isinstance("".join(answer), str)
    nats = opened.evaluate(text="she sells")["nats_per_token"]
    ids = TOKENIZER.encode("she sells\n")[None]
    np.testing.assert_allclose(nats, model.loss((ids[:, :-1], ids[:, 1:]))[0], rtol=1e-5)


def test_a_config_that_no_run_may_have_is_refused_before_anything_is_written(tmp_path):
    source = save(tmp_path / "llama", "llama", rms_norm_eps=1e12)
    with pytest.raises(InputError, match="llama: eps: expected a number at l") as error:
        import_file(str(source), tmp_path / "run")
    assert "damaged" not in str(error.value)
    assert not (tmp_path / "run").exists()
