"""The measurements of each kind of model on one text: logits, gradients, attention and gates.

The gradient at each position of a text is measured with a table of embeddings that has a row of its
own for each position: row t of E[ids] (T, D) belongs to position t alone, and the ids are 0, 1, 2
and so on.  The backward of the model then returns the gradient of each position in this table.
(In the model's own table, the gradients of equal tokens would be added.)

The attention is measured by the model's own blocks, which are called with an attention that notes
its weights.

Legend: B batch, T time, S source steps, V vocabulary, D width, H hidden width, L layers, N heads.
"""

from collections.abc import Callable, Mapping
from copy import copy
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.decoding import Reader, TargetDecoder
from minillm.layers import dense, embedding, heads
from minillm.layers.gradients import PartlyTrained
from minillm.layers.heads import Attend
from minillm.layers.stack import with_block
from minillm.layers.types import Ids, State
from minillm.look.attribution import Reading, contributions, token_effects
from minillm.look.trace import AttentionWeights
from minillm.models.teacher_forcing import teacher_forcing
from minillm.models.transformer import Transformer
from minillm.ops.gru import gru_forward
from minillm.ops.lstm import lstm_forward
from minillm.ops.recurrence import CELLS
from minillm.training.progress import progress_bar

# The forward passes that return the gates, and their names.
FORWARDS: dict[str, Any] = {"lstm": (lstm_forward, "ifgo"), "gru": (gru_forward, "rzn")}
AT_ONCE = 16  # texts with a hidden token that a BERT reads together

Logits = NDArray[np.floating]
Norms = NDArray[np.floating]


def with_rows(model: Any, rows: Mapping[str, Ids]) -> Any:
    """The model with E[ids] (T, D) in the place of each table E: ``rows`` has its name and ids."""
    changed, tables = copy(model), {E: model.params[E] for E in rows}
    own = {
        E: table[rows[E]] if isinstance(table, np.ndarray) else table.rows(rows[E])
        for E, table in tables.items()
    }
    changed.params = PartlyTrained(model.params | own, rows)  # no other gradient is needed
    return changed


def slopes(logits: Logits, targets: Ids) -> Logits:
    """p - y: the gradient of each row's own loss by its logits, (T, V)."""
    _, backward = ops.cross_entropy(logits, targets)
    return backward(float(len(logits)))  # the loss is the mean over the rows


# --- models that predict the next token -----------------------------------------------------------


def next_token(
    ids: Ids, predicted: tuple[Logits, Callable], backward: Callable[[NDArray], NDArray]
) -> dict[str, Any]:
    """The logits and the gradients, each in the row of the token that is predicted, (T + 1) and T.

    ``predicted`` is the result of a model's ``predict``, of logits (T, V); ``backward(dy)`` -> the
    gradients with respect to the inputs, (T, D).  Position t predicts token t + 1, nothing
    predicts the first token, and what follows the last one has no loss.
    """
    logits, predict_backward = predicted
    dlogits = np.zeros_like(logits)
    if len(ids) > 1:
        dlogits[:-1] = slopes(logits[:-1], ids[1:])
    dys, _ = predict_backward(dlogits)
    norms = np.zeros((len(ids), len(ids)), dys.dtype)
    for t, row in enumerate(progress_bar(dys[:-1], "gradients", unit=" tokens")):
        dy = np.zeros((1, *dys.shape), dys.dtype)  # one backward for each loss
        dy[0, t] = row
        norms[t + 1] = np.linalg.norm(backward(dy), axis=-1)
    logits = np.concatenate([np.full_like(logits[:1], np.nan), logits]).astype(np.float64)
    return {"logits": logits, "gradient": norms}


def read_gpt(model: Any, ids: Ids) -> dict[str, Any]:
    """Read a text from position 0: ids (T,) -> logits, gradients, contributions, and attention."""
    reading, by_head = Reading(model, ids), [np.zeros((model.config.layers, model.config.heads))]

    def backward(dy):
        of_heads, dx = contributions(reading, dy[0])
        by_head.append(-of_heads)  # of log P: the loss is -log P
        return dx

    weights = attention_weights(model, ids[None])[:, 0]
    attention = AttentionWeights("self-attention", "text", "text", weights, causal=True)
    measured = next_token(ids, model.predict(reading.y), backward)
    by_token = np.vstack([np.zeros(len(ids)), token_effects(model, ids)])
    of = {"by_token": by_token, "by_head": np.stack(by_head)}
    return measured | of | {"attention": [attention]}


def read_recurrent(model: Any, ids: Ids, state: State) -> dict[str, Any]:
    """Read on from a state: ids (T,) -> logits, gradients, and the gates and states.

    With one-hot input, the input vector of a token is its row of W_x.
    """
    table = "embedding.E" if model.config.embedding else "layers.0.W_x"
    (hs, _), backward = with_rows(model, {table: ids}).recurrence(np.arange(len(ids))[None], state)
    measured = next_token(ids, model.predict(hs[0]), lambda dhs: backward(dhs)[1][table])
    return measured | {"activity": _activity(model, ids, state)}


def _activity(model: Any, ids: Ids, state: State) -> list[dict[str, NDArray]]:
    """The gates and states of each layer, as the forward passes of the ops keep them."""
    c, p = model.config, model.params
    cell, lengths, activity = CELLS[c.cell], np.array([len(ids)]), list[dict[str, NDArray]]()
    x: NDArray = np.asarray(ids, np.int64)[None]
    if c.embedding:
        x, _ = embedding.layer(p, {"embedding.E": x})
    for layer in range(c.layers):
        first = [np.ascontiguousarray(state[f"layers.{layer}.{name}"]) for name in cell.state]
        weights = [p[f"layers.{layer}.{name}"] for name in cell.weights]
        shown = {}
        if c.cell in FORWARDS:
            forward, names = FORWARDS[c.cell]
            hs, *_, gates, cs = forward(x, *first, *weights, lengths=lengths)
            shown = dict(zip(names, np.split(gates, len(names), axis=-1), strict=True))
            shown |= {"c": cs} if c.cell == "lstm" else {}
        else:
            (hs, *_), _ = cell.run(x, *first, *weights, lengths=lengths)
        activity.append({name: a[0] for name, a in {**shown, "h": hs}.items()})
        x = hs
    return activity


def read_on(model: Any, ids: Ids, state: State) -> dict[str, Any]:
    """Read on from a state with any model that has a reader: ids (T,) -> logits (T + 1, V).

    The logits of row t predict token t; nothing predicts the first one.
    """
    reader, rows = Reader(model), list[NDArray]()
    for token in ids:
        logits, state = reader.read(np.array([[token]]), state)
        rows.append(logits[0])
    return {"logits": np.stack([np.full_like(rows[0], np.nan), *rows]).astype(np.float64)}


def read_counted(model: Any, ids: Ids, state: State) -> dict[str, Any]:
    """Read on from a state of an n-gram model: ids (T,) -> logits (T + 1, V), contexts (T + 1,).

    The logits of row t predict token t.  The contexts are the tokens, before token t, of the
    longest context that the model has seen; the start of a sentence is one of them.
    """
    logits, found = [], []
    for token in [*ids, None]:
        context = state["context"][0]
        context = context[context >= 0].tolist()
        log_p = np.maximum(model.distribution(context), -99.0)
        logits.append(log_p * np.log(10))
        found.append(model.longest_context(context))
        if token is not None:
            _, state = model.read(np.array([[token]], np.int32), state)
    return {"logits": np.stack(logits), "contexts": np.array(found)}


# --- a BERT ---------------------------------------------------------------------------------------


def read_hidden(model: Any, ids: Ids, mask: int) -> tuple[Logits, Norms]:
    """Hide each token but the first and the last in turn: ids (T,) -> logits (T, V), norms (T, T).

    Row t of both belongs to token t while it is hidden.  The first and the last rows are NaN and
    0, and so are all rows of a model without the head for masked words.
    """
    T, V = len(ids), model.config.vocabulary
    # Ids become numbers of rows.  The first ones, up to a padding token's, have other positions.
    unread = getattr(model.config, "unread", 0)
    logits, norms = np.full((T, V), np.nan), np.zeros((T, T))
    if not model.config.masked_words:
        return logits, norms
    for start in range(1, T - 1, AT_ONCE):
        places = np.arange(start, min(start + AT_ONCE, T - 1))
        rows = np.arange(len(places))
        texts = np.tile(ids, (len(rows), 1))
        texts[rows, places] = mask
        rows_of_E = np.concatenate([np.zeros(unread, texts.dtype), texts.ravel()])
        own = with_rows(model, {"embedding.E": rows_of_E})
        x, hidden_backward = own.hidden(unread + np.arange(texts.size).reshape(texts.shape))
        of_rows, words_backward = model.masked_words(x[rows, places])
        dx = np.zeros_like(x)
        dx[rows, places], _ = words_backward(slopes(of_rows, ids[places]))
        gradient = hidden_backward(dx)["embedding.E"][unread:]
        logits[places] = of_rows
        norms[places] = np.linalg.norm(gradient, axis=-1).reshape(texts.shape)
    return logits, norms


# --- attention -----------------------------------------------------------------------------------


def attention_weights(model: Any, ids: Ids) -> NDArray:
    """The weights of all heads of a Transformer of one stack, such as a GPT or a BERT.

    ids (B, T) -> (L, B, N, T, T).
    """
    noted: list[NDArray] = []

    def block(*inputs: Any, attend: Attend, **more: Any) -> tuple[NDArray, None]:
        return model.block(*inputs, attend=partial(noting, noted, attend), **more)[0], None

    with_block(model, block).hidden(ids)
    return np.stack(noted)


def transformer_weights(model: Transformer, source: Ids, inputs: Ids) -> dict[str, NDArray]:
    """The weights of all heads of a Transformer that reads a source (S,) and target inputs (T,).

    -> by name: encoder (L, N, S, S), decoder (L, N, T, T), and cross (L, N, T, S) between them.
    """
    p, N, lengths = model.params, model.config.heads, np.array([len(source)])
    noted: dict[str, list[NDArray]] = {"encoder": [], "decoder": [], "cross": []}

    def block(name: str, x: NDArray, attend: Attend, cross: Any = None, **more: Any) -> Any:
        def noting_cross(x: NDArray) -> Any:
            q, _ = dense.layer(p, f"{name}.cross", x, suffix="_q")
            (k, v), _ = heads.keys_and_values(p, f"{name}.cross", memory, N)
            noting(noted["cross"], heads.to_all(), heads.split_heads(q, N), k, v)
            return cross(x)

        seen = partial(noting, noted[name.partition(".")[0]], attend)
        both = noting_cross if cross else None
        return model.block(name, x, attend=seen, cross=both, **more)[0], None

    noter = with_block(model, block)
    memory, _ = noter.encode(source[None], lengths)
    noter.decode(inputs[None], memory, lengths)
    return {name: np.concatenate(weights) for name, weights in noted.items()}


def noting(
    noted: list[NDArray], attend: Attend, q: NDArray, k: NDArray, v: NDArray
) -> tuple[NDArray, Callable]:
    """The same attention; its weights (B, N, T, T) are added to a list.

    The weights are the results for values that are one-hot.
    """
    B, M, T, _ = v.shape
    noted.append(attend(q, k, np.broadcast_to(np.eye(T, dtype=v.dtype), (B, M, T, T)))[0])
    return attend(q, k, v)


# --- translators ----------------------------------------------------------------------------------


def read_pair(model: Any, source: Ids, target: Ids) -> tuple[Logits, list[AttentionWeights]]:
    """Write a target from its source: ids (S,), (T,) -> logits (T, V), attention.

    The inputs of the decoder are BOS and the target without its last token.  The logits of a model
    that copies are log P of its vocabulary and of the source's new words.
    """
    inputs = teacher_forcing(target[None], model.config.bos)[0]
    decoder, rows = TargetDecoder(model), list[Any]()
    state = decoder.start(source[None], np.array([len(source)]))
    for token in inputs:
        *at_step, state = decoder.step(np.array([[token]]), state)
        rows.append(at_step)
    logits = np.concatenate([logits[0] for logits, _ in rows])
    to_source = "from the target to the source", "text", "source"
    if not isinstance(model, Transformer):
        cross = [weights for _, weights in rows if weights is not None]  # (1, 1, S) each
        return logits, [AttentionWeights(*to_source, np.stack(cross, 2))] if cross else []
    weights = transformer_weights(model, source, inputs)
    return logits, [
        AttentionWeights(*to_source, weights["cross"]),
        AttentionWeights("within the source", "source", "source", weights["encoder"]),
        AttentionWeights("within the target", "text", "inputs", weights["decoder"], causal=True),
    ]
