"""Kernels in several Python threads at once, on the same inputs, as when threads share a model.

Exits with 1 where a result has other bits than that of one thread.  test_free_threading.py runs it,
and `make thread` under the thread sanitizer.
"""

import hashlib
import sys
import threading
from types import SimpleNamespace

import numpy as np
from twin_cases import CASES as CASES_OF_TWINS

from minillm import use_threads
from minillm._kernels import ORIGINALS, _threads, select_kernels
from minillm.decoding import Reader
from minillm.models.gpt import GPT, GPTConfig
from minillm.models.word2vec import Word2Vec, Word2VecConfig
from minillm.text import byte_pairs

rng = np.random.default_rng(0)


def kernel(name, *sizes):
    """A function that returns what the kernels of a case of the twins do, on the same arguments."""
    calls = list(CASES_OF_TWINS[name].calls(SimpleNamespace(**ORIGINALS), np.float32, sizes))

    def run():
        found = [getattr(select_kernels("cython"), call)(*given) for call, given, _ in calls]
        return [
            a for outputs in found for a in (outputs if isinstance(outputs, tuple) else [outputs])
        ]

    return run


V, IDS = 300, rng.integers(0, 300, (40, 90))
READER = Reader(GPT(GPTConfig(vocabulary=V, context=16, layers=2, heads=2, width=160), rng))
TOKENIZER = byte_pairs.train(["she sells sea shells by the sea shore"], 280)
WORDS = rng.integers(0, V, 2000)


def decode():
    logits, cache = READER.read(IDS[:2, :3], READER.zero_state(2))
    for t in range(3, 8):
        logits, cache = READER.read(IDS[:2, t : t + 1], cache)
    return logits, cache.keys[0]


def word2vec():
    config = Word2VecConfig(vocabulary=V, dimension=20)
    model = Word2Vec(config, np.arange(V, 0, -1), np.random.default_rng(0))
    losses = model.learn(WORDS, np.arange(0, 2001, 20), np.full(100, 0.05))
    return *model.params.values(), *losses


def bytes_in_pairs():
    learnt = byte_pairs.train(["sea shells, sea shores and sea \N{SPIRAL SHELL}"] * 3, 275)
    text = "she sells shells " * 50 + "\N{LATIN SMALL LETTER E WITH ACUTE}"
    return TOKENIZER.encode(text), learnt.encode(text)


# Most take several threads of the team, and blocks of the pool.
CASES = [
    kernel("matmul", 150, 300, 200, (False, False, True)),
    kernel("lstm over floats", 6, 9, 24, 40, False),
    kernel("additive_attention", 4, 50, 50, 16, 16),
    kernel("embedding", 3600, V, 64),
    kernel("layer_norm", 900, 70),
    kernel("gelu", 40_000),
    decode,
    word2vec,
    bytes_in_pairs,
]


def bits(case):
    digest = hashlib.sha256()
    for result in case():
        digest.update(np.ascontiguousarray(result))
    return digest.digest()


def main(rounds, python_threads=4):
    found = [[] for _ in CASES]
    ready = threading.Barrier(python_threads)

    def run(me):
        with use_threads(1 + me % 3):
            ready.wait()  # so that even the first calls come at the same time
            order = np.random.default_rng(me).permuted(list(range(len(CASES))) * rounds)
            for place in order.tolist():
                found[place].append(bits(CASES[place]))

    _threads.always_all(True)
    threads = [threading.Thread(target=run, args=[me]) for me in range(python_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with use_threads(1):
        for case, results in zip(CASES, found, strict=True):
            assert results, case
            assert set(results) == {bits(case)}, f"{case}: other bits"
    assert sum(map(len, found)) == rounds * len(CASES) * python_threads, "a thread has failed"


if __name__ == "__main__":
    main(int(sys.argv[1]))
