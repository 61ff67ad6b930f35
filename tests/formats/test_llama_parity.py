"""Logits and gradients of transformers' Llama, and the folders that it writes and loads."""

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from other_programs import export_folder, import_folder

from minillm.decoding import Reader
from minillm.formats.angles import angle_entries
from minillm.formats.decoders import LLAMA
from minillm.formats.layout import weights
from minillm.models.llama import Llama, LlamaConfig
from minillm.ops.rotary_scaling import Linear, Llama3, Yarn
from minillm.text.byte_pairs import train

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.usefixtures("both_twins")

# The name of the cache in the version that is installed.
PAST = "cache"
if PAST not in inspect.signature(transformers.LlamaForCausalLM.forward).parameters:
    PAST = "past_key_values"
TOLERANCE = 1e-6  # they compute norms, angles and the softmax in float32
TOKENIZER = train(["she sells sea shells by the sea shore\n"], 262)


def new(seed=0, dtype=np.float64, **sizes):
    rng = np.random.default_rng(seed)
    model = Llama(LlamaConfig(**sizes), rng, dtype=dtype)
    for array in model.params.values():  # no gain is one, no branch negligible
        array += (0.2 * rng.standard_normal(array.shape)).astype(dtype)
    return model


def theirs(model):
    """The same model in transformers, in memory."""
    c = model.config
    entries = angle_entries(c)
    angles = {"rope_type": "default", **(entries.pop("rope_scaling") or {}), **entries}
    config = transformers.LlamaConfig(
        vocab_size=c.vocabulary,
        max_position_embeddings=c.context,
        num_hidden_layers=c.layers,
        num_attention_heads=c.heads,
        num_key_value_heads=c.key_heads,
        head_dim=c.head_width,
        hidden_size=c.width,
        intermediate_size=c.feed_forward,
        rms_norm_eps=c.eps,
        rope_parameters=angles,
        tie_word_embeddings=c.tied,
        bos_token_id=None,
        eos_token_id=None,
        attn_implementation="eager",
    )
    other = transformers.LlamaForCausalLM(config).to(getattr(torch, model.dtype.name)).eval()
    tensors = {
        name: torch.tensor(np.ascontiguousarray(view))
        for weight in weights(LLAMA, c)
        for name, view in weight.views(model.params[weight.name]).items()
    }
    tensors = {n if n == "lm_head.weight" else f"model.{n}": t for n, t in tensors.items()}
    missing = other.load_state_dict(tensors, strict=False)
    assert not missing.unexpected_keys
    assert missing.missing_keys == (["lm_head.weight"] if c.tied else [])
    return other


def gradients_of(other, config):
    """Their gradients under our names."""
    by_name = {n.removeprefix("model."): p.grad.numpy() for n, p in other.named_parameters()}
    gradients = {}
    for weight in weights(LLAMA, config):
        gradients[weight.name] = np.empty(weight.shape)
        for name, view in weight.views(gradients[weight.name]).items():
            view[...] = by_name[name]
    return gradients


def close(found, expected, tolerance):
    atol = tolerance * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, atol=atol, rtol=0)


def scalings():
    """Scalings whose original context is within the context."""
    return [
        None,
        *[Llama3(8.0, 1.0, 4.0, 16), Llama3(32.0, 1.0, 4.0, 9)],
        *[Linear(3.0), Yarn(4.0, 8), Yarn(2.0, 16, 8.0, 0.5, False, 1.3)],
    ]


@st.composite
def shapes(draw):
    key_heads, w = draw(st.integers(1, 3)), draw(st.sampled_from([2, 4, 6]))
    heads = key_heads * draw(st.integers(1, 3))
    return {
        "vocabulary": draw(st.integers(2, 20)),
        "context": 32,
        "layers": draw(st.integers(1, 3)),
        "heads": heads,
        "key_heads": key_heads,
        "width": heads * draw(st.integers(1, 4)),
        "head_width": w,
        "feed_forward": draw(st.integers(1, 9)),
        "rotary_base": draw(st.sampled_from([10.0, 10000.0, 5e5])),
        "eps": draw(st.sampled_from([1e-5, 1e-2])),
        "tied": draw(st.booleans()),
        "rope_scaling": draw(st.sampled_from(scalings())),
    }


@settings(max_examples=12)
@given(shapes(), st.integers(1, 3), st.integers(1, 24), st.integers(0, 99))
def test_logits_and_gradients(sizes, B, T, seed):
    model, rng = new(seed, **sizes), np.random.default_rng(seed)
    ids = rng.integers(0, sizes["vocabulary"], (B, T + 1))
    other = theirs(model)
    logits = other(torch.tensor(ids[:, :-1])).logits
    flat = logits.reshape(-1, sizes["vocabulary"]), torch.tensor(ids[:, 1:]).reshape(-1)
    loss = torch.nn.functional.cross_entropy(*flat)
    loss.backward()
    ours, backward = model.loss((ids[:, :-1], ids[:, 1:]))
    assert ours == pytest.approx(loss.item(), rel=TOLERANCE)
    close(model.forward(ids[:, :-1])[0], logits.detach().numpy(), TOLERANCE)
    expected, found = gradients_of(other, model.config), backward()
    scale = max(np.abs(array).max() for array in expected.values())
    assert found.keys() == expected.keys()
    # Their norms compute in float32 even in a model of float64, so both are compared with ours in
    # float64, and theirs may be as far from it as float32 takes it.
    double = {name: array.astype(np.float64) for name, array in model.params.items()}
    exact = Llama(model.config, params=double).loss((ids[:, :-1], ids[:, 1:]))[1]()
    for name, array in exact.items():
        for one, factor in ((found, 1), (expected, 3)):
            difference = np.abs(one[name] - array).max()
            assert difference <= factor * TOLERANCE * scale, (name, difference / scale, factor)


SIZES = {"vocabulary": 20, "context": 32, "layers": 2, "heads": 4, "key_heads": 2, "width": 16}


@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_rows_then_a_step(side):
    """A batch that they pad on either side; then a token more for each row, from the cache."""
    model = new(dtype=np.float32, **SIZES)  # in float64, their padding has NaN
    rng, lengths = np.random.default_rng(1), np.array([7, 3, 5])
    ids = rng.integers(0, 20, (3, 8))
    other, T = theirs(model), 7
    padded, mask = np.zeros((3, T), int), np.zeros((3, T), int)
    for row, n in enumerate(lengths):
        part = slice(T - n, T) if side == "left" else slice(0, n)
        padded[row, part], mask[row, part] = ids[row, :n], 1
    places = np.maximum(np.cumsum(mask, axis=1) - 1, 0)
    with torch.no_grad():
        read = other(
            torch.tensor(padded),
            attention_mask=torch.tensor(mask),
            position_ids=torch.tensor(places),
            use_cache=True,
        )
        stepped = other(
            torch.tensor(ids[:, 7:]),
            attention_mask=torch.tensor(np.concatenate([mask, np.ones((3, 1), int)], axis=1)),
            position_ids=torch.tensor(lengths[:, None]),
            **{PAST: read.past_key_values},
        )
    last = np.full(3, T - 1) if side == "left" else lengths - 1
    reader = Reader(model)
    ours, state = reader.read(ids[:, :7], reader.zero_state(3), lengths)
    close(ours, read.logits.numpy()[np.arange(3), last], 1e-5)
    ours, _ = reader.read(ids[:, 7:], state)
    close(ours, stepped.logits.numpy()[:, 0], 1e-5)


@pytest.mark.parametrize("scaling", scalings())
def test_folders(tmp_path, scaling):
    """They load what we write, and we what they save."""
    options = {"vocabulary": len(TOKENIZER), "tied": scaling is None, "rope_scaling": scaling}
    model = new(dtype=np.float32, **SIZES | options)
    export_folder(model, TOKENIZER, tmp_path / "ours")
    loaded, notes = transformers.LlamaForCausalLM.from_pretrained(
        tmp_path / "ours", dtype="float32", output_loading_info=True
    )
    assert not any(notes.values())
    ids = np.random.default_rng(0).integers(0, len(TOKENIZER), (2, 30))
    with torch.no_grad():
        logits = loaded(torch.tensor(ids)).logits.numpy()
    close(model.forward(ids)[0], logits, 1e-5)
    reader = transformers.AutoTokenizer.from_pretrained(tmp_path / "ours")
    text = "she sells  日本<|endoftext|> isn't"
    assert reader(text)["input_ids"] == TOKENIZER.encode(text).tolist()
    assert reader.eos_token_id == TOKENIZER.eos

    loaded.save_pretrained(tmp_path / "theirs")
    (tmp_path / "theirs" / "tokenizer.json").write_bytes(
        (tmp_path / "ours" / "tokenizer.json").read_bytes()
    )
    again, _ = import_folder(tmp_path / "theirs")
    assert again.config == model.config
    for name, array in model.params.items():
        np.testing.assert_array_equal(again.params[name], array, err_msg=name)
