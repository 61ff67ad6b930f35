"""LoRA's additions in PEFT's format: there and back, what is refused, and PEFT itself."""

import json
import re

import numpy as np
import pytest

from minillm.errors import InputError
from minillm.formats import huggingface
from minillm.formats.peft import CONFIG, WEIGHTS, read_adapter, write_adapter
from minillm.formats.tensors import open_tensors, write_tensors
from minillm.models.bert import BERT, BERTConfig
from minillm.models.decoders import FAMILIES, Decoder, DecoderConfig
from minillm.models.gpt import GPT, GPTConfig
from minillm.models.llama import Llama, LlamaConfig
from minillm.text import BytePairs, WordPieces, tokenizer_files
from minillm.text.word_pieces import SPECIALS
from minillm.training.lora import LoRA

from .make_frozen import ROWS, inputs, outputs_of, random_model

SIZES = {"context": 6, "layers": 2, "heads": 2, "width": 4}
GPT_MODULES = {  # theirs, our weight, and its columns
    "transformer.h.0.attn.c_attn": ("blocks.0.attention.W_qkv", slice(0, 12)),
    "transformer.h.1.mlp.c_proj": ("blocks.1.feed_forward.W_2", slice(0, 4)),
}
BERT_MODULES = {  # the default of PEFT, and two dense layers of equal names
    "bert.encoder.layer.0.attention.self.query": ("blocks.0.attention.W_qkv", slice(0, 4)),
    "bert.encoder.layer.0.attention.self.value": ("blocks.0.attention.W_qkv", slice(8, 12)),
    "bert.encoder.layer.1.attention.self.key": ("blocks.1.attention.W_qkv", slice(4, 8)),
    "bert.encoder.layer.1.intermediate.dense": ("blocks.1.feed_forward.W_1", slice(0, 16)),
    "bert.encoder.layer.1.output.dense": ("blocks.1.feed_forward.W_2", slice(0, 4)),
    "cls.predictions.transform.dense": ("mask.W", slice(0, 4)),
}
LLAMA_MODULES = {  # one head of keys
    "model.layers.0.self_attn.q_proj": ("blocks.0.attention.W_qkv", slice(0, 4)),
    "model.layers.0.self_attn.v_proj": ("blocks.0.attention.W_qkv", slice(6, 8)),
    "model.layers.1.mlp.up_proj": ("blocks.1.feed_forward.W_gate_up", slice(6, 12)),
    "model.layers.1.mlp.down_proj": ("blocks.1.feed_forward.W_down", slice(0, 4)),
    "lm_head": ("output.W", slice(0, 9)),
}
FUSED = {"model.layers.0.self_attn.qkv_proj": ("blocks.0.attention.W_qkv", slice(0, 8))}
MODULES = {
    "gpt": GPT_MODULES,
    "llama": LLAMA_MODULES,
    "bert": BERT_MODULES,
    **dict.fromkeys(FAMILIES, LLAMA_MODULES),
    "phi3": FUSED,  # one module for query, key and value
}


def small(name):
    rng = np.random.default_rng(0)
    if name in ("gpt", "bert"):
        Model, Config = (GPT, GPTConfig) if name == "gpt" else (BERT, BERTConfig)
        return Model(Config(9, **SIZES), rng)
    sizes = {**SIZES, "key_heads": 1, "feed_forward": 6, "tied": False}
    if name == "llama":
        return Llama(LlamaConfig(9, **sizes), rng)
    return Decoder(DecoderConfig(9, **sizes, head_width=2, family=name), rng)


def added_to(model, ends, r=2):
    """Additions, none of them zero, to the weights whose names end so."""
    rng, additions = np.random.default_rng(1), {}
    for name, W in model.params.items():
        if name.endswith(ends):
            additions[f"{name}.A"] = rng.standard_normal((W.shape[0], r)).astype(np.float32)
            additions[f"{name}.B"] = rng.standard_normal((r, W.shape[1])).astype(np.float32)
    return additions


def merged(model, additions, scale):
    """The weights with the additions."""
    copy = changed(model)
    LoRA(copy, additions, scale)
    return {name: getattr(weight, "array", weight) for name, weight in copy.params.items()}


def changed(model, **changes):
    """The model with other weights."""
    return type(model)(
        model.config, params={n: a.copy() for n, a in (model.params | changes).items()}
    )


def applied(model, arrays, scale):
    """The weights with the additions, and with the weights that replace others."""
    replaced = {name: array for name, array in arrays.items() if name in model.params}
    others = {name: array for name, array in arrays.items() if name not in replaced}
    return merged(changed(model, **replaced), others, scale)


def assert_close(one, other):
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_allclose(array, other[name], rtol=1e-5, atol=1e-6, err_msg=name)


def read(folder, model):
    """The weights with the additions of a folder, and the scale."""
    additions, r, alpha = read_adapter(folder, model)
    return applied(model, additions, alpha / r), r, alpha


def theirs_with(model, names, scale, r=3):
    """Random additions to modules of theirs, and our weights with them, computed as they say."""
    rng, tensors = np.random.default_rng(2), {}
    own = {ours: array.copy() for ours, array in model.params.items()}
    for module, (ours, columns) in names.items():
        I, O = model.params[ours].shape[0], columns.stop - columns.start
        A = rng.standard_normal((r, I)).astype(np.float32)
        B = rng.standard_normal((O, r)).astype(np.float32)
        tensors[f"base_model.model.{module}.lora_A.weight"] = A
        tensors[f"base_model.model.{module}.lora_B.weight"] = B
        own[ours][:, columns] += scale * (B @ A).T
    return tensors, own


def write_theirs(folder, tensors, **values):
    folder.mkdir(exist_ok=True)
    defaults = {"peft_type": "LORA", "r": 3, "lora_alpha": 6, "bias": "none"}
    (folder / CONFIG).write_text(json.dumps(defaults | values))
    write_tensors(folder / WEIGHTS, tensors, {"format": "pt"})
    return folder


# --- there and back ------------------------------------------------------------------------------


ALL = ("W_o", "W_1", "W_2", "W_qkv", "W_gate_up", "W_down", "output.W")


@pytest.mark.parametrize(("name", "B"), [("gpt", 1), ("llama", 1), ("bert", 1), ("gpt", 0)])
def test_there_and_back(name, B, tmp_path):
    """Additions that are still zero as well, as they are before the first step."""
    model = small(name)
    additions = {n: a * (B if n.endswith("B") else 1) for n, a in added_to(model, ALL).items()}
    write_adapter(tmp_path / "made", model, additions, 1.5, "base")
    found, r, alpha = read(tmp_path / "made", model)
    assert (r, alpha) == (2, 3.0)
    assert_close(found, merged(model, additions, 1.5))


@pytest.mark.parametrize(
    ("name", "heads"), [*((name, True) for name in MODULES), ("gpt", False), ("bert", False)]
)
def test_additions_to_modules_of_theirs(name, heads, tmp_path):
    """Read, they are the same as W + (alpha / r) B A; written again, the same modules have them."""
    model, modules = small(name), MODULES[name]
    if not heads:  # the names of a model that was loaded without its heads
        prefix = r"^(transformer|bert)\."
        modules = {re.sub(prefix, "", module): place for module, place in modules.items()}
    tensors, expected = theirs_with(model, modules, scale=2.0)
    write_theirs(tmp_path / "theirs", tensors)
    additions, r, alpha = read_adapter(tmp_path / "theirs", model)
    assert_close(merged(model, additions, alpha / r), expected)
    write_adapter(tmp_path / "ours", model, additions, alpha / r, "base", heads)
    again, _ = open_tensors(tmp_path / "ours" / WEIGHTS)
    if heads:
        shapes = {name: tensor.shape for name, tensor in again.items()}
        assert shapes == {name: array.shape for name, array in tensors.items()}
    assert_close(read(tmp_path / "ours", model)[0], expected)


@pytest.mark.parametrize("root", [False, True])
def test_each_module_may_have_its_own_rank_and_alpha(root, tmp_path):
    """And a scale of 1 / sqrt(r): our one scale is that of the settings, the others are in B."""
    model = small("llama")
    tensors, expected = {}, {name: array.copy() for name, array in model.params.items()}
    alphas = {"q_proj": 5, r"model\.layers\.1\..*up_proj": 7, "none": 3}
    for (module, (ours, columns)), r, alpha in zip(
        LLAMA_MODULES.items(), (1, 2, 3, 4, 5), (5, 6, 7, 6, 6), strict=True
    ):
        scale = alpha / (np.sqrt(r) if root else r)
        some, own = theirs_with(model, {module: (ours, columns)}, scale, r)
        tensors |= some
        expected[ours] += own[ours] - model.params[ours]
    values = {"alpha_pattern": alphas, "rank_pattern": {"none": 1}, "use_rslora": root}
    write_theirs(tmp_path / "theirs", tensors, **values)
    additions, r, alpha = read_adapter(tmp_path / "theirs", model)
    assert (r, alpha) == (3, pytest.approx(6 * np.sqrt(3) if root else 6))
    assert_close(merged(model, additions, alpha / r), expected)
    write_adapter(tmp_path / "ours", model, additions, alpha / r, "base")
    assert_close(read(tmp_path / "ours", model)[0], expected)
    write_theirs(tmp_path / "theirs", tensors, rank_pattern={})
    with pytest.raises(InputError, match=r"q_proj.lora_A: expected shape \(3, 4\), found"):
        read_adapter(tmp_path / "theirs", model)


def test_weights_that_replace_others(tmp_path):
    """Biases and saved modules; a tensor that is the baseline's is no addition."""
    model, rng = small("gpt"), np.random.default_rng(4)
    tensors, expected = theirs_with(model, GPT_MODULES, scale=2.0)
    replaced = {
        "transformer.h.0.attn.c_attn.base_layer.bias": "blocks.0.attention.b_qkv",
        "transformer.h.1.mlp.c_fc.bias": "blocks.1.feed_forward.b_1",
        "transformer.ln_f.weight": "norm.gain",
        "transformer.ln_f.bias": "norm.bias",
    }
    for theirs, ours in replaced.items():
        expected[ours] = rng.standard_normal(model.params[ours].shape).astype(np.float32)
        tensors[f"base_model.model.{theirs}"] = expected[ours]
    same = model.params["blocks.0.norm_1.bias"]
    tensors["base_model.model.transformer.h.0.ln_1.bias"] = same
    tensors["base_model.model.transformer.ln_f.original_module.bias"] = same  # it is not read
    write_theirs(tmp_path / "theirs", tensors, bias="all", modules_to_save=["ln_f"])
    arrays, r, alpha = read_adapter(tmp_path / "theirs", model)
    assert arrays.keys() & model.params.keys() == set(replaced.values())
    assert_close(applied(model, arrays, alpha / r), expected)
    write_adapter(tmp_path / "ours", model, arrays, alpha / r, "base")
    assert_close(read(tmp_path / "ours", model)[0], expected)
    config = json.loads((tmp_path / "ours" / CONFIG).read_text())
    assert (config["bias"], config["modules_to_save"]) == ("all", ["transformer.ln_f"])
    tensors["base_model.model.transformer.ln_f.weight"] = np.ones(5, np.float32)
    write_theirs(tmp_path / "theirs", tensors)
    with pytest.raises(InputError, match=r"ln_f.weight: expected shape \(4,\), found \(5,\)"):
        read_adapter(tmp_path / "theirs", model)


@pytest.mark.parametrize("family", ["qwen2", "gemma3"])
def test_weights_that_replace_others_in_a_decoder(family, tmp_path):
    """The biases of a Qwen 2; the gains of a Gemma, which are differences from 1."""
    model = small(family)
    tensors, expected = theirs_with(model, MODULES[family], scale=2.0)
    if family == "qwen2":
        name = "model.layers.1.self_attn.v_proj.base_layer.bias"
        tensors[f"base_model.model.{name}"] = np.ones(2, np.float32)
        expected["blocks.1.attention.b_qkv"][6:8] = 1
    else:
        tensors["base_model.model.model.norm.weight"] = np.full(4, 2, np.float32)
        expected["norm.gain"][:] = 3
    arrays, r, alpha = read_adapter(write_theirs(tmp_path / "theirs", tensors), model)
    assert_close(applied(model, arrays, alpha / r), expected)
    write_adapter(tmp_path / "ours", model, arrays, alpha / r, "base")
    assert_close(read(tmp_path / "ours", model)[0], expected)


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type: expected 'LORA', found 'IA3'"),
        ({"use_dora": True}, "use_dora: expected None or False, found True"),
        ({"use_bdlora": True}, "use_bdlora: expected None or False, found True"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices: expected None or False"),
        ({"layer_replication": [[0, 1]]}, "layer_replication: expected None or False"),
        ({"arrow_config": {"a": 1}}, "arrow_config: expected None or False"),
        ({"use_rslora": "x"}, "use_rslora: expected true or false, found 'x'"),
        ({"alpha_pattern": {"query": 0}}, "expected a number above 0.*, as in alpha_pattern"),
        ({"alpha_pattern": {"(": 1}}, r"alpha_pattern: expected numbers by patterns"),
        ({"alpha_pattern": ["a"]}, r"alpha_pattern: expected numbers by patterns"),
        ({"r": 0}, "r: expected a whole number from 1 up, found 0"),
        ({"r": 4}, "expected shape \\(4, 4\\), found \\(3, 4\\)"),
        ({"r": 10**9}, "expected shape \\(1000000000, 4\\), found \\(3, 4\\)"),
        ({"lora_alpha": "x"}, "lora_alpha: expected a number, found 'x'"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights: expected True or .*, found 'pissa'"),
        ({"alora_invocation_tokens": [3]}, "alora_invocation_tokens: expected None or False"),
    ],
)
def test_adapters_with_more_than_a_product_are_refused(values, message, tmp_path):
    model = small("bert")
    tensors, _ = theirs_with(model, BERT_MODULES, scale=2.0)
    with pytest.raises(InputError, match=message):
        read_adapter(write_theirs(tmp_path / "theirs", tensors, **values), model)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (lambda t: t.popitem(), "is missing from the weights"),
        (lambda t: t.clear(), "expected the tensors of additions, found none"),
        (
            lambda t: t.update(x=np.zeros(3, np.float32)),
            "'x': expected lora_A or lora_B of a linear",
        ),
        *(  # the table of a tied output
            (lambda t, n=n: t.update({f"base_model.model.{n}": np.ones((9, 4))}), "is tied to the")
            for n in (
                "transformer.wte.weight",
                "transformer.wte.lora_embedding_A",
                "lm_head.lora_A.weight",
            )
        ),
        (lambda t: t.update({k: v * np.nan for k, v in t.items()}), "expected finite weights"),
        (lambda t: t.update({k: v[:1, :1] for k, v in t.items()}), "expected shape"),
        (lambda t: t.update({k: v.astype(float) for k, v in t.items()}), "F64 in 4 of 4 tensors"),
    ],
)
def test_damaged_weights_are_refused(changed, message, tmp_path):
    model = small("gpt")
    tensors, _ = theirs_with(model, GPT_MODULES, scale=2.0)
    changed(tensors)
    with pytest.raises(InputError, match=message):
        read_adapter(write_theirs(tmp_path / "theirs", tensors), model)


def test_what_peft_does_not_have_is_not_written(tmp_path):
    model = small("gpt")
    for additions, message in (
        ({"norm.gain": np.ones(4, np.float32)}, "expected an addition A B, .* whole weights only"),
        (
            added_to(model, ("W_o", "embedding.E")),
            "embedding.E.A: expected an addition to a linear layer",
        ),
    ):
        with pytest.raises(InputError, match=message):
            write_adapter(tmp_path / "x", model, additions, 1.0, "base")
    assert not (tmp_path / "x").exists()


# --- PEFT ----------------------------------------------------------------------------------------


def logits_of(model, row):
    ids, *_ = inputs(row)
    if row.causal:
        return model.forward(ids[:, :-1])[0][:, -2:]
    outputs, _ = model.hidden(*inputs(row))
    if model.config.masked_words:
        outputs = model.masked_words(outputs.reshape(-1, outputs.shape[-1]))[0]
    real = np.arange(ids.shape[1]) < inputs(row)[1][:, None]
    return np.where(real[..., None], outputs.reshape(*ids.shape, -1), 0)


BERT_ROW, QUERY = "bert ForMaskedLM", {"target_modules": ["query"]}
SAVED = ["norm", "embed_tokens", "lm_head"]
CASES = [  # each architecture, and each of PEFT's settings
    ("gpt2", {"alpha_pattern": {r".*\.1\..*c_fc": 9}, "use_rslora": True}),
    ("gpt2", {"target_modules": ["c_attn"], "bias": "all", "modules_to_save": ["ln_f"]}),
    ("llama", {"target_modules": ["q_proj"], "modules_to_save": SAVED}),
    ("llama", {"target_modules": ["q_proj", "lm_head"], "rank_pattern": {"lm_head": 3}}),
    *((name, {}) for name in ("qwen2", "qwen3", "phi3", "distilbert ForMaskedLM")),
    ("gemma3", {"modules_to_save": ["norm", "post_attention_layernorm"]}),
    *((name, {}) for name in ("roberta ForMaskedLM", "mpnet ForMaskedLM", "electra Model")),
    (BERT_ROW, {"rank_pattern": {"query": 3}, "alpha_pattern": {"dense": 9}}),
    (BERT_ROW, QUERY | {"bias": "lora_only"}),
    (BERT_ROW, QUERY | {"modules_to_save": ["transform", "position_embeddings"]}),
]


@pytest.mark.filterwarnings("ignore::FutureWarning")  # PEFT's use of transformers
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("name", "values"), CASES)
def test_what_peft_trains_is_equal(name, values, tmp_path):
    """Its logits are ours, and its logits with our files are its own."""
    peft, torch = pytest.importorskip("peft"), pytest.importorskip("torch")
    row = ROWS[name]
    targets = row.lora[0] if row.lora == ("all-linear",) else [*row.lora]
    options = {"target_modules": targets, "fan_in_fan_out": name == "gpt2", **values}
    base = random_model(row)
    base.save_pretrained(tmp_path / "base")
    tokenizer = BytePairs([]) if row.causal else WordPieces(SPECIALS)
    for file, content in tokenizer_files(tokenizer).items():
        (tmp_path / "base" / file).write_bytes(content)
    theirs = peft.get_peft_model(base, peft.LoraConfig(r=2, lora_alpha=5, **options)).eval()
    for parameter in theirs.parameters():
        if parameter.requires_grad:
            parameter.data.add_(0.2 * torch.randn_like(parameter))
    theirs.save_pretrained(tmp_path / "saved")

    def logits_of_theirs(model):
        with torch.no_grad():
            outputs = outputs_of(model.double(), row)
        return outputs.get("logits", outputs.get("hidden")).numpy()

    expected = logits_of_theirs(theirs)
    model = huggingface.read(tmp_path / "base").model
    arrays, r, alpha = read_adapter(tmp_path / "saved", model)
    params, updates = (
        {name: array.astype(float) for name, array in some.items()}
        for some in (model.params, arrays)
    )
    exact = changed(model, **applied(changed(model, **params), updates, alpha / r))
    found = logits_of(exact, row)
    tolerance = {"rtol": 0, "atol": 1e-6 * np.ptp(expected)}
    np.testing.assert_allclose(found, expected, **tolerance)
    write_adapter(tmp_path / "ours", model, arrays, alpha / r, "base")
    again = peft.PeftModel.from_pretrained(random_model(row), tmp_path / "ours").eval()
    np.testing.assert_allclose(logits_of_theirs(again), expected, **tolerance)
