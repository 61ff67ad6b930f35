"""Training steps of the models: forward, backward, clipping at 1 and AdamW, of one batch.

All contestants begin with the same weights.  Neither side drops anything or smooths labels, so
that the losses and the norms of the gradients must agree.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from minillm.data import Minibatches
from minillm.data.masking import Masking, framed
from minillm.models.bert import BERT, BERTConfig
from minillm.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from minillm.models.gpt import GPT, GPTConfig
from minillm.models.language_model import LanguageModel, LanguageModelConfig
from minillm.models.pointer_generator import PointerGenerator, PointerGeneratorConfig
from minillm.timing.contest import Case

from . import transformer
from .pytorch import LSTM, our_step, recurrent, tensors, their_step, torch
from .studies.costs import of_gpt
from .torch_models import Translator, bert_loss, gpt_loss, recurrent_pairs

BERTS = {
    "small": {"layers": 4, "heads": 4, "width": 128, "context": 128, "batch": 8},
    "big": {"layers": 6, "heads": 6, "width": 384, "context": 128, "batch": 16},
}

GPTS = {
    "small": {"layers": 4, "heads": 4, "width": 128, "context": 64, "batch": 12},
    "big": {"layers": 6, "heads": 6, "width": 384, "context": 256, "batch": 8},
}

# A model of PyTorch with our weights: what is trained, and the loss of the batch.
Peer = tuple[Iterable[Any], Callable[[], Any]]
NewPeer = Callable[[Mapping[str, np.ndarray]], Peer]


def training_steps(full: bool, compiled: bool) -> Iterator[Case]:
    """Yield the steps of all models, or of some small ones."""
    yield lstm_step(128 if full else 64)
    yield encoder_decoder_step()
    for shortest in (150, 130):
        yield pointer_generator_step(shortest)
    yield gpt_step("small", compiled)
    if full:
        yield gpt_step("big", compiled)
        for size in BERTS:
            yield bert_step(size)
        for size in transformer.SIZES:
            yield transformer_step(size)


def step(
    sizes: str, model: Any, batch: Any, flops: float, peer: NewPeer, compiled: bool = False
) -> Case:
    """Make the case of a model: a copy for each twin, and its peer of PyTorch."""

    def twin(kernels: str) -> Callable[[], list[float]]:
        params = {name: array.copy() for name, array in model.params.items()}
        return our_step(type(model)(model.config, params=params), batch, kernels)

    contestants = {"NumPy": twin("numpy"), "Cython": twin("cython")}
    if torch:
        contestants["PyTorch"] = their_step(*peer(model.params))
        if compiled:
            parameters, loss_of = peer(model.params)
            contestants["compiled"] = their_step(parameters, torch.compile(loss_of))
    # Weights are read forward and backward, gradients written; Adam reads four and writes three.
    moved = 10.0 * sum(array.nbytes for array in model.params.values())
    return Case("training step", sizes, flops, contestants, moved, tolerance=1e-3)


def tensors_of(batch: Iterable[np.ndarray]) -> list[Any]:
    return [torch.from_numpy(array) for array in batch]


def peer_of_pairs(config: Any, batch: Any) -> NewPeer:
    """A peer of modules, whose second biases are not trained (see pytorch.recurrent)."""

    def peer(start: Mapping[str, np.ndarray]) -> Peer:
        model = recurrent_pairs(config, start)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("bias_hh" not in name)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        return trained, lambda: model.loss(batch)

    return peer


def lstm_step(T: int) -> Case:
    """Make a step of the character model."""
    B, V, D, H = 32, 65, 128, 512
    rng = np.random.default_rng(0)
    ids = rng.integers(0, V, (B, T + 1))
    inputs, targets = ids[:, :-1].copy(), ids[:, 1:].copy()

    def peer(start: Mapping[str, np.ndarray]) -> Peer:
        layer = recurrent("lstm", *(start[f"layers.0.{name}"] for name in LSTM))
        p = tensors({name: start[name] for name in ("embedding.E", "output.W", "output.b")})
        tin, tout = torch.from_numpy(inputs), torch.from_numpy(targets).reshape(-1)
        F = torch.nn.functional

        def loss() -> Any:
            hs, _ = layer(F.embedding(tin, p["embedding.E"]))
            logits = F.linear(hs, p["output.W"], p["output.b"])
            return F.cross_entropy(logits.reshape(-1, V), tout)

        return [*p.values(), *(each for each in layer.parameters() if each.requires_grad)], loss

    model = LanguageModel(LanguageModelConfig(V, D, H), rng)
    # The embeddings' rows meet W_x once each.
    flops = 6.0 * (V * D * 4 * H + B * T * (H * 4 * H + H * V))
    return step(f"lstm {H}, {B} x {T}", model, (inputs, targets), flops, peer)


def encoder_decoder_step() -> Case:
    """Make a step of the encoder-decoder on words of CMUdict's lengths."""
    rng = np.random.default_rng(0)
    B, S, T = 128, 8, 7
    config = EncoderDecoderConfig(27, 39, attention="general")
    lengths = rng.integers(3, S + 1, B), rng.integers(3, T + 1, B)
    source, target = rng.integers(0, 27, (B, S)), rng.integers(0, 39, (B, T))
    lengths[0][0], lengths[1][0] = S, T
    batch = source, lengths[0], target, lengths[1]

    H, D = config.hidden, config.embedding
    both_ways, written = lengths[0].sum() * 2, lengths[1].sum()
    # The embeddings' rows of the target, 40, meet W_x once each.
    recurrences = (both_ways * (D + H) + written * H + 40 * D) * 4 * H
    flops = 6.0 * (recurrences + written * (5 * H * H + H * 40))
    model = EncoderDecoder(config, rng)
    return step(f"seq2seq {H}, {B} pairs", model, batch, flops, peer_of_pairs(config, batch))


def pointer_generator_step(shortest: int) -> Case:
    """Make a step of the pointer-generator on pairs as long as emails and their subjects.

    ``shortest`` is the length of the shortest source; the longest one has 150 tokens.
    """
    rng = np.random.default_rng(0)
    B, S, T, new = 64, 150, 8, 8
    config = PointerGeneratorConfig(10_000)
    V, D, H = config.vocabulary, config.embedding, config.hidden
    lengths = rng.integers(shortest, S + 1, B), rng.integers(4, T + 1, B)
    lengths[0][0], lengths[1][0] = S, T
    source, target = rng.integers(0, V, (B, S)), rng.integers(0, V, (B, T))
    source[:, :new] = V + 1 + np.arange(new)  # words that the vocabulary lacks
    target[:, ::2] = source[:, : T // 2]
    batch = source, lengths[0], target, lengths[1]

    steps = lengths[0].sum() * 2 + lengths[1].sum()
    each = 2 * H * H + 2 * S * 2 * H + 3 * H * D + D * V  # of a target token, after the recurrence
    flops = 6.0 * (steps * (D + H) * 4 * H + lengths[1].sum() * each)
    model = PointerGenerator(config, rng)
    sources = f"{shortest} to {S}" if shortest < S else f"{S}"
    peer = peer_of_pairs(config, batch)
    return step(f"pointer-generator {H}, {B} x {sources}", model, batch, flops, peer)


def gpt_and_batch(size: str) -> tuple[GPT, tuple[np.ndarray, np.ndarray]]:
    """Make a model of one of GPTS, and inputs and targets (B, T)."""
    sizes: dict[str, Any] = dict(GPTS[size])
    batch, rng = sizes.pop("batch"), np.random.default_rng(0)
    config = GPTConfig(vocabulary=65, **sizes)
    ids = rng.integers(0, config.vocabulary, (batch, config.context + 1))
    return GPT(config, rng), (ids[:, :-1].copy(), ids[:, 1:].copy())


def gpt_step(size: str, compiled: bool) -> Case:
    """Make a step of a GPT of one of the sizes."""
    model, batch = gpt_and_batch(size)

    def peer(start: Mapping[str, np.ndarray]) -> Peer:
        p, theirs = tensors(start), tensors_of(batch)
        return p.values(), lambda: gpt_loss(p, model.config, *theirs)

    c, (B, T) = model.config, batch[0].shape
    sizes, flops = f"gpt {c.layers} x {c.width}, {B} x {T}", of_gpt(c).operations * B * T
    return step(sizes, model, batch, flops, peer, compiled)


def bert_step(size: str) -> Case:
    """Make a step of a BERT of one of the sizes, on masked passages as long as the context."""
    sizes: dict[str, Any] = dict(BERTS[size])
    B, V = sizes.pop("batch"), 4000
    config = BERTConfig(vocabulary=V, **sizes)
    rng = np.random.default_rng(0)
    L, D, T = config.layers, config.width, config.context
    separators = 0, 1  # [CLS] and [SEP]; 2 is [MASK]
    texts = framed([[rng.integers(3, V, T - 2)] for _ in range(B)], *separators)
    batch = Masking(2, np.arange(V) > 2).hide(texts, rng)

    def peer(start: Mapping[str, np.ndarray]) -> Peer:
        p, places = tensors(start), np.flatnonzero(batch.places)
        theirs = tensors_of((batch.ids, batch.segments, batch.targets, places))
        return p.values(), lambda: bert_loss(p, config, *theirs)

    # Each token meets the matrices of all layers and attends to T; masked ones meet the output.
    flops = 6.0 * (B * T * L * (12 * D * D + 2 * T * D) + len(batch.targets) * (D * D + V * D))
    return step(f"bert {L} x {D}, {B} x {T}", BERT(config, rng), batch, flops, peer)


def transformer_step(size: str) -> Case:
    """Make a step of a Transformer of one of the sizes, on pairs as long as captions are."""
    model, pairs = transformer.fresh(size, shared=True), 128
    batch = Minibatches(transformer.random_sentences(29_000), pairs, seed=0).next()

    def peer(start: Mapping[str, np.ndarray]) -> Peer:
        p, theirs = tensors(start), tensors_of(batch)
        return p.values(), lambda: Translator(model.config, p).loss(*theirs)

    c, S, T = model.config, batch[0].size, batch[2].size  # tokens, with the padding
    L, D, F = c.layers, c.width, c.feed_forward
    # The decoder also has the queries and outputs of the cross-attention, and the encoder's tokens
    # its keys and values.  Attention itself is left out: sentences are short.
    matrices = S * L * (6 * D * D + 2 * D * F) + T * L * (6 * D * D + 2 * D * F)
    flops = 6.0 * (matrices + batch[3].sum() * D * (c.target_vocabulary + 1))
    return step(f"transformer {L} x {D}, {pairs} pairs", model, batch, flops, peer)
