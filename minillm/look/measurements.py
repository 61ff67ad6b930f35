"""The measurements of each kind of model on one text: logits, gradients, attention and gates.

The gradient at each position of a text is measured with a table of embeddings that has a row of its
own for each position: row t of E[ids] (T, D) belongs to position t alone, and the ids are 0, 1, 2
and so on.  The backward of the model then returns the gradient of each position in this table.
(In the model's own table, the gradients of equal tokens would be added.)

Legend: T time, S source steps, V vocabulary, D width, H hidden width, L layers, N heads.
"""

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.decoding import Reader, TargetDecoder
from minillm.decoding.hypotheses import TransformerDecoder
from minillm.decoding.pointer import log_mixture
from minillm.layers import dense, embedding
from minillm.layers.gradients import PartlyTrained, merge_gradients
from minillm.layers.types import Ids, State
from minillm.look.attention import attention_weights, self_attention_weights
from minillm.look.trace import Activity, AttentionWeights, Copying
from minillm.models.teacher_forcing import teacher_forcing
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


def norms_by_place(dys: NDArray, places: int, backward: Callable[[NDArray], NDArray]) -> Norms:
    """One backward for each loss: dys (T, D), row t is the gradient of loss t by the output t.

    ``backward(dy)``, dy (1, T, D) with one row that is not zero -> the gradients with
    respect to the inputs (places, D).  Returns their norms, (T, places).
    """
    norms = np.zeros((len(dys), places), dys.dtype)
    for t, row in enumerate(progress_bar(dys, "gradients", unit=" tokens")):
        if row.any():
            dy = np.zeros((1, *dys.shape), dys.dtype)
            dy[0, t] = row
            norms[t] = np.linalg.norm(backward(dy), axis=-1)
    return norms


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
    norms = norms_by_place(predict_backward(dlogits)[0], len(ids), backward)
    logits = np.concatenate([np.full_like(logits[:1], np.nan), logits]).astype(np.float64)
    return {"logits": logits, "gradient": np.concatenate([np.zeros_like(norms[:1]), norms[:-1]])}


def read_gpt(model: Any, ids: Ids) -> dict[str, Any]:
    """Read a text from position 0: ids (T,) -> logits, gradients, and the attention."""
    x, _ = model.embed(ids[None], np.arange(len(ids))[None])
    own = copy(model)
    own.embed = lambda *_: (x, lambda dx: {"x": dx[0]})
    own.params = PartlyTrained(model.params, model.below)  # no gradient in the blocks is needed
    y, backward = own.hidden(ids[None])
    weights = attention_weights(model, ids[None])[:, 0]
    attention = AttentionWeights("self-attention", "text", "text", weights, causal=True)
    measured = next_token(ids, model.predict(y[0]), lambda dy: backward(dy)["x"])
    return measured | {"attention": [attention]}


def read_recurrent(model: Any, ids: Ids, state: State) -> dict[str, Any]:
    """Read on from a state: ids (T,) -> logits, gradients, and the gates and states.

    With one-hot input, the input vector of a token is its row of W_x.
    """
    table = "embedding.E" if model.config.embedding else "layers.0.W_x"
    (hs, _), backward = with_rows(model, {table: ids}).recurrence(np.arange(len(ids))[None], state)
    measured = next_token(ids, model.predict(hs[0]), lambda dhs: backward(dhs)[1][table])
    return measured | {"activity": _activity(model, ids, state)}


def _activity(model: Any, ids: Ids, state: State) -> list[Activity]:
    """The gates and states of each layer, as the forward passes of the ops keep them."""
    c, p = model.config, model.params
    cell, lengths, activity = CELLS[c.cell], np.array([len(ids)]), []
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
        activity.append(Activity({name: a[0] for name, a in {**shown, "h": hs}.items()}))
        x = hs
    return activity


def read_mamba(model: Any, ids: Ids, state: State) -> dict[str, Any]:
    """Read on from a state: ids (T,) -> logits, gradients, and of each layer

    ``f``: the share of the state that a column keeps, the mean over its N numbers, (T, E)
    ``y``: the column's output, gated, as tanh(y), (T, E)
    """
    E, places = "embedding.E", np.arange(len(ids))[None]
    (y, _), backward = with_rows(model, {E: ids}).hidden(places, state)
    measured = next_token(ids, model.predict(y[0]), lambda dy: backward(dy)[E])
    reader: Any = Reader(model)
    steps = list[Any]()
    for token in ids:
        _, state, of_layers = reader.step(np.array([token]), state)
        steps.append(of_layers)
    activity = []
    for layer, own in enumerate(zip(*steps, strict=True)):
        A = -np.exp(model.params[f"layers.{layer}.A_log"])  # (E, N)
        delta, gated = (np.concatenate(part) for part in zip(*own, strict=True))
        kept = np.exp(delta[:, :, None] * A).mean(axis=-1)
        activity.append(Activity({"f": kept, "y": np.tanh(gated)}))
    return measured | {"activity": activity}


def read_windows(model: Any, ids: Ids, state: State) -> dict[str, Any]:
    """Read on from the context of a neural n-gram: ids (T,) -> logits and gradients."""
    E, text = "embedding.E", np.concatenate([state["context"][0], ids])
    n, places = len(text) - len(ids), np.arange(len(text))[None]
    own = with_rows(model, {E: text})
    (logits, _), backward = own.forward(places[:, n:], {"context": places[:, :n]})

    def predict_backward(dlogits: NDArray) -> tuple[NDArray, dict]:
        return dlogits, {}

    return next_token(ids, (logits[0], predict_backward), lambda dy: backward(dy)[E][n:])


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


def attention_of_bert(model: Any, ids: Ids) -> list[AttentionWeights]:
    """The attention in a text without masked tokens."""
    weights = attention_weights(model, ids[None])[:, 0]
    return [AttentionWeights("self-attention", "text", "text", weights)]


# --- translators ----------------------------------------------------------------------------------

Translated = tuple[Logits, Norms, Norms, list[AttentionWeights]]


def read_transformer(model: Any, source: Ids, target: Ids) -> Translated:
    """Read a source and its target: ids (S,), (T,) -> logits (T, V + 1), gradients, attention.

    The gradients are taken with respect to the source (T, S) and the target (T, T).  The inputs of
    the decoder are BOS and the target without its last token.
    """
    c, S, T = model.config, len(source), len(target)
    inputs = teacher_forcing(target[None], c.bos)[0]
    lengths, places, begin = np.array([S]), np.arange(S + T)[None], 0
    if c.shared:  # one table for both sides
        own, begin = with_rows(model, {"embedding.E": np.concatenate([source, inputs])}), S
    else:
        own = with_rows(model, {"source.E": source, "target.E": inputs})
    memory, encode_backward = own.encode(places[:, :S], lengths)
    y, decode_backward = own.decode(places[:, begin : begin + T], memory, lengths)
    logits, output_backward = dense.layer(model.output(), "output", y[0])
    dys, _ = output_backward(slopes(logits, target))

    def by_place(dy: NDArray) -> NDArray:
        dmemory, of_decoder = decode_backward(dy)
        gradients = merge_gradients(encode_backward(dmemory), of_decoder)
        if c.shared:
            return gradients["embedding.E"]
        return np.concatenate([gradients["source.E"], gradients["target.E"]])

    norms, cross = norms_by_place(dys, S + T, by_place), TransformerDecoder(model)
    to_source = [
        cross.attention_weights(source[None], lengths, target[None], layer)[0]
        for layer in range(c.layers)
    ]
    within_source = self_attention_weights(model, source[None])[:, 0]
    within_target = self_attention_weights(model, source[None], inputs[None])[:, 0]
    attention = [
        AttentionWeights("from the target to the source", "text", "source", np.stack(to_source)),
        AttentionWeights("within the source", "source", "source", within_source),
        AttentionWeights("within the target", "text", "inputs", within_target, causal=True),
    ]
    return logits, norms[:, :S], _by_target(norms[:, S:]), attention


def read_encoder_decoder(model: Any, source: Ids, target: Ids) -> Translated:
    """Read a source and its target, as :func:`read_transformer` does."""
    S, T = len(source), len(target)
    inputs = teacher_forcing(target[None], model.config.bos)[0]
    own = with_rows(model, {"source.E": source, "target.E": inputs})
    logits, backward = own.forward(np.arange(S)[None], np.array([S]), np.arange(T)[None])

    def by_place(dlogits: NDArray) -> NDArray:
        gradients = backward(dlogits)
        return np.concatenate([gradients["source.E"], gradients["target.E"]])

    norms = norms_by_place(slopes(logits[0], target), S + T, by_place)
    decoder = TargetDecoder(model)
    state, weights = decoder.start(source[None], np.array([S])), list[Any]()
    for token in inputs:
        _, at_step, state = decoder.step(np.array([[token]]), state)
        weights.append(at_step)
    attention = []
    if weights[0] is not None:
        cross = np.concatenate(weights, axis=1)[None]  # (1, 1, T, S)
        attention = [AttentionWeights("from the target to the source", "text", "source", cross)]
    return logits[0], norms[:, :S], _by_target(norms[:, S:]), attention


def read_pointer_generator(model: Any, source: Ids, target: Ids) -> Translated:
    """Read a source and its target, as :func:`read_transformer` does, with a model that copies.

    Log P of the vocabulary and of the source's new words is returned in the place of logits.  The
    attention is the one that copies.
    """
    S, T = len(source), len(target)
    inputs = teacher_forcing(target[None], model.config.bos)[0]
    own = with_rows(model, {"embedding.E": model.known(np.concatenate([source, inputs]))})
    own.config = replace(model.config, vocabulary=S + T)  # a position is no new word
    places = np.arange(S + T)[None]
    encoded, encode_backward = own.encode(places[:, :S], np.array([S]))
    (y, weights), decode_backward = own.decode(places[:, S:], encoded)
    (logits, gates), output_backward = model.output(y)
    m, copied_backward = ops.copied_probability(weights, source[None], target[None])
    _, loss_backward = ops.pointer_cross_entropy(logits, gates, m, target[None])
    dlogits, dgates, dm = loss_backward(float(T))  # the loss is the mean over the rows
    dy, _ = output_backward(dlogits, dgates)
    dboth = np.concatenate([dy, copied_backward(dm)], axis=-1)[0]  # (T, D + S)
    D = y.shape[-1]

    def by_place(dboth: NDArray) -> NDArray:
        dencoded, of_decoder = decode_backward(dboth[..., :D].copy(), dboth[..., D:].copy())
        return merge_gradients(encode_backward(dencoded), of_decoder)["embedding.E"]

    norms = norms_by_place(dboth, S + T, by_place)
    g, _ = ops.sigmoid(gates[0])
    r = g - dgates[0]  # dz = g - r, and 1 - r is the probability that the target was copied
    copying = Copying(g, np.clip(1 - r, 0, 1))
    pointer = AttentionWeights(
        "copying from the source", "text", "source", weights[None], copying=copying
    )
    log_P = log_mixture(logits, gates, weights, source[None])[0]
    return log_P, norms[:, :S], _by_target(norms[:, S:]), [pointer]


def _by_target(norms: Norms) -> Norms:
    """Move the norms of a decoder's inputs, which are one position late, to the target."""
    return np.concatenate([norms[:, 1:], np.zeros_like(norms[:, :1])], axis=1)
