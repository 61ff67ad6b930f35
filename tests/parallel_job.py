"""A job for test_parallel.py: every kind of task is trained for some steps, in float64.

    mpiexec -n 2 python parallel_job.py FOLDER [all]

Without ``all``, only some are.  Each rank writes FOLDER/RANK.json: of each task the losses, the
norms of the gradients, the number of tokens and a digest of the weights at the end; and what it has
seen of some other things.  If FOLDER has the checkpoint of another job, that is resumed.
"""

import hashlib
import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
from memory_store import Memory

from minillm.data import Minibatches, RandomWindows, Sequences
from minillm.data.masking import Masking, Passages
from minillm.models.bert import BERT, BERTConfig
from minillm.models.classifier import Classifier, ClassifierConfig
from minillm.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from minillm.models.gpt import GPT, GPTConfig
from minillm.models.image_classifier import ImageClassifier, ImageClassifierConfig
from minillm.models.language_model import LanguageModel, LanguageModelConfig
from minillm.models.pointer_generator import PointerGenerator, PointerGeneratorConfig
from minillm.models.question_answering import Reader, ReaderConfig
from minillm.mpi import ranks
from minillm.runs.folder import RunFolder
from minillm.training import SGD, Adam, AdamW, Options, restore_checkpoint, train
from minillm.training.language_model import LanguageModelTask, WindowTask
from minillm.training.masked import MaskedTask
from minillm.training.minibatches import ClassificationTask, MinibatchTask
from minillm.training.parallel import own_generator
from minillm.training.trained import Trained

V = 11
STEPS, STOP = 12, 6


def ids(seed, count=300):
    return np.random.default_rng(seed).integers(3, V, count)


def new(Model, Config, *sizes, **options):
    return Model(Config(*sizes, **options), np.random.default_rng(0), dtype=np.float64)


# Each maker of a task takes the rows of a batch, and the most tokens in a row.


def language_model(batch=5, longest=7, dropout=0.0):
    sizes = {"embedding": 5, "hidden": 6, "layers": 2, "dropout": dropout}
    model = new(LanguageModel, LanguageModelConfig, V, **sizes)
    return LanguageModelTask(model, ids(1), ids(2, 60), batch, longest)


def gpt(batch=5, longest=6, dropout=0.0):
    sizes = {"context": max(2, longest), "layers": 1, "heads": 2, "width": 6}
    model = new(GPT, GPTConfig, V, **sizes, dropout=dropout)
    return WindowTask(model, RandomWindows(ids(1), batch, longest, seed=3), ids(2, 60), batch, 40)


def bert(batch=5, longest=37):
    """Passages that are long enough for the short ones to have fewer hidden tokens."""
    context = max(2, longest) + 2
    sizes = {"context": context, "layers": 1, "heads": 2, "width": 6}
    model = new(BERT, BERTConfig, V, **sizes)
    masking = Masking(2, np.arange(V) > 2)
    passages = Passages(ids(1), batch, context, 0, 1, seed=3)
    validation = [masking.hide(passages.next(), np.random.default_rng(0))]
    return MaskedTask(model, passages, masking, validation)


def texts(seed, least=1, longest=8, count=23):
    rng = np.random.default_rng(seed)
    lengths = (rng.integers(least, max(least, longest) + 1) for _ in range(count))
    return Sequences(rng.integers(3, V, length) for length in lengths)


def labels(seed, classes, count=23):
    return np.random.default_rng(seed).integers(0, classes, count)


def minibatches(*columns, batch=5):
    return [Minibatches(columns, batch, 3)] * 2


def pairs(batch, longest):
    return minibatches(texts(1, longest=longest), texts(2, longest=longest), batch=batch)


def encoder_decoder(batch=5, longest=8):
    sizes = {"embedding": 4, "hidden": 5, "dropout": 0.0}
    model = new(EncoderDecoder, EncoderDecoderConfig, V, V, **sizes)
    return MinibatchTask(model, *pairs(batch, longest), lambda b: int(b[3].sum()))


def pointer_generator(batch=5, longest=8):
    sizes = {"embedding": 4, "hidden": 5, "dropout": 0.0, "coverage": 0.5}
    model = new(PointerGenerator, PointerGeneratorConfig, V, **sizes)
    return MinibatchTask(model, *pairs(batch, longest), lambda b: int(b[3].sum()))


def classifier(batch=5, longest=8):
    sizes = {"embedding": 4, "hidden": 5, "dropout": 0.0}
    model = new(Classifier, ClassifierConfig, V, 3, **sizes)
    weights = np.array([0.5, 1.0, 2.5])
    columns = texts(1, longest=longest), labels(2, 3)
    return ClassificationTask(model, *minibatches(*columns, batch=batch), class_weights=weights)


def image_classifier(batch=4, longest=None):
    """Four rows to a batch, and three in the last one."""
    model = new(ImageClassifier, ImageClassifierConfig, 6, 3, hidden=5, dropout=0.0)
    images = np.random.default_rng(3).random((23, 6))
    return ClassificationTask(model, *minibatches(images, labels(2, 3), batch=batch))


def reader(batch=5, longest=8):
    model = new(Reader, ReaderConfig, V, context=24, width=4, dropout=0.0)
    framed = Sequences([0, *text, 1] for text in map(list, texts(1, 3, longest)))
    asked = Sequences([*text, 1] for text in map(list, texts(2, longest=longest)))
    columns = asked, framed, np.stack([labels(4, 2), labels(5, 2)], axis=1) + 1
    return ClassificationTask(model, *minibatches(*columns, batch=batch))


def one_row():
    """Fewer rows than ranks."""
    return language_model(batch=1)


TASKS = [
    *(language_model, gpt, bert, encoder_decoder, pointer_generator),
    *(classifier, image_classifier, reader, one_row),
]
FEW = [language_model, bert, one_row]


def trained(task, make=AdamW, begun=None, **options):
    """Train a task, and return the results of this rank; ``begun`` is a store to resume from."""
    params, store = weights_of(task.model), Memory()
    options = Options(**{"steps": STEPS, "learning_rate": 0.02, "log_every": 1} | options)
    rng, optimiser = np.random.default_rng(7), make(params)
    start = restore_checkpoint(begun, params, optimiser, task, rng) if begun else None
    part = Trained(params)
    summary = train(params, optimiser, task, options, rng, store, start, quiet=True, trained=part)
    digest = hashlib.sha256(b"".join(p.tobytes() for p in params.values())).hexdigest()
    found = {"digest": digest, "tokens": summary.tokens, "best_loss": summary.best_loss}
    for name in ("loss", "gradient_norm"):
        found[name] = [record[name] for record in store.metrics if name in record]
    arrays, values = store.state
    found["carried"] = [a.tolist() for name, a in arrays.items() if name.startswith("task/")]
    return found | {"rng": str(values["rng"])}


def weights_of(model):
    """The weights that have gradients."""
    return model.params


def begin(folder):
    """Save a training that is stopped after STOP steps in a folder."""
    task = language_model()
    params, real = task.model.params, task.training_loss

    def training_loss(rng):
        if task.batches.position == 7 * (STOP - 1):
            os.kill(os.getpid(), signal.SIGINT)
        return real(rng)

    task.training_loss = training_loss
    options = Options(steps=STEPS, learning_rate=0.02, log_every=1)
    rng = np.random.default_rng(7)
    train(params, AdamW(params), task, options, rng, RunFolder(folder), quiet=True)


def drawn():
    """Random numbers for the dropout of two batches, and then one that all ranks have."""
    rng = np.random.default_rng(7)
    own = [list(own_generator(rng).random(3)) for _ in range(2)]
    return {"own": own, "common": rng.random()}


def all_results(folder, tasks):
    results = {make.__name__: trained(make()) for make in tasks}
    results["accumulated"] = trained(encoder_decoder(), accumulate=3)
    results["accumulated_bert"] = trained(bert(), accumulate=3)
    # The steps of Adam do not depend on the gradient's length: SGD, always clipped.
    results["clipped"] = trained(language_model(), SGD, clip=0.01)
    results["float32"] = trained(float32())
    results["dropout"] = trained(gpt(dropout=0.5), Adam)
    if RunFolder(folder).resume_path.exists():
        results["resumed"] = trained(language_model(), begun=RunFolder(folder))
    results["drawn"] = drawn()
    return results


def float32():
    task = language_model()
    for name, p in task.model.params.items():
        task.model.params[name] = p.astype(np.float32)
    return LanguageModelTask(task.model, ids(1), ids(2, 60), 5, 7)


if __name__ == "__main__":
    path = Path(sys.argv[1]) / f"{ranks().rank}.json"
    path.write_text(json.dumps(all_results(path.parent, TASKS if "all" in sys.argv else FEW)))
