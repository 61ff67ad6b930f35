"""LoRA's additions in PEFT's format: there and back, and what is refused."""

import json
import re

import numpy as np
import pytest
from other_programs import export_bert, export_folder

from minillm.errors import InputError
from minillm.formats.peft import CONFIG, WEIGHTS, read_adapter, write_adapter
from minillm.formats.tensors import open_tensors, write_tensors
from minillm.models.bert import BERT, BERTConfig
from minillm.models.decoders import FAMILIES, Decoder, DecoderConfig
from minillm.models.gpt import GPT, GPTConfig
from minillm.models.llama import Llama, LlamaConfig
from minillm.text import BytePairs, WordPieces
from minillm.training.lora import LoRA

SIZES = {"context": 6, "layers": 2, "heads": 2, "width": 4}


def small(name, vocabulary=9):
    rng = np.random.default_rng(0)
    if name == "llama":
        config = LlamaConfig(vocabulary, **SIZES, key_heads=1, feed_forward=6, tied=False)
        return Llama(config, rng)
    Model, Config = (GPT, GPTConfig) if name == "gpt" else (BERT, BERTConfig)
    return Model(Config(vocabulary, **SIZES), rng)


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
    copy = type(model)(model.config, params={n: array.copy() for n, array in model.params.items()})
    LoRA(copy, additions, scale)
    return {name: getattr(weight, "array", weight) for name, weight in copy.params.items()}


def assert_close(one, other):
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_allclose(array, other[name], rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    "ends", ["W_qkv", ("W_o", "W_1", "W_2", "W_qkv", "W_gate_up", "W_down", "output.W")]
)
@pytest.mark.parametrize("name", ["gpt", "llama", "bert"])
def test_there_and_back(name, ends, tmp_path):
    model = small(name)
    additions = added_to(model, ends)
    write_adapter(tmp_path / "made", model, additions, 1.5, "base")
    result, r, alpha = read_adapter(tmp_path / "made", model)
    assert (r, alpha) == (2, 3.0)
    assert_close(merged(model, additions, 1.5), merged(model, result, alpha / r))


def theirs_with(model, names, r, scale):
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


GPT_MODULES = {
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
MODULES = {"gpt": GPT_MODULES, "llama": LLAMA_MODULES, "bert": BERT_MODULES}


@pytest.mark.parametrize("prefix", ["with heads", "without"])
@pytest.mark.parametrize("name", MODULES)
def test_additions_to_modules_of_theirs(name, prefix, tmp_path):
    """Read, they are the same as W + (alpha / r) B A; written again, the same modules have them."""
    model = small(name)
    modules = MODULES[name]
    if prefix == "without":
        modules = {
            re.sub(r"^(transformer|model|bert)\.", "", module): place
            for module, place in modules.items()
        }
    tensors, expected = theirs_with(model, modules, r=3, scale=2.0)
    write_theirs(tmp_path / "theirs", tensors)
    additions, r, alpha = read_adapter(tmp_path / "theirs", model)
    assert_close(merged(model, additions, alpha / r), expected)
    write_adapter(tmp_path / "ours", model, additions, alpha / r, "base", prefix == "with heads")
    again, _ = open_tensors(tmp_path / "ours" / WEIGHTS)
    if prefix == "with heads":
        assert again.keys() == tensors.keys()
        assert {name: tensor.shape for name, tensor in again.items()} == {
            name: array.shape for name, array in tensors.items()
        }
    result, r, alpha = read_adapter(tmp_path / "ours", model)
    assert_close(merged(model, result, alpha / r), expected)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type: expected 'LORA', found 'IA3'"),
        ({"use_dora": True}, "use_dora: expected None or False, found True"),
        ({"use_rslora": "x"}, "use_rslora: expected true or false, found 'x'"),
        ({"alpha_pattern": {"query": 0}}, "expected a number above 0.*, as in alpha_pattern"),
        ({"alpha_pattern": {"(": 1}}, r"alpha_pattern: expected numbers by patterns"),
        ({"alpha_pattern": ["a"]}, r"alpha_pattern: expected numbers by patterns"),
        ({"r": 0}, "r: expected a whole number from 1 up, found 0"),
        ({"r": 4}, "expected shape \\(4, 4\\), found \\(3, 4\\)"),
        ({"r": 10**9}, "expected shape \\(1000000000, 4\\), found \\(3, 4\\)"),
        ({"lora_alpha": "x"}, "lora_alpha: expected a number, found 'x'"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights: expected True or .*, found 'pissa'"),
        ({"init_lora_weights": ["a"]}, "init_lora_weights: expected True"),
        ({"alora_invocation_tokens": [3]}, "alora_invocation_tokens: expected None or False"),
    ],
)
def test_adapters_with_more_than_a_product_are_refused(values, message, tmp_path):
    model = small("bert")
    tensors, _ = theirs_with(model, BERT_MODULES, r=3, scale=2.0)
    write_theirs(tmp_path / "theirs", tensors, **values)
    with pytest.raises(InputError, match=message):
        read_adapter(tmp_path / "theirs", model)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (lambda t: t.popitem(), "is missing from the weights"),
        (lambda t: t.clear(), "expected the tensors of additions, found none"),
        (
            lambda t: t.update(x=np.zeros(3, np.float32)),
            "'x': expected lora_A or lora_B of a linear",
        ),
        (lambda t: t.update({k: v * np.nan for k, v in t.items()}), "expected finite weights"),
        (lambda t: t.update({k: v[:1, :1] for k, v in t.items()}), "expected shape"),
        (lambda t: t.update({k: v.astype(np.int32) for k, v in t.items()}), "expected float32"),
    ],
)
def test_damaged_weights_are_refused(changed, message, tmp_path):
    model = small("gpt")
    tensors, _ = theirs_with(model, GPT_MODULES, r=3, scale=2.0)
    changed(tensors)
    write_theirs(tmp_path / "theirs", tensors)
    with pytest.raises(InputError, match=message):
        read_adapter(tmp_path / "theirs", model)


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
        place = {module: (ours, columns)}
        some, own = theirs_with(model, place, r=r, scale=scale)
        tensors |= some
        expected[ours] += own[ours] - model.params[ours]
    ranks = {"none": 1}
    values = {"alpha_pattern": alphas, "rank_pattern": ranks, "use_rslora": root}
    write_theirs(tmp_path / "theirs", tensors, **values)
    additions, r, alpha = read_adapter(tmp_path / "theirs", model)
    assert (r, alpha) == (3, pytest.approx(6 * np.sqrt(3) if root else 6))
    assert_close(merged(model, additions, alpha / r), expected)
    write_adapter(tmp_path / "ours", model, additions, alpha / r, "base")
    result, r, alpha = read_adapter(tmp_path / "ours", model)
    assert_close(merged(model, result, alpha / r), expected)
    write_theirs(tmp_path / "theirs", tensors, rank_pattern={})
    with pytest.raises(InputError, match=r"q_proj.lora_A: expected shape \(3, 4\), found"):
        read_adapter(tmp_path / "theirs", model)


def test_weights_that_replace_others(tmp_path):
    """Biases and saved modules; a tensor that is the baseline's is no addition."""
    model, rng = small("gpt"), np.random.default_rng(4)
    tensors, expected = theirs_with(model, GPT_MODULES, r=3, scale=2.0)
    inner = "transformer.h.0.attn.c_attn"
    replaced = {
        f"{inner}.base_layer.bias": "blocks.0.attention.b_qkv",
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
    assert_close(applied(model, read_adapter(tmp_path / "ours", model)[0], alpha / r), expected)
    config = json.loads((tmp_path / "ours" / CONFIG).read_text())
    assert (config["bias"], config["modules_to_save"]) == ("all", ["transformer.ln_f"])
    tensors["base_model.model.transformer.ln_f.weight"] = np.ones(5, np.float32)
    write_theirs(tmp_path / "theirs", tensors)
    with pytest.raises(InputError, match=r"ln_f.weight: expected shape \(4,\), found \(5,\)"):
        read_adapter(tmp_path / "theirs", model)


def test_the_table_of_a_tied_output_is_not_replaced(tmp_path):
    """PEFT would change only one of its two uses."""
    model = small("gpt")
    tensors, _ = theirs_with(model, GPT_MODULES, r=3, scale=2.0)
    tensors["base_model.model.transformer.wte.weight"] = np.ones((9, 4), np.float32)
    write_theirs(tmp_path / "tied", tensors)
    with pytest.raises(InputError, match=r"wte.weight': expected lora_A or lora_B of a linear"):
        read_adapter(tmp_path / "tied", model)


def test_whole_weights_alone_are_not_written(tmp_path):
    model = small("gpt")
    gain = {"norm.gain": np.ones(4, np.float32)}
    with pytest.raises(InputError, match=r"expected an addition A B, .* whole weights only"):
        write_adapter(tmp_path / "x", model, gain, 1.0, "base")


def test_an_embedding_is_not_written(tmp_path):
    model = small("gpt")
    with pytest.raises(InputError, match=r"embedding.E.A: expected an addition to a linear layer"):
        write_adapter(tmp_path / "x", model, added_to(model, ("W_o", "embedding.E")), 1.0, "base")
    assert not (tmp_path / "x").exists()


def base_in_transformers(name, model, folder):
    """The model as transformers loads it."""
    transformers = pytest.importorskip("transformers")
    if name == "gpt":
        export_folder(model, BytePairs([]), folder)
        return transformers.GPT2LMHeadModel.from_pretrained(folder)
    if name == "llama":
        export_folder(model, BytePairs([]), folder)
        return transformers.LlamaForCausalLM.from_pretrained(folder)
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "d"]
    export_bert(model, WordPieces(tokens), folder)
    return transformers.BertForMaskedLM.from_pretrained(folder)


def logits_of(model, ids):
    if not isinstance(model, BERT):
        return model.forward(ids)[0]
    x, _ = model.hidden(ids)
    return model.masked_words(x.reshape(-1, 4))[0].reshape(*ids.shape, -1)


FUSED = {"model.layers.0.self_attn.qkv_proj": ("blocks.0.attention.W_qkv", slice(0, 8))}
BIAS = {
    "model.layers.1.self_attn.v_proj.base_layer.bias": ("blocks.1.attention.b_qkv", slice(6, 8))
}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_decoders_after_llama_have_them_too(family, tmp_path):
    """Phi-3 has one module for query, key and value; the gains of a Gemma are not replaced."""
    rng = np.random.default_rng(0)
    sizes = {**SIZES, "key_heads": 1, "feed_forward": 6, "head_width": 2, "tied": False}
    model = Decoder(DecoderConfig(9, **sizes, family=family), rng)
    modules = FUSED if family == "phi3" else dict([*LLAMA_MODULES.items()][:2])
    tensors, expected = theirs_with(model, modules, r=3, scale=2.0)
    if "blocks.1.attention.b_qkv" in model.params:
        for theirs, (ours, columns) in BIAS.items():
            tensors[f"base_model.model.{theirs}"] = np.ones(2, np.float32)
            expected[ours][columns] = 1
    write_theirs(tmp_path / "theirs", tensors)
    arrays, r, alpha = read_adapter(tmp_path / "theirs", model)
    assert_close(applied(model, arrays, alpha / r), expected)
    write_adapter(tmp_path / "ours", model, arrays, alpha / r, "base")
    arrays, r, alpha = read_adapter(tmp_path / "ours", model)
    assert_close(applied(model, arrays, alpha / r), expected)
    tensors["base_model.model.model.norm.weight"] = np.ones(4, np.float32)
    write_theirs(tmp_path / "theirs", tensors)
    if family == "gemma3":
        with pytest.raises(InputError, match=r"model.norm.weight': expected lora_A or lora_B"):
            read_adapter(tmp_path / "theirs", model)
    else:
        read_adapter(tmp_path / "theirs", model)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # PEFT's use of transformers
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("name", "targets", "values"),
    [
        ("llama", ["q_proj", "down_proj"], {"use_rslora": True}),
        ("bert", ["query", "dense"], {"rank_pattern": {"query": 3}, "alpha_pattern": {"dense": 9}}),
        ("gpt", ["c_attn", "c_fc"], {"alpha_pattern": {r".*\.1\..*c_fc": 9}, "use_rslora": True}),
        ("gpt", ["c_attn"], {"bias": "all"}),
        ("gpt", ["c_attn"], {"bias": "all", "modules_to_save": ["ln_f"]}),
        ("bert", ["query"], {"bias": "lora_only"}),
        ("bert", ["query"], {"bias": "all"}),
        ("bert", ["query"], {"modules_to_save": ["transform", "position_embeddings"]}),
        ("llama", ["q_proj"], {"modules_to_save": ["norm", "embed_tokens", "lm_head"]}),
        ("llama", ["q_proj", "lm_head"], {"rank_pattern": {"lm_head": 3}}),
    ],
)
def test_whatever_peft_trains_is_equal(name, targets, values, tmp_path):
    """Its logits are ours, and its logits with our files are its own, to 1e-6 of their range."""
    peft = pytest.importorskip("peft")
    torch = pytest.importorskip("torch")
    model = small(name, 9 if name == "bert" else 257)
    rng = np.random.default_rng(5)
    for array in model.params.values():
        array += 0.3 * rng.standard_normal(array.shape).astype(np.float32)
    base = base_in_transformers(name, model, tmp_path / "base")
    config = peft.LoraConfig(
        r=2, lora_alpha=5, target_modules=targets, fan_in_fan_out=name == "gpt", **values
    )
    torch.manual_seed(0)
    theirs = peft.get_peft_model(base, config).eval()
    for parameter in theirs.parameters():
        if parameter.requires_grad:
            parameter.data.add_(0.2 * torch.randn_like(parameter))
    theirs.save_pretrained(tmp_path / "saved")
    ids = np.random.default_rng(3).integers(0, 9, (2, 6))
    expected = theirs.double()(torch.from_numpy(ids)).logits.detach().numpy()
    arrays, r, alpha = read_adapter(tmp_path / "saved", model)
    weights, updates = (
        {name: array.astype(float) for name, array in some.items()}
        for some in (model.params, arrays)
    )
    copy = changed(model, **applied(changed(model, **weights), updates, alpha / r))
    tolerance = {"rtol": 0, "atol": 1e-6 * np.ptp(expected)}
    np.testing.assert_allclose(logits_of(copy, ids), expected, **tolerance)
    write_adapter(tmp_path / "ours", model, arrays, alpha / r, "base")
    base = base_in_transformers(name, model, tmp_path / "again")
    again = peft.PeftModel.from_pretrained(base, tmp_path / "ours").double().eval()
    np.testing.assert_allclose(
        again(torch.from_numpy(ids)).logits.detach().numpy(), expected, **tolerance
    )


@pytest.mark.filterwarnings("ignore::FutureWarning")  # PEFT's use of transformers
@pytest.mark.parametrize("name", MODULES)
def test_peft_loads_and_saves_them(name, tmp_path):
    """PEFT computes with them what we do, and reads what it has saved the same way."""
    peft = pytest.importorskip("peft")
    torch = pytest.importorskip("torch")
    model = small(name, 9 if name == "bert" else 257)
    additions = added_to(model, ("W_qkv", "W_1", "W_gate_up"))
    base = base_in_transformers(name, model, tmp_path / "base")
    write_adapter(tmp_path / "made", model, additions, 1.5, str(tmp_path / "base"))
    loaded = peft.PeftModel.from_pretrained(base, tmp_path / "made").eval()
    ids = np.random.default_rng(3).integers(0, 9, (2, 6))
    with torch.no_grad():
        theirs = loaded(torch.from_numpy(ids)).logits.numpy()
    model.params.update(merged(model, additions, 1.5))
    ours = logits_of(model, ids)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    loaded.save_pretrained(tmp_path / "saved")
    result, r, alpha = read_adapter(tmp_path / "saved", model)
    assert_close(merged(model, result, alpha / r), merged(model, additions, 1.5))
