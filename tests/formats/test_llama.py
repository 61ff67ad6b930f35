"""Llama in transformers' format: what is read and written, and what is refused by name."""

import json
from dataclasses import replace

import numpy as np
import pytest
from other_programs import export_folder, import_folder
from safetensors.numpy import load_file, save_file

import minillm
from minillm.cli import main
from minillm.decoding import ChatSampling, Reader, Sampling
from minillm.errors import InputError
from minillm.formats.huggingface import read_chat_template
from minillm.models.llama import Llama, LlamaConfig
from minillm.ops.rotary_scaling import Linear, Llama3, Yarn
from minillm.runs.conversion import import_file
from minillm.text import load_tokenizer
from minillm.text.byte_pairs import train

TOKENIZER = train(["she sells sea shells by the sea shore\n"], 262)
CONFIG = LlamaConfig(
    262, 16, 2, heads=4, key_heads=2, width=12, feed_forward=10, head_width=6, rotary_base=500.0
)
SCALING = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 9,
}


def new(**changes):
    return Llama(replace(CONFIG, **changes), np.random.default_rng(0))


def make(path, model=None, **changes):
    """A folder of a model, with changes of its config.json."""
    export_folder(new() if model is None else model, TOKENIZER, path)
    file = path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return path


def assert_equal(model, expected):
    assert model.config == expected.config
    assert model.params.keys() == expected.params.keys()
    for name, array in expected.params.items():
        np.testing.assert_array_equal(model.params[name], array, err_msg=name)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tied": False, "eps": 1e-6},
        {"rope_scaling": Llama3(*SCALING.values())},
        {"rope_scaling": Linear(2.5)},
        {"rope_scaling": Yarn(4.0, 9.0)},
        {"rope_scaling": Yarn(4.0, 9.0, 20.0, 0.25, False, 1.0625)},
    ],
)
def test_there_and_back(tmp_path, changes):
    model, tokenizer = import_folder(make(tmp_path / "llama", new(**changes)))
    assert_equal(model, new(**changes))
    assert tokenizer.tokens == TOKENIZER.tokens


def test_names_and_layout_are_theirs(tmp_path):
    tensors, model = load_file(make(tmp_path / "a") / "model.safetensors"), new()
    qkv, gate_up = (
        model.params[f"blocks.1.{name}"] for name in ("attention.W_qkv", "feed_forward.W_gate_up")
    )
    expected = {
        "self_attn.q_proj": qkv[:, :24],
        "self_attn.k_proj": qkv[:, 24:36],
        "self_attn.v_proj": qkv[:, 36:],
        "mlp.gate_proj": gate_up[:, :10],
        "mlp.up_proj": gate_up[:, 10:],
    }
    for name, array in expected.items():
        np.testing.assert_array_equal(tensors[f"model.layers.1.{name}.weight"], array.T)
    assert len(tensors) == 2 + 2 * 9


def test_the_defaults_of_an_older_config(tmp_path):
    """No heads of keys, no width of a head, no base: those of the first Llama."""
    own = new(key_heads=4, head_width=3 * 2, rotary_base=10000.0, eps=1e-6, tied=False)
    wide = Llama(replace(own.config, width=24), np.random.default_rng(0))
    path = make(tmp_path / "a", wide)
    values = json.loads((path / "config.json").read_text())
    for name in ("num_key_value_heads", "head_dim", "rope_theta", "rope_scaling", "rms_norm_eps"):
        del values[name]
    del values["tie_word_embeddings"], values["hidden_act"]
    (path / "config.json").write_text(json.dumps(values))
    assert_equal(import_folder(path)[0], wide)


def test_scaling_beside_the_parameters_of_newer_versions(tmp_path):
    """As in transformers: it replaces them, with the base, and a length beside both comes first."""
    scaling = {"rope_type": "llama3", "rope_theta": 7.0, **SCALING}
    newer = {"rope_type": "default", "rope_theta": 9.0}
    path = make(tmp_path / "a", rope_theta=None, rope_scaling=scaling, rope_parameters=newer)
    expected = replace(CONFIG, rotary_base=7.0, rope_scaling=Llama3(*SCALING.values()))
    assert import_folder(path)[0].config == expected
    del scaling["rope_theta"]
    path = make(tmp_path / "b", rope_scaling=scaling, rope_parameters=newer)
    assert import_folder(path)[0].config == replace(expected, rotary_base=500.0)
    path = make(tmp_path / "c", rope_scaling=scaling, original_max_position_embeddings=12)
    config = import_folder(path)[0].config
    assert config.rope_scaling == Llama3(8.0, 1.0, 4.0, 12.0)
    path = make(tmp_path / "d", rope_scaling={"type": "linear", "factor": 2}, rope_parameters=newer)
    assert import_folder(path)[0].config.rope_scaling == Linear(2.0)
    path = make(tmp_path / "e", rope_scaling=scaling, partial_rotary_factor=0.5)
    with pytest.raises(InputError, match=r"config.json: partial_rotary_factor: expected 1"):
        import_folder(path)


def test_unknown_entries_are_ignored(tmp_path):
    more = {"rope_type": "default", "scale": 2}
    import_folder(make(tmp_path / "a", pretraining_tp=1, dtype=None, more=3, rope_scaling=more))


@pytest.mark.parametrize("name", ["rope_type", "type"])
def test_angles_of_either_version(tmp_path, name):
    expected = replace(CONFIG, rope_scaling=Llama3(*SCALING.values()))
    path = make(tmp_path / "a", rope_scaling={name: "llama3", **SCALING})
    assert import_folder(path)[0].config == expected
    both = {name: "llama3", "rope_theta": 500.0, **SCALING}
    path = make(tmp_path / "b", rope_theta=None, rope_scaling=None, rope_parameters=both)
    assert import_folder(path)[0].config == expected
    path = make(tmp_path / "c", rope_parameters={name: "default", "rope_theta": 7}, rope_theta=None)
    assert import_folder(path)[0].config == replace(CONFIG, rotary_base=7.0)


def test_dynamic_scaling_is_none_within_the_context(tmp_path):
    path = make(tmp_path / "a", rope_scaling={"type": "dynamic", "factor": 4.0})
    assert import_folder(path)[0].config == CONFIG  # a warning would be an error


def test_what_a_scaling_leaves_out_follows_from_the_context(tmp_path):
    """CONFIG has 16 tokens; as in transformers, a length next to the object comes first."""
    path = make(tmp_path / "a", rope_scaling={"type": "yarn", "factor": 4.0})
    assert import_folder(path)[0].config.rope_scaling == Yarn(4.0, 16.0)
    changes = {"original_max_position_embeddings": 8, "rope_scaling": {"type": "yarn"}}
    assert import_folder(make(tmp_path / "b", **changes))[0].config.rope_scaling == Yarn(2.0, 8.0)


def test_a_tied_output_that_is_stored_too(tmp_path):
    path = make(tmp_path / "a")
    tensors = load_file(path / "model.safetensors")
    table = tensors["model.embed_tokens.weight"]
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(3, np.float32)
    save_file(tensors | {"lm_head.weight": table.copy()}, path / "model.safetensors")
    assert_equal(import_folder(path)[0], new())
    save_file(tensors | {"lm_head.weight": table + 1}, path / "model.safetensors")
    with pytest.raises(InputError, match=r"lm_head.weight: expected the weights of embed_tokens"):
        import_folder(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "mistral"}, "architectures: expected MistralForCausalLM or"),
        ({"hidden_act": "gelu"}, "hidden_act: expected 'silu' or 'swish', found 'gelu'"),
        ({"tie_word_embeddings": 1}, "tie_word_embeddings: expected true or false, found 1"),
        ({"rope_scaling": {"type": "ntk"}}, "rope_type: expected 'default' or 'dynamic' or 'line"),
        (
            {"rope_scaling": {"type": "llama3", "factor": 2}},
            "rope_scaling: low_freq_factor: expected a number, found None",
        ),
        ({"rope_scaling": {"type": "yarn", "factor": 0}}, "rope_scaling: factor: expected a numb"),
        (
            {"rope_scaling": {"type": "yarn", "original_max_position_embeddings": 0}},
            "rope_scaling: factor: expected a number from 1e-9 to 1e9, found nan",
        ),
        ({"rope_scaling": {"type": "yarn", "factor": 2, "mscale": 1}}, "mscale: expected None or"),
        ({"rope_scaling": {"type": "longrope"}}, "rope_type: expected 'default' or 'dynamic' or"),
        ({"rope_scaling": [2]}, r"rope_scaling: expected an object or null, found \[2\]"),
        ({"rope_parameters": {"rope_theta": "a"}}, "rope_parameters: rope_theta: expected a numb"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor: expected 1"),
        ({"rope_theta": 0}, "rotary_base: expected a finite number above 0, found 0.0"),
        ({"num_key_value_heads": 3}, "key_heads: expected a divisor of heads, found 3 and 4"),
        ({"head_dim": 5}, "head_width: expected an even number, found 5"),
        ({"tie_word_embeddings": False}, "the tensor lm_head.weight is missing"),
    ],
)
def test_what_cannot_be_run_is_refused_by_name(tmp_path, changes, message):
    path = make(tmp_path / "llama", **changes)
    with pytest.raises(InputError, match=message) as refused:
        import_folder(path)
    for reason in refused.value.args:
        assert reason.count(str(path)) == 1
        assert "\n" not in reason


def test_rows_past_the_tokenizer_are_kept_and_never_written(tmp_path):
    model = new(vocabulary=320)
    model.params["embedding.E"][262:] *= 50  # by far the largest logits, of either sign
    path, run, back = tmp_path / "llama", tmp_path / "run", tmp_path / "back"
    export_folder(model, TOKENIZER, path, "{{ messages[0].content }}")
    again, tokenizer = import_folder(path)
    assert_equal(again, model)
    assert len(tokenizer) == 262
    import_file(str(path), run)
    opened = minillm.load(run)
    for values in ({"temperature": 0}, {"temperature": 5.0, "seed": 0}):
        text = "".join(opened.write("she ", length=30, **values))
        assert len(tokenizer.encode(text)) > 4
        ids = tokenizer.encode("she ")
        logits = Reader(model).read(ids[None], Reader(model).zero_state(1))[0][0]
        assert logits.argmax() >= 262
    message = [{"role": "user", "content": "she"}]
    assert isinstance("".join(opened.chat(message, length=10)), str)
    nats = opened.evaluate(text="she sells")["nats_per_token"]
    ids = tokenizer.encode("she sells\n")[None]
    np.testing.assert_allclose(nats, model.loss((ids[:, :-1], ids[:, 1:]))[0], rtol=1e-5)
    opened.look("she sells")
    opened.export(back)
    assert_equal(import_folder(back)[0], model)
    text = tmp_path / "text"
    text.write_text("she sells sea shells by the sea shore\n" * 9)
    command = ["train", "llama", str(text), "--init", str(run), "--out", str(tmp_path / "more")]
    assert main([*command, "--steps", "2"]) == 0
    assert minillm.load(tmp_path / "more").model.config.vocabulary == 320
    labels = tmp_path / "labels"  # a folder for each label
    for label, text in (("a", "she sells"), ("b", "sea shells")):
        (labels / label).mkdir(parents=True)
        for number in range(12):
            (labels / label / f"{number}.txt").write_text(text)
    command = ["finetune", str(run), str(labels), "--out", str(tmp_path / "classifier")]
    assert main([*command, "--steps", "2"]) == 0
    assert minillm.load(tmp_path / "classifier").classify("she sells").label in ("a", "b")


def test_a_pickle_is_refused_with_the_way_out(tmp_path):
    path = make(tmp_path / "llama")
    (path / "model.safetensors").rename(path / "pytorch_model.bin")
    with pytest.raises(
        InputError, match=r"'pytorch_model.bin', a pickle, .*: save it with save_pr"
    ):
        import_folder(path)


def test_the_command_line(tmp_path, capsys):
    source, run, again = (tmp_path / name for name in ("llama", "run", "again"))
    export_folder(new(), TOKENIZER, source)
    assert main(["import", str(source), "--out", str(run)]) == 0
    assert "weights in 2 layers" in capsys.readouterr().out
    opened = minillm.load(run)
    assert opened.model.config == CONFIG
    assert "".join(opened.write("she", length=20, seed=0)).startswith("she")
    assert main(["export", str(run), str(again)]) == 0
    for file in source.iterdir():
        if file.name == "tokenizer.json":
            values = json.loads((again / file.name).read_text())
            assert values == load_tokenizer(source).values  # with all defaults
        else:
            assert (again / file.name).read_bytes() == file.read_bytes()


def test_a_context_as_long_as_published_models_have_it(tmp_path, capsys):
    source, run = make(tmp_path / "llama", max_position_embeddings=4194304), tmp_path / "run"
    assert main(["import", str(source), "--out", str(run)]) == 0
    assert capsys.readouterr().err == ""
    loaded = minillm.load(run)
    assert loaded.model.config == replace(CONFIG, context=1 << 22)
    assert loaded.generate("the", length=3, seed=1).startswith("the")


def test_a_config_that_no_run_may_have_is_refused_before_anything_is_written(tmp_path):
    source = make(tmp_path / "llama", rms_norm_eps=1e12)
    with pytest.raises(InputError, match="llama: eps: expected a number at l") as error:
        import_file(str(source), tmp_path / "run")
    assert "damaged" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_chat_templates_there_and_back(tmp_path):
    """Of a file of its own, or of tokenizer_config.json, where there may be several."""
    path = tmp_path / "llama"
    export_folder(new(), TOKENIZER, path, template="{{ messages }}")
    assert read_chat_template(path) == "{{ messages }}"
    main(["import", str(path), "--out", str(tmp_path / "run")])
    template = minillm.load(tmp_path / "run").chat_template
    assert (template.source, template.eos) == ("{{ messages }}", "<|endoftext|>")
    assert minillm.load(tmp_path / "run").answering.sampling == ChatSampling()
    (path / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"chat_template.jinja: 'utf-8' codec"):
        read_chat_template(path)
    (path / "chat_template.jinja").unlink()
    assert read_chat_template(path) is None
    for value, expected in (
        ("x", "x"),
        ([{"name": "tool", "template": "y"}, {"name": "default", "template": "z"}], "z"),
        ([], None),
    ):
        (path / "tokenizer_config.json").write_text(json.dumps({"chat_template": value}))
        assert read_chat_template(path) == expected
    (path / "tokenizer_config.json").write_text('{"chat_template": 3}')
    with pytest.raises(InputError, match="chat_template: expected a text, found 3"):
        read_chat_template(path)


def test_how_the_authors_sample_is_the_default_of_chat(tmp_path):
    """The values of a model that is not sampled by default mean nothing."""
    path, run = tmp_path / "llama", tmp_path / "run"
    export_folder(new(), TOKENIZER, path, template="{{ messages }}")

    def imported(**values):
        (path / "generation_config.json").write_text(json.dumps(values))
        assert main(["import", str(path), "--out", str(run), "--overwrite"]) == 0
        return minillm.load(run).answering.sampling

    assert imported(do_sample=True, top_k=20, temperature=0.6) == Sampling(0.6, top_k=20)
    assert minillm.load(run).answering.sampling_with(top_k=None, seed=3) == Sampling(0.6, seed=3)
    assert imported(do_sample=True, top_k=0, top_p=0.9) == Sampling(1.0, top_p=0.9)
    assert imported(temperature=0.6) == imported(do_sample=True) == ChatSampling()
    (path / "generation_config.json").write_text('{"do_sample": true, "temperature": "hot"}')
    with pytest.raises(InputError, match="llama: its values for sampling: temperature: expected"):
        import_file(str(path), tmp_path / "other")
