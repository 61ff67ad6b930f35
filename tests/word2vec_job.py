"""A small training of word2vec, for the tests: and by several ranks, that of each of them.

    mpiexec -n 2 python tests/word2vec_job.py FILE

trains twice, in one go and stopped by signals again and again.  Both must end with the same
vectors, which rank 0 writes into FILE, with the losses.
"""

import atexit
import signal
import sys
from contextlib import ExitStack
from types import SimpleNamespace

import numpy as np
from memory_store import Memory

from minillm.data.streams import Spill
from minillm.models.word2vec import Word2Vec, Word2VecConfig
from minillm.mpi import ranks
from minillm.training import word2vec, word2vec_corpus
from minillm.training.word2vec import Progress, train_word2vec
from minillm.training.word2vec_corpus import Corpus, WordCounts

V, SEED = 20, 3
SETTINGS = SimpleNamespace(
    epochs=3,
    learning_rate=0.1,
    final_rate=1e-3,
    seed=SEED,
    threads=1,
    checkpoint_seconds=1e9,
)


class Lines:
    """A text of sentences, as numbers, in blocks."""

    def __init__(self, sentences, blocks=2):
        self.parts = np.array_split(np.array(sentences, object), blocks)

    def blocks(self):
        for part in self.parts:
            yield "".join(" ".join(map(str, sentence)) + "\n" for sentence in part)


WORDS = WordCounts([str(word) for word in range(V)], np.arange(V, 0, -1), True)


OPENED = ExitStack()
SPILL = OPENED.enter_context(Spill())
atexit.register(OPENED.close)


def text(seed=0, count=200):
    rng = np.random.default_rng(seed)
    sentences = [rng.integers(0, V, n).tolist() for n in rng.integers(0, 12, count)]
    return Lines([*sentences, [0]])


def corpus_of(lines, rank=0, size=1):
    return Corpus(WORDS, lines, SPILL, rank, size)


def new_model():
    return Word2Vec(Word2VecConfig(V, 6), WORDS.counts, np.random.default_rng(SEED))


def main(path):
    word2vec_corpus.SHARED_WORDS, word2vec.AVERAGE_EVERY = 50, 100
    job, meetings, meet, learn = ranks(), [], word2vec._meet, Word2Vec.learn

    def checked_meet(model, *arguments):
        told = meet(model, *arguments)
        replicas = job.gather([array.tobytes() for array in model.params.values()])
        assert replicas == [replicas[0]] * job.size
        decided = job.gather(told)
        assert decided == [decided[0]] * job.size
        meetings.append(told)
        return told

    word2vec._meet = checked_meet
    corpus, whole, store = corpus_of(text(), job.rank, job.size), new_model(), Memory()
    assert train_word2vec(whole, corpus, SETTINGS, store, Progress(), quiet=True)
    uninterrupted, meetings[:] = len(meetings), []
    calls = []

    def interrupted_learn(*arguments, **options):
        calls.append(None)
        if job.rank == job.size - 1 and len(calls) % 7 == 0:  # a signal to one of them stops all
            signal.raise_signal(signal.SIGINT)
        return learn(*arguments, **options)

    Word2Vec.learn = interrupted_learn
    stopped, progress, sessions, again = new_model(), Progress(), 0, Memory()
    while not train_word2vec(stopped, corpus, SETTINGS, again, progress, quiet=True):
        arrays, values = again.state
        stopped, progress = new_model(), Progress(**values["progress"])
        for name, array in stopped.params.items():
            array[:] = arrays[name]
        sessions += 1
    assert sessions > 2
    assert len(meetings) == uninterrupted > 5
    assert [r["loss"] for r in store.metrics] == [r["loss"] for r in again.metrics]
    for name, array in whole.params.items():
        np.testing.assert_array_equal(stopped.params[name], array)
    if job.rank == 0:
        np.savez(path, **whole.params, losses=[record["loss"] for record in store.metrics])


if __name__ == "__main__":
    main(sys.argv[1])
