"""A reader: it predicts where the answer to a question begins and ends in a text.

Both are positions among the tokens of the text, the context.  Each position t has two logits, s_t
for the beginning of the answer and e_t for its end:

    P(begin at t) = softmax over t of s_t        P(end at t) = softmax over t of e_t
    loss = the mean of -log P(begin at its place) and -log P(end at its place)

The best span i..j has the largest s_i + e_j, where j is not before i and not too far behind it.
[CLS], which precedes the context, has the place 0.  The targets of a question without an answer in
the text are there, so s_0 + e_0 is the score of "no answer".

**The recurrent reader** reads the question and the context separately, attends from each to the
other (:func:`minillm.ops.attention_flow`), and reads the result again:

    x_t = E[id_t] + F[whether the token occurs in the question]
    h = recurrence(x of the context)        u = recurrence(x of the question)       the same weights
    g = attention_flow(h, u)                each token, with the question's words close to it
    m = recurrence(g)                       L layers
    n = recurrence(m)
    s_t = g_t . w_1 + m_t . v_1             e_t = g_t . w_2 + n_t . v_2

All recurrences are GRUs in both directions.  The end is read from n, which depends on m.

**The BERT reader** reads both as one row of two segments, [CLS] question [SEP] context [SEP]:

    x = BERT(row)                           s_t = x_t . w_1               e_t = x_t . w_2

It adds almost nothing to a pre-trained BERT.  (A bias would add the same number to all places, and
cancel in the softmax over them.)

Legend: B batch, J tokens of the question and its [SEP], T tokens of the context with its [CLS] and
[SEP], D width.

Sources: Seo, Kembhavi, Farhadi and Hajishirzi (2017), "Bidirectional attention flow for machine
comprehension", with GRUs instead of LSTMs, and parts of words instead of words and characters;
Chen, Fisch, Weston and Bordes (2017), "Reading Wikipedia to answer open-domain questions", section
3.2, for F; Devlin, Chang, Lee and Toutanova (2018), "BERT", section 4.2, and section 4.3 for
questions without an answer.
"""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from minillm import ops
from minillm.layers import dense, embedding, recurrent
from minillm.layers.fresh import ParamSpec, at_depth, normal, uniform
from minillm.layers.gradients import merge_gradients
from minillm.layers.types import Backward, Ids, Rng
from minillm.models import base, sizes
from minillm.models.bert import BERT, BERTConfig
from minillm.ops.padding import length_mask

ENCODERS = ("recurrent", "bert")


@dataclass(frozen=True)
class ReaderConfig:
    """The sizes of a reader."""

    vocabulary: int  # V
    encoder: str = "recurrent"
    context: int = 384  # most tokens in [CLS] question [SEP] context [SEP]
    width: int = 128  # D of a token; half of it for each direction of a recurrence
    layers: int = 1  # L: recurrences over g, or BERT's blocks
    heads: int = 4  # of BERT
    inner: int | None = None  # of BERT: width inside the feed-forward layers; None: 4 D
    dropout: float = 0.2

    def __post_init__(self) -> None:
        sizes.check_at_least(self, 1, "vocabulary", "layers", "heads")
        sizes.check_at_least(self, 2, "width")
        sizes.check_at_least(self, 8, "context")
        sizes.check_one_of(self, "encoder", ENCODERS)
        sizes.check_below_one(self, "dropout")
        if self.encoder == "bert":
            self.bert()
        elif self.width % 2:
            raise sizes.wrong(self, "width", "an even number")

    def bert(self) -> BERTConfig:
        """The sizes of its BERT, without the heads for other tasks."""
        return BERTConfig(
            vocabulary=self.vocabulary,
            context=self.context,
            layers=self.layers,
            heads=self.heads,
            width=self.width,
            inner=self.inner,
            dropout=self.dropout,
            masked_words=False,
        )


class Reader(base.LabelModel[ReaderConfig]):
    """Embeddings, an encoder, two logits for each place.  Its labels are two places, (B, 2).

    ``params`` of the recurrent reader: ``embedding.E`` (V, D), ``match.E`` (2, D);
    ``encoder.0.forward.W_x`` and so on, ``reading.0...``, ``ending.0...``; ``flow.w_h``,
    ``flow.w_u`` and ``flow.w_hu`` (D,); ``span.W`` (4D, 2), ``start.W`` and ``end.W``
    (D, 1).  The BERT reader has BERT's, and ``span.W`` (D, 2).
    """

    @staticmethod
    def new_parameters(config: ReaderConfig) -> dict[str, ParamSpec]:
        """Declare the parameters."""
        c, D = config, config.width
        if c.encoder == "bert":
            return BERT.new_parameters(c.bert()) | {
                "span.W": ParamSpec((D, 2), uniform(D**-0.5), "matrix")
            }

        def recurrence(prefix: str, I: int) -> dict[str, ParamSpec]:
            return recurrent.new_layer(prefix, "gru", I, D // 2, bidirectional=True)

        params = {
            "embedding.E": ParamSpec((c.vocabulary, D), normal(), "table", 0),
            "match.E": ParamSpec((2, D), normal()),
        }
        params |= at_depth(1, recurrence("encoder.0", D))
        for name in ("w_h", "w_u", "w_hu"):
            params[f"flow.{name}"] = ParamSpec((D,), uniform(D**-0.5))
        for layer in range(c.layers):
            params |= recurrence(f"reading.{layer}", 4 * D if layer == 0 else D)
        params |= recurrence("ending.0", D)
        for name, (I, O) in (("span", (4 * D, 2)), ("start", (D, 1)), ("end", (D, 1))):
            params[f"{name}.W"] = ParamSpec((I, O), uniform(I**-0.5), "matrix")
        return params

    def forward(
        self,
        question: NDArray,
        question_lengths: NDArray,
        context: NDArray,
        lengths: NDArray,
        rng: Rng = None,
    ) -> tuple[NDArray, Backward]:
        """The logits of the beginning and the end of the answer, (B, 2, T).

        question (B, J), each followed by [SEP]; context (B, T), each between [CLS] and [SEP].
        In the padding and at [SEP], where no answer can be, the logits are minus infinity.
        With rng, there is dropout.  ``backward(dlogits)`` -> gradients keyed as ``params``.
        """
        read = self._read_with_bert if self.config.encoder == "bert" else self._read
        logits, read_backward = read(question, question_lengths, context, lengths, rng)
        allowed = length_mask(lengths - 1, context.shape[1])[:, None]  # (B, 1, T)

        def backward(dlogits):
            return read_backward(np.where(allowed, dlogits, 0).transpose(0, 2, 1))

        return np.where(allowed, logits.transpose(0, 2, 1), -np.inf), backward

    # --- the recurrent reader ---------------------------------------------------

    def _read(self, question, question_lengths, context, lengths, rng):
        """-> logits (B, T, 2).  ``backward(dlogits)`` -> gradients."""
        c, p = self.config, self.params
        match = stands_in(context, question, question_lengths).astype(np.int64)  # (B, T)
        tables = {"embedding.E": context, "match.E": match}
        x, context_backward = embedding.layer(p, tables)  # (B, T, D)
        words, words_backward = embedding.layer(p, {"embedding.E": question})  # (B, J, D)
        h, h_backward = self._recur("encoder", 1, x, lengths, rng)
        u, u_backward = self._recur("encoder", 1, words, question_lengths, rng)

        names = [f"flow.{name}" for name in ("w_h", "w_u", "w_hu")]
        w_h, w_u, w_hu = (p[name] for name in names)
        g, flow_backward = ops.attention_flow(h, u, w_h, w_u, w_hu, lengths, question_lengths)
        m, m_backward = self._recur("reading", c.layers, g, lengths, rng)
        n, n_backward = self._recur("ending", 1, m, lengths, rng)

        both, both_backward = dense.layer(p, "span", g)  # (B, T, 2)
        first, first_backward = dense.layer(p, "start", m)  # (B, T, 1)
        last, last_backward = dense.layer(p, "end", n)

        def backward(dlogits):
            # logits = g W + [m . v_1, n . v_2]
            dg, of_both = both_backward(dlogits)
            dm, of_first = first_backward(dlogits[..., :1])
            dn, of_last = last_backward(dlogits[..., 1:])
            dm_by_n, of_ending = n_backward(dn)
            dg_by_m, of_reading = m_backward(dm + dm_by_n)
            dh, du, *dweights = flow_backward(dg + dg_by_m)
            dx, of_encoder = h_backward(dh)
            dwords, of_question = u_backward(du)
            of_flow = dict(zip(names, dweights, strict=True))
            return merge_gradients(  # the encoder reads twice
                *(of_both, of_first, of_last, of_ending, of_reading, of_flow),
                *(of_encoder, context_backward(dx), of_question, words_backward(dwords)),
            )

        return both + np.concatenate([first, last], axis=-1), backward

    def _recur(self, prefix, layers, x, lengths, rng):
        """GRUs in both directions, with dropout before each: x (B, T, I) -> (B, T, D).

        ``backward(dy)`` -> dx, gradients.
        """
        p, rate = self.params, self.config.dropout
        x, dropout_backward = ops.dropout(x, rate, rng)
        zero = recurrent.zero_state(p, prefix, "gru", layers, len(x))
        (y, _), stack_backward = recurrent.stack(
            p, prefix, x, zero, "gru", layers, lengths, rate, rng
        )

        def backward(dy):
            dx, _, gradients = stack_backward(dy)
            return dropout_backward(dx), gradients

        return y, backward

    # --- the BERT reader --------------------------------------------------------

    def _read_with_bert(self, question, question_lengths, context, lengths, rng):
        """-> logits (B, T, 2).  ``backward(dlogits)`` -> gradients."""
        ids, row_lengths, segments, places = rows_of(question, question_lengths, context, lengths)
        bert = self.part(BERT, self.config.bert())
        x, bert_backward = bert.hidden(ids, row_lengths, segments, rng)  # (B, J + T, D)
        rows, real = np.arange(len(ids))[:, None], places >= 0
        tokens, span_backward = dense.layer(self.params, "span", x)  # (B, J + T, 2)

        def backward(dlogits):
            dtokens = np.zeros_like(tokens)
            dtokens[np.broadcast_to(rows, real.shape)[real], places[real]] = dlogits[real]
            dx, gradients = span_backward(dtokens)
            return merge_gradients(gradients, bert_backward(dx))

        return tokens[rows, places], backward


def stands_in(context: Ids, question: Ids, question_lengths: Ids) -> NDArray[np.bool_]:
    """A mask (B, T) of the context's tokens that occur in the question (B, J), without its [SEP].

    >>> stands_in(np.array([[1, 5, 6, 2]]), np.array([[6, 7, 2, 0]]), np.array([3])).tolist()
    [[False, False, True, False]]
    """
    question_mask = length_mask(question_lengths - 1, question.shape[1])  # (B, J)
    return ((context[:, :, None] == question[:, None]) & question_mask[:, None]).any(axis=2)


def rows_of(
    question: Ids, question_lengths: Ids, context: Ids, lengths: Ids
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """[CLS] question [SEP] context [SEP]: ids, lengths, segments, and the places of the context's
    tokens in each row, (B, T), -1 in the padding.

    >>> ids, lengths, segments, places = rows_of(
    ...     np.array([[7, 2]]), np.array([2]), np.array([[1, 8, 9, 2]]), np.array([4])
    ... )
    >>> ids.tolist(), segments.tolist(), places.tolist()
    ([[1, 7, 2, 8, 9, 2]], [[0, 0, 0, 1, 1, 1]], [[0, 3, 4, 5]])
    """
    steps = np.arange(context.shape[1])
    places = np.where(steps > 0, steps + question_lengths[:, None], 0)  # [CLS] comes first
    places = np.where(length_mask(lengths, len(steps)), places, -1)
    row_lengths = question_lengths + lengths
    ids = np.zeros((len(context), row_lengths.max()), np.int64)
    segments = np.zeros_like(ids)
    rows, t = np.nonzero(places >= 0)
    ids[rows, places[rows, t]] = context[rows, t]
    segments[rows, places[rows, t]] = t > 0
    rows, j = np.nonzero(length_mask(question_lengths, question.shape[1]))
    ids[rows, 1 + j] = question[rows, j]
    return ids, row_lengths, segments, places


def best_spans(logits: NDArray, longest: int, number: int = 1) -> list[tuple[int, int, float]]:
    """The spans with the largest s_i + e_j - (s_0 + e_0), best first: (i, j, that score).

    logits (2, T): s and e, minus infinity at positions that are not allowed.  A span has 1 to
    ``longest`` tokens, never [CLS].  If the score is above 0, the span is better than no answer.

    >>> best_spans(np.array([[0.0, 1, 3, 2], [0, 4, 2, 1]]), longest=2, number=2)
    [(1, 1, 5.0), (2, 2, 5.0)]
    """
    s, e = logits
    longest = min(longest, len(e))
    behind = np.full(longest - 1, -np.inf, e.dtype)
    scores = s[:, None] + sliding_window_view(np.concatenate([e, behind]), longest)  # (T, longest)
    scores = (scores - (s[0] + e[0]))[1:].ravel()
    best = np.argsort(-scores, kind="stable")[:number]
    return [
        (1 + int(at) // longest, 1 + int(at) // longest + int(at) % longest, float(scores[at]))
        for at in best
        if scores[at] > -np.inf
    ]
