"""Random small models of transformers, and what it computes with them: a row for each.

Run from the root, with transformers and PyTorch installed:

    python tests/formats/make_frozen.py

frozen.npz has, for each row NAME of FROZEN, NAME/config, the text of config.json;
NAME/weight/TENSOR under transformers' names, as it stores them, in float16; NAME/output/logits,
NAME/output/hidden of an encoder, NAME/output/loss of a decoder, whose logits are those of the last
two tokens; and, of some, NAME/gradient/TENSOR.  They are computed in float64 with these weights.
Tests compute the same with other weights where transformers is installed.
"""

import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("frozen.npz")
LABELS = ("bad", "so so", "good")


@dataclass(frozen=True)
class Row:
    """A model of transformers."""

    beginning: str  # of the names of its classes
    end: str
    entries: dict  # that a small model needs
    tolerances: tuple[float, float] = (1e-12, 3e-6)  # of ours in float64 and in float32
    gradients: float = 0.0  # the tolerance of gradients; 0: none are compared
    lora: tuple[str, ...] = ()  # modules that an adapter updates

    @property
    def causal(self):
        return self.end in ("LMHeadModel", "ForCausalLM")


def gpt2(**entries):
    sizes = {"n_positions": 24, "n_embd": 16, "n_layer": 2, "n_head": 4}
    sizes |= {"resid_pdrop": 0.25, "embd_pdrop": 0.25, "attn_pdrop": 0.0}
    return Row("GPT2", "LMHeadModel", sizes | entries, gradients=1e-6, lora=("c_attn", "c_fc"))


def decoder(beginning, gradients=0.0, **entries):
    """A Llama or a relative: transformers computes its norms and angles in float32."""
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 12,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
    }
    return Row(beginning, "ForCausalLM", sizes | entries, (1e-6, 1e-5), gradients, ("all-linear",))


def mamba(gradients=0.0, **entries):
    """Transformers computes some of it in float32."""
    sizes = {
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "state_size": 3,
        "conv_kernel": 3,
        "intermediate_size": 12,
        "time_step_rank": 2,
        "layer_norm_epsilon": 1e-3,
    }
    return Row("Mamba", "ForCausalLM", sizes | entries, (1e-6, 1e-5), gradients)


ENCODER = {
    "max_position_embeddings": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "hidden_size": 8,
    "intermediate_size": 12,
    "attention_probs_dropout_prob": 0.0,
    "classifier_dropout": 0.1,
}
DISTILBERT = {
    "max_position_embeddings": 12, "n_layers": 2, "n_heads": 2, "dim": 8, "hidden_dim": 12,
    "attention_dropout": 0.0,
}  # fmt: skip
AFTER_PADDING = {"max_position_embeddings": 14, "pad_token_id": 1, "layer_norm_eps": 1e-5}
SEGMENTS = {"type_vocab_size": 2, "layer_norm_eps": 1e-5}
ENCODERS = {
    "bert": ("Bert", ENCODER | SEGMENTS, ("query", "dense")),
    "distilbert": ("DistilBert", DISTILBERT, ("q_lin", "lin1")),
    "roberta": ("Roberta", ENCODER | AFTER_PADDING | {"type_vocab_size": 1}, ("query", "dense")),
    "xlm-roberta": ("XLMRoberta", ENCODER | AFTER_PADDING | {"type_vocab_size": 1}, ("query",)),
    "mpnet": ("MPNet", ENCODER | AFTER_PADDING, ("q", "v")),
    "electra": ("Electra", ENCODER | SEGMENTS | {"embedding_size": 6}, ("query", "dense")),
}
ENDS = {
    "bert": ("Model", "ForMaskedLM", "ForPreTraining", "ForNextSentencePrediction"),
    "electra": ("Model",),
}
LABELLED = "ForSequenceClassification"

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 9,
}
BETAS = {"beta_fast": 8.0, "beta_slow": 0.5, "truncate": False, "attention_factor": 1.3}
OF_LAYERS = {
    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
}
GEMMA = {"head_dim": 6, "sliding_window": 8, "query_pre_attn_scalar": 6}
ROWS = {
    "gpt2": gpt2(),
    "llama": decoder("Llama", 3e-6, head_dim=6, rms_norm_eps=1e-2),
    "llama, llama3": decoder("Llama", rope_parameters=LLAMA3 | {"rope_theta": 5e5}),
    "llama, tied": decoder("Llama", tie_word_embeddings=True, num_key_value_heads=4,
        rope_parameters={"rope_type": "linear", "factor": 3.0, "rope_theta": 1e4}),
    "llama, yarn": decoder("Llama", rope_parameters=YARN | BETAS | {"rope_theta": 500.0}),
    "mistral": decoder("Mistral", sliding_window=8),
    "mistral, whole": decoder("Mistral", sliding_window=None, head_dim=10),
    "qwen2": decoder("Qwen2", tie_word_embeddings=True),
    "qwen2, yarn": decoder("Qwen2", tie_word_embeddings=False, num_key_value_heads=4,
        rms_norm_eps=1e-3, rope_parameters=YARN | {"rope_theta": 1e5}),
    "qwen3": decoder("Qwen3", head_dim=6),
    "smollm3": decoder("SmolLM3", no_rope_layer_interval=2),
    "gemma3": decoder("Gemma3", **GEMMA, sliding_window_pattern=3),
    "gemma3, linear": decoder("Gemma3", **GEMMA, sliding_window_pattern=2, num_key_value_heads=1,
        rope_parameters=OF_LAYERS),
    "phi3": decoder("Phi3", sliding_window=9),
    "mamba": mamba(3e-6),
    "mamba, wide": mamba(time_step_rank="auto", conv_kernel=4, state_size=16, hidden_size=32),
    "mamba, untied": mamba(tie_word_embeddings=False, intermediate_size=8, expand=1, state_size=1,
        conv_kernel=2, time_step_rank=1),
    **{
        f"{family} {end}": Row(beginning, end, entries, lora=lora)
        for family, (beginning, entries, lora) in ENCODERS.items()
        for end in (*ENDS.get(family, ("ForMaskedLM",)), LABELLED)
    },
}  # fmt: skip
FROZEN = [name for name in ROWS if "," not in name]
PADDING = {"Roberta": 1, "XLMRoberta": 1, "MPNet": 1}
SIZE, PIECES = 262, 40  # of the vocabularies of a decoder, and of an encoder


@dataclass
class Computed:
    """A model in a file, and what transformers computes with it."""

    config: str
    weights: dict
    outputs: dict
    gradients: dict = field(default_factory=dict)


def inputs(row):
    """ids (B, T + 1) of a decoder; of an encoder ids (B, T), lengths (B,) and segments (B, T)."""
    rng = np.random.default_rng(0)
    if row.causal:
        return (rng.integers(0, SIZE, (2, 21)),)
    ids, segments = rng.integers(4, PIECES, (3, 12)), rng.integers(0, 2, (3, 12))
    ids[0, 5] = 1  # a padding token within a text
    two = row.entries.get("type_vocab_size") == 2 and row.end != LABELLED
    return ids, np.array([12, 7, 3]), segments * two


def random_model(row, seed=0):
    """A random model of theirs: no bias is zero, no gain one, and a weight fits into float16."""
    import torch
    import transformers

    torch.manual_seed(seed)
    entries = {"vocab_size": SIZE if row.causal else PIECES, **row.entries}
    if row.causal:
        entries |= dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    if row.end == LABELLED:
        entries["id2label"] = dict(enumerate(LABELS))
        entries["label2id"] = {label: number for number, label in enumerate(LABELS)}
    name = "Gemma3Text" if row.beginning == "Gemma3" else row.beginning
    config = getattr(transformers, f"{name}Config")(**entries, attn_implementation="eager")
    model = getattr(transformers, row.beginning + row.end)(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_((parameter + 0.2 * torch.randn_like(parameter)).half().float())
    return model


def outputs_of(model, row):
    """What a model of theirs computes, under the names of the file, as tensors."""
    import torch

    ids, *rest = map(torch.tensor, inputs(row))
    if row.causal:
        logits = model(ids[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        return {"logits": logits[:, -2:], "loss": loss}
    lengths, segments = rest
    real = torch.arange(ids.shape[1]) < lengths[:, None]
    ids = torch.where(real, ids, PADDING.get(row.beginning, 0))
    options = {"token_type_ids": segments} if segments.any() else {}
    found = model(ids, attention_mask=real.long(), output_hidden_states=True, **options)
    outputs = {"hidden": torch.where(real[..., None], found.hidden_states[-1], 0)}
    logits = found.get("prediction_logits", found.get("logits"))
    if row.end == LABELLED:
        outputs["logits"] = logits
    elif logits is not None and row.end != "ForNextSentencePrediction":
        outputs["logits"] = torch.where(real[..., None], logits, 0)
    return outputs


def computed(name, seed=0):
    """What transformers computes with random weights."""
    from safetensors.numpy import load_file

    row = ROWS[name]
    model = random_model(row, seed)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        weights = load_file(Path(folder) / "model.safetensors")
    model = model.double()
    outputs, gradients = outputs_of(model, row), {}
    if row.gradients:
        outputs["loss"].backward()
        gradients = {n: p.grad.float().numpy() for n, p in model.named_parameters()}
    arrays = {name: output.detach().numpy() for name, output in outputs.items()}
    return Computed(model.config.to_json_string(use_diff=False), weights, arrays, gradients)


def frozen(name):
    """The same from the file."""
    roles = {"weight": {}, "gradient": {}, "output": {}}
    with np.load(FILE) as arrays:
        for entry in arrays.files:
            row, role, *rest = entry.split("/")
            if row == name and role != "config":
                roles[role][rest[0]] = arrays[entry]
        config = str(arrays[f"{name}/config"])
    weights = {tensor: array.astype(np.float32) for tensor, array in roles["weight"].items()}
    return Computed(config, weights, roles["output"], roles["gradient"])


def main():
    """Write the file."""
    arrays = {}
    for name in FROZEN:
        found = computed(name)
        values = {n: v for n, v in json.loads(found.config).items() if n != "transformers_version"}
        arrays[f"{name}/config"] = np.array(json.dumps(values))
        groups = {"weight": found.weights, "gradient": found.gradients, "output": found.outputs}
        for role, group in groups.items():
            for entry, array in group.items():
                exact = role == "output" and ROWS[name].tolerances[0] < 1e-7
                dtype = np.float16 if role == "weight" else np.float64 if exact else np.float32
                arrays[f"{name}/{role}/{entry}"] = array.astype(dtype)
    np.savez_compressed(FILE, **arrays)


if __name__ == "__main__":
    main()
