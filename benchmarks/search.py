"""Greedy and beam search in PyTorch, for the models beside ours."""


def greedy(next_logits, B, limit, eos):
    """Write the likeliest token each time, as :func:`beam_search` with a beam of 1."""
    import torch

    ids, ended, written = torch.full((B, 1), eos), torch.zeros(B, 1, dtype=bool), []
    for t in range(limit):
        ids = next_logits(ids, t, None).argmax(dim=-1)
        written.append(ids)
        ended = ended | (ids == eos)
        if ended.all():
            break
    rows = torch.cat(written, dim=1).tolist()
    return [row[: row.index(eos)] if eos in row else row for row in rows]


def beam_search(next_logits, B, beam, limit, eos):
    """The best output of each of B sources, ids without EOS, as minillm.decoding.beam has them.

    ``next_logits(ids, t, parents)`` reads ids (B, K) and returns logits (B, K, V); ``parents`` has
    the rows of the step before that they continue, None for the same ones.
    """
    import torch
    from torch.nn import functional as F

    ids, rows = torch.full((B, beam), eos), torch.arange(B)[:, None]
    totals = torch.full((B, beam), -torch.inf)
    totals[:, 0] = 0  # at first all hypotheses are the same one
    parents, texts, finished = None, torch.zeros(B, beam, 0, dtype=int), [[] for _ in range(B)]
    undone = set(range(B))
    for t in range(limit):
        log_p = F.log_softmax(next_logits(ids, t, parents), dim=-1)
        best, chosen = (totals[..., None] + log_p).flatten(1).topk(2 * beam)
        parent, ids = chosen // log_p.shape[-1], chosen % log_p.shape[-1]
        ended = ids == eos
        for b, k in ended[:, :beam].nonzero().tolist():
            if b in undone:
                text = texts[b, parent[b, k]].tolist()
                finished[b].append((best[b, k].item() / (t + 1), text))
        order = ended.int().argsort(dim=1, stable=True)[:, :beam]
        totals, ids, parent = (x.gather(1, order) for x in (best, ids, parent))
        parents = (rows * beam + parent).flatten()
        texts = torch.cat([texts[rows, parent], ids[..., None]], dim=2)
        reached = (totals[:, 0] / (t + 1)).tolist()
        undone = {b for b in undone if len(finished[b]) < beam or max(finished[b])[0] < reached[b]}
        if not undone:
            break
    for b in undone:  # the limit cuts off
        finished[b].append((totals[b, 0].item() / limit, texts[b, 0].tolist()))
    return [max(each)[1] for each in finished]
