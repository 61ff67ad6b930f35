"""Texts and options that make runs of a fraction of a second."""

import json

TEXT = "the cat sat on the mat and the dog sat on the log.\n" * 60
LM = ["--hidden", "12", "--embedding", "6", "--batch", "4", "--window", "8"]
GPT = ["--width", "8", "--heads", "2", "--layers", "2", "--context", "12", "--batch", "4"]
BERT = [*GPT, "--vocabulary", "60"]
WORD2VEC = ["--dimension", "4", "--epochs", "1", "--minimum-count", "1"]
WILD = ["--optimiser", "sgd", "--learning-rate", "1e38", "--clip", "1e38", "--warmup", "0"]


def metrics(folder):
    """The lines of a run's metrics, without the times."""
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


def contents(folder):
    """The bytes of each file in a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
