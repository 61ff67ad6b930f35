"""BERT in PyTorch, for the training step in training.py."""


def pytorch_loss(p, config, ids, segments, targets, places):
    """The mean cross-entropy at the masked places, indices into the rows of the batch.

    Attention is the fused one; the output layer, too, computes only the masked places.
    """
    from torch.nn import functional as F

    def norm(name, x):
        return F.layer_norm(x, x.shape[-1:], p[f"{name}.gain"], p[f"{name}.bias"], 1e-12)

    x = F.embedding(ids, p["embedding.E"]) + p["positions.E"][: ids.shape[1]]
    x = norm("embedding.norm", x + F.embedding(segments, p["segments.E"]))
    for layer in range(config.layers):
        block, attention, wide = (f"blocks.{layer}{s}" for s in ("", ".attention", ".feed_forward"))
        qkv = F.linear(x, p[f"{attention}.W_qkv"], p[f"{attention}.b_qkv"])
        q, k, v = qkv.unflatten(-1, (3, config.heads, -1)).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        y = F.linear(y, p[f"{attention}.W_o"], p[f"{attention}.b_o"])
        x = norm(f"{block}.norm_1", x + y)
        h = F.gelu(F.linear(x, p[f"{wide}.W_1"], p[f"{wide}.b_1"]))
        x = norm(f"{block}.norm_2", x + F.linear(h, p[f"{wide}.W_2"], p[f"{wide}.b_2"]))
    h = F.linear(x.flatten(0, 1)[places], p["mask.W"], p["mask.b"])
    h = norm("mask.norm", F.gelu(h))
    return F.cross_entropy(F.linear(h, p["embedding.E"], p["mask.output_b"]), targets)
