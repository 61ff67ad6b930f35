"""No kernel touches what lies beside its memory, at sizes at which it uses several threads,
several blocks and rows that are no whole vectors."""

import ctypes
import mmap
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

SIZES = {
    "linear": {"B": 3, "T": 67, "I": 90, "O": 131},
    "embedding": {"B": 40, "T": 70, "V": 90, "D": 37},
    "gelu": {"B": 150, "D": 301},
    "silu": {"B": 150, "D": 301},
    "softplus": {"B": 150, "D": 301},
    "layer_norm": {"B": 5, "T": 131, "D": 99},
    "rms_norm": {"B": 5, "T": 131, "D": 99},
    "swiglu": {"B": 150, "D": 301},
    "rotary": {"B": 3, "N": 5, "T": 131, "D": 19},
    "cross_entropy": {"B": 9, "T": 13, "V": 1001},
    "pointer_cross_entropy": {"B": 9, "T": 13, "V": 1001},
    "linear_recurrence": {"B": 3, "T": 70, "D": 301},
    "selective_scan": {"B": 2, "T": 70, "D": 301, "N": 5},
    "gated_delta_rule": {"B": 3, "N": 5, "T": 70, "K": 9, "V": 37},
    "rnn": {"B": 9, "T": 11, "I": 70, "H": 67},
    "lstm": {"B": 9, "T": 11, "I": 35, "H": 67},
    "gru": {"B": 9, "T": 11, "I": 35, "H": 67},
    "additive_attention": {"B": 3, "T": 70, "S": 90, "D": 35, "E": 37, "A": 33},
    "scaled_dot_product_attention": {"B": 2, "M": 2, "G": 3, "T": 70, "S": 90, "D": 35, "E": 37},
}


def is_float(a):
    return isinstance(a, np.ndarray) and a.dtype.kind == "f"


def at_an_end(array):
    """A copy behind which nobody may read: its last byte is that of a page."""
    size = -(-array.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, size + mmap.PAGESIZE)
    copy = np.frombuffer(memory, array.dtype, array.size, size - array.nbytes).reshape(array.shape)
    copy[...] = array
    end = ctypes.c_void_p(copy.ctypes.data + array.nbytes)
    assert ctypes.CDLL(None).mprotect(end, ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
    return copy


def run_ops():
    from minillm import use_precision
    from minillm.ops.gradient_cases import CASES

    for name in SIZES:
        for dtype in (np.float32, np.float64):
            run_op(CASES[name], name, dtype)
    for name in ("linear", "rnn", "lstm", "gru"):
        with use_precision("bfloat16"):
            run_op(CASES[name], name, np.float32)


def run_op(case, name, dtype):
    from minillm import ops

    sizes, rng = SIZES[name], np.random.default_rng(0)
    op, args = case(rng, **sizes)
    args = [a.astype(dtype) if is_float(a) else a for a in args]
    args = [at_an_end(a) if isinstance(a, np.ndarray) else a for a in args]
    outputs, backward = op(*args)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    upstream = [at_an_end(np.ones_like(y)) for y in outputs]
    backward(*upstream)
    if name in ("rnn", "lstm", "gru"):
        x, *states_and_weights, _ = args
        getattr(ops, f"{name}_step")(at_an_end(x[:, 0]), *states_and_weights)
        ids = at_an_end(rng.integers(0, sizes["I"], x.shape[:2]))
        op(ids, *args[1:])[1](*upstream)


def run_the_other_kernels():
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from quantised_cases import FORMATS, inputs, packed

    from minillm.decoding.beam import _most_probable, beam_search
    from minillm.decoding.reader import Reader
    from minillm.models.gpt import GPT, GPTConfig
    from minillm.models.llama import Llama, LlamaConfig
    from minillm.models.ngram import count_keys, find_children
    from minillm.models.transformer import Transformer, TransformerConfig
    from minillm.models.word2vec import Word2Vec, Word2VecConfig
    from minillm.ops.linear import matmul
    from minillm.quantised.matrix import _quantised_product, _quantised_rows, quantise
    from minillm.training import AdamW, clip_global_norm

    rng = np.random.default_rng(0)
    words, starts = rng.integers(0, 50, 3000), np.append(np.arange(0, 3000, 41), 3000)
    rates = np.full(len(starts) - 1, 0.05)
    for algorithm in ("skip-gram", "cbow"):
        for negative in (0, 9):
            for dtype in (np.float32, np.float64):
                config = Word2VecConfig(50, 3, algorithm, negative=negative)
                model = Word2Vec(config, np.bincount(words, minlength=50) + 1, rng, dtype)
                model.learn(words, starts, rates, threads=2)
    params, grads = ({"p": rng.random((300, 301))} for _ in range(2))
    AdamW(params).step(grads, 0.1)
    clip_global_norm(grads, 1.0)
    count_keys(rng.integers(0, 2**40, 20_001))
    words = np.sort(rng.choice(10**6, 5000, replace=False)).astype(np.int32)
    asked = rng.integers(0, 10**6, 20_001).astype(np.int32)
    find_children(np.array([0, 5000], np.int32), words, np.zeros(20_001, np.int32), asked)
    for format in FORMATS:
        for M, O in ((1, 37), (13, 16), (300, 131)):
            I = inputs([format], 3)
            (part,) = packed(rng, format, I, O).parts
            names = ("codes", "scale", "offset", "d", "e", "levels")
            arrays = {name: getattr(part, name) for name in names}
            ends = {name: at_an_end(a) for name, a in arrays.items() if a is not None}
            parts = (replace(part, **ends),) * 2
            x = at_an_end(rng.standard_normal((M, I)).astype(np.float32))
            _quantised_product(x, parts)
            _quantised_rows(parts, at_an_end(rng.integers(0, 2 * O, 40)))
    for dtype in (np.float32, np.float64):
        for M, N in ((1, 37), (4, 64), (9, 37), (20, 515)):
            matmul(
                at_an_end(rng.random((M, 90)).astype(dtype)),
                at_an_end(rng.random((90, N)).astype(dtype)),
            )
        for V in (7, 64, 1001):
            _most_probable(at_an_end(rng.random((70, V)).astype(dtype)), 10)
        for post_norm, tied, K in ((True, True, 1), (False, False, 6)):
            sizes = {"layers": 2, "heads": 3, "width": 78, "feed_forward": 131}
            options = {"post_norm": post_norm, "tied": tied}
            model = Transformer(TransformerConfig(5, 70, **sizes, **options), rng, dtype=dtype)
            source, lengths = rng.integers(0, 5, (3, 9)), np.array([9, 1, 4])
            beam_search(model, source, lengths, beam=K, limit=4)
        model = Llama(LlamaConfig(65, 40, 2, 6, 2, 96, head_width=10), rng, dtype=dtype)
        models = [model]
        if dtype == np.float32:
            quantised = Llama(model.config, params=dict(model.params))
            for name, W in model.params.items():
                if W.ndim == 2 and "W_o" not in name:
                    W = quantise(W.T if name == "embedding.E" else W, "Q4_1")
                    quantised.params[name] = W.T if name == "embedding.E" else W
            models.append(quantised)
        for reader in map(Reader, models):
            for B, T in ((1, 1), (9, 3)):
                state = reader.zero_state(B)
                for _ in range(13):
                    _, state = reader.read_all(rng.integers(0, 65, (B, T)), state)
        reader = Reader(GPT(GPTConfig(65, 40, 2, 3, 39), rng, dtype=dtype))
        for B in (1, 9):
            state = reader.zero_state(B)
            for _ in range(40):
                _, state = reader.read(rng.integers(0, 65, (B, 1)), state)


def kernels_of_several_sizes():
    from minillm import kernels_info, use_kernels

    for name in kernels_info()["available"][1:]:
        with use_kernels(name):
            run_ops()
            run_the_other_kernels()


@pytest.mark.deep
@pytest.mark.skipif(os.name != "posix", reason="no mprotect here")
def test_no_kernel_touches_what_lies_beside_its_memory():
    pytest.importorskip("minillm._kernels._cpu", reason="the compiled kernels are not built")
    done = subprocess.run(
        [sys.executable, __file__],
        env={**os.environ, "MINILLM_GUARD": "1", "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


if __name__ == "__main__":
    kernels_of_several_sizes()
