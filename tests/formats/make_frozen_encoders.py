"""Freeze what transformers computes with random encoders, for the tests where it is not installed.

Run from the root, with transformers and PyTorch installed:

    python tests/formats/make_frozen_encoders.py

frozen_encoders.npz has, for each FAMILY and each of its heads HEAD ("words" for masked words, where
there are such, otherwise "vectors"; and "labels" of a classifier), the entries
FAMILY/HEAD/weight/NAME under transformers' names, as it stores them; FAMILY/HEAD/hidden (B, T, D)
and FAMILY/HEAD/logits, in float64.  ids (B, T) and lengths (B,) are the same for all.
"""

import json
from pathlib import Path

import numpy as np

V, C, LABELS = 40, 12, ("bad", "so so", "good")
SIZES = {
    "vocab_size": V,
    "max_position_embeddings": C,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "hidden_size": 8,
    "intermediate_size": 12,
}
AFTER_PADDING = {"max_position_embeddings": C + 2, "pad_token_id": 1, "layer_norm_eps": 1e-5}
CONFIGS = {
    "bert": {**SIZES, "type_vocab_size": 2, "layer_norm_eps": 1e-5},
    "distilbert": {
        "vocab_size": V,
        "max_position_embeddings": C,
        "n_layers": 1,
        "n_heads": 2,
        "dim": 8,
        "hidden_dim": 12,
    },
    "roberta": {**SIZES, **AFTER_PADDING, "type_vocab_size": 1},
    "xlm-roberta": {**SIZES, **AFTER_PADDING, "type_vocab_size": 1},
    "mpnet": {**SIZES, **AFTER_PADDING, "num_hidden_layers": 2},  # which share a bias
    "electra": {**SIZES, "type_vocab_size": 2, "embedding_size": 6},
}
CLASSES = {
    "bert": "Bert",
    "distilbert": "DistilBert",
    "roberta": "Roberta",
    "xlm-roberta": "XLMRoberta",
    "mpnet": "MPNet",
    "electra": "Electra",
}
PADDING = {"roberta": 1, "xlm-roberta": 1, "mpnet": 1}


def heads(family):
    """The heads of a family, and their classes."""
    words = ("vectors", "Model") if family == "electra" else ("words", "ForMaskedLM")
    return dict([words, ("labels", "ForSequenceClassification")])


def config_of(family, head):
    """The config.json of a folder."""
    values = {"model_type": family, **CONFIGS[family]}
    values["architectures"] = [CLASSES[family] + heads(family)[head]]
    if head == "labels":
        values["id2label"] = {str(number): label for number, label in enumerate(LABELS)}
    return values


def inputs():
    """ids (B, T) with a padding token inside, and lengths (B,)."""
    ids = np.random.default_rng(0).integers(4, V, (3, C))
    ids[0, 5] = 1
    return ids, np.array([C, 7, 3])


def theirs(model, family):
    """The vectors and the logits of a model of theirs; zeros in the padding."""
    import torch

    ids, lengths = inputs()
    real = np.arange(C) < lengths[:, None]
    ids = torch.tensor(np.where(real, ids, PADDING.get(family, 0)))
    with torch.no_grad():
        found = model(ids, attention_mask=torch.tensor(real.astype(int)), output_hidden_states=True)
    hidden = np.where(real[..., None], found.hidden_states[-1].numpy(), 0)
    logits = found.logits.numpy() if hasattr(found, "logits") else np.zeros(0)
    return hidden, np.where(real[..., None], logits, 0) if logits.ndim == 3 else logits


def random_model(family, head, seed=0):
    """A random model of theirs, none of whose biases is zero and no gain one."""
    import torch
    import transformers

    torch.manual_seed(seed)
    values = config_of(family, head)
    del values["model_type"], values["architectures"]
    if "id2label" in values:
        values["id2label"] = dict(enumerate(LABELS))
        values["label2id"] = {label: number for number, label in enumerate(LABELS)}
    config = getattr(transformers, f"{CLASSES[family]}Config")(**values)
    model = getattr(transformers, CLASSES[family] + heads(family)[head])(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return model


def main():
    """Write the file."""
    import tempfile

    from safetensors.numpy import load_file

    ids, lengths = inputs()
    arrays = {"ids": ids, "lengths": lengths}
    for family in [name for name in CONFIGS if name != "xlm-roberta"]:  # which is a RoBERTa
        for head in heads(family):
            model, name = random_model(family, head), f"{family}/{head}"
            with tempfile.TemporaryDirectory() as folder:
                model.save_pretrained(folder)
                stored = load_file(Path(folder) / "model.safetensors")
                assert (
                    json.loads((Path(folder) / "config.json").read_text())["model_type"] == family
                )
            arrays |= {f"{name}/weight/{tensor}": array for tensor, array in stored.items()}
            arrays[f"{name}/hidden"], arrays[f"{name}/logits"] = theirs(model.double(), family)
    np.savez_compressed(Path(__file__).with_name("frozen_encoders.npz"), **arrays)


if __name__ == "__main__":
    main()
