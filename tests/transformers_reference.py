"""Results of transformers with the weights of our BERT, as NumPy arrays in float64."""

import numpy as np
import torch
from transformers import BertConfig, BertForPreTraining

BLOCK = {  # of a layer: ours -> theirs; what is a matrix is transposed
    "attention.W_o": "attention.output.dense.weight",
    "attention.b_o": "attention.output.dense.bias",
    "norm_1.gain": "attention.output.LayerNorm.weight",
    "norm_1.bias": "attention.output.LayerNorm.bias",
    "feed_forward.W_1": "intermediate.dense.weight",
    "feed_forward.b_1": "intermediate.dense.bias",
    "feed_forward.W_2": "output.dense.weight",
    "feed_forward.b_2": "output.dense.bias",
    "norm_2.gain": "output.LayerNorm.weight",
    "norm_2.bias": "output.LayerNorm.bias",
}
REST = {
    "embedding.E": "bert.embeddings.word_embeddings.weight",
    "positions.E": "bert.embeddings.position_embeddings.weight",
    "segments.E": "bert.embeddings.token_type_embeddings.weight",
    "embedding.norm.gain": "bert.embeddings.LayerNorm.weight",
    "embedding.norm.bias": "bert.embeddings.LayerNorm.bias",
    "pooler.W": "bert.pooler.dense.weight",
    "pooler.b": "bert.pooler.dense.bias",
    "mask.W": "cls.predictions.transform.dense.weight",
    "mask.b": "cls.predictions.transform.dense.bias",
    "mask.norm.gain": "cls.predictions.transform.LayerNorm.weight",
    "mask.norm.bias": "cls.predictions.transform.LayerNorm.bias",
    "mask.output_b": "cls.predictions.bias",
}


def theirs(name, array):
    """A parameter of ours under their names: query, key and value are three matrices there."""
    if not name.startswith("blocks."):
        turned = array if name.endswith(".E") or array.ndim == 1 else array.T
        return {REST[name]: turned}
    _, layer, rest = name.split(".", 2)
    prefix = f"bert.encoder.layer.{layer}"
    if rest in BLOCK:
        return {f"{prefix}.{BLOCK[rest]}": array.T}
    kind = "weight" if array.ndim == 2 else "bias"
    parts = zip(("query", "key", "value"), np.split(array, 3, axis=-1), strict=True)
    return {f"{prefix}.attention.self.{part}.{kind}": piece.T for part, piece in parts}


def bert(config, params, batch):
    """Logits of the places (M, V), hidden (B, T, D), pooled (B, D), the loss, and its
    gradients under our names."""
    model = BertForPreTraining(
        BertConfig(
            vocab_size=config.vocabulary,
            max_position_embeddings=config.context,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            hidden_size=config.width,
            intermediate_size=config.inner or 4 * config.width,
            hidden_act="gelu",
            attn_implementation="eager",
        )
    )
    model = model.double().eval()
    weights = {k: v for name, array in params.items() for k, v in theirs(name, array).items()}
    tensors = {name: torch.tensor(np.ascontiguousarray(v)) for name, v in weights.items()}
    missing = model.load_state_dict(tensors, strict=False)
    assert not missing.unexpected_keys
    others = ("cls.predictions.decoder", "cls.seq_relationship")
    assert all(name.startswith(others) for name in missing.missing_keys)
    ids, lengths, segments, places, targets = batch
    real = torch.tensor(np.arange(ids.shape[1]) < lengths[:, None]).long()
    inputs = {
        "input_ids": torch.tensor(ids),
        "attention_mask": real,
        "token_type_ids": torch.tensor(segments),
    }
    found = model(**inputs)
    logits = found.prediction_logits[torch.tensor(places)]
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(targets))
    loss.backward()
    trunk = model.bert(**inputs)
    by_name = {name: p.grad.numpy() for name, p in model.named_parameters() if p.grad is not None}
    gradients = {}
    for name, array in params.items():
        if name.startswith("pooler."):
            continue  # the loss does not use it
        parts = [by_name[key].T for key in theirs(name, array)]
        whole = parts[0].T if name.endswith(".E") else np.concatenate(parts, axis=-1)
        gradients[name] = whole
    outputs = (logits, trunk.last_hidden_state, trunk.pooler_output)
    return *(y.detach().numpy() for y in outputs), loss.item(), gradients
