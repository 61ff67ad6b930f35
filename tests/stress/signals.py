"""Kills commands at random moments, and looks whether anything was lost.

    python -m tests.stress.signals --count 1000 --seed 0 [--kinds lm ngram] [--actions overwrite]

Each try starts a training in a fork of this process, sends it SIGKILL, SIGTERM or SIGINT, and
checks: the old run or the new one is whole; what is started next cleans up; the run that is resumed
(or, where nothing had been saved, started again) equals one that was never stopped, byte for byte
but for the times in it.  An import saves its run as a training does, and an export is a single
file, whose writer tests/data/test_files.py kills.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # a fork has no threads
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse
import collections
import json
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from forked import fork, import_everything
from kind_rows import ROWS

from minillm.errors import InputError
from minillm.runs.config import read_config
from minillm.runs.folder import RunFolder
from minillm.runs.kinds.language import WritingRun
from minillm.runs.load import load

SEVERAL = ("ngram", "neural-ngram", "lm", "gpt", "bert", "word2vec", "seq2seq")
KINDS = [*SEVERAL, "classifier", "recurrent-classifier", "image-classifier"]
ACTIONS = ("train", "overwrite", "resume")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
TIMES = ("seconds", "validation_seconds")


class Failed(Exception):
    """A check that failed."""


def check(condition, *what):
    if not condition:
        raise Failed(" ".join(map(str, what)))


class Stress:
    """A folder with data, and with runs that were never stopped."""

    def __init__(self, folder, kinds):
        self.folder, self.kinds = folder, kinds
        self.missing = ["matplotlib.figure"]
        for kind in kinds:
            if ROWS[kind].data is not None:
                (folder / f"data of {kind}").write_text(ROWS[kind].data)
        self.seconds = {}
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        tempfile.tempdir = str(self.temporary)
        for kind in kinds:
            self.reference(f"old {kind}", self.train(kind, folder / f"old {kind}", "1"))
            self.reference(f"new {kind}", self.train(kind, folder / f"new {kind}", "2"))

    def train(self, kind, out, seed, *more):
        data = self.folder / f"data of {kind}" if ROWS[kind].data else "digits"
        settings = {"steps": 40, "validations": 5, "epochs": 6}  # some of them
        known = {name: settings.get(name, value) for name, value in ROWS[kind].settings.items()}
        if "steps" in known:
            known["validations"] = 5
        options = [f"--{name.replace('_', '-')}={value}" for name, value in known.items()]
        # An n-gram model has no seed.
        other = f"--k 0.{seed} --smoothing add-k" if kind == "ngram" else f"--seed {seed}"
        return ["train", kind, data, "--out", out, *options, *other.split(), *more]

    def reference(self, name, command):
        began = time.monotonic()
        status = self.wait(self.start(command))
        check(status == 0, "status", status, "of", *command, self.errors())
        self.seconds[name] = time.monotonic() - began

    def start(self, command):
        for name in ("stdout", "stderr"):
            (self.folder / name).unlink(missing_ok=True)
        streams = [os.devnull, str(self.folder / "stdout"), str(self.folder / "stderr")]
        return fork([str(part) for part in command], streams, self.missing)

    def wait(self, child):
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def errors(self):
        file = self.folder / "stderr"  # missing where the signal came before the process began
        return file.read_text()[-2000:] if file.exists() else ""

    def killed(self, command, number, seconds):
        """Starts the command, sends the signal after some seconds, and returns its status."""
        child = self.start(command)
        if int(seconds * 1e6) % 2:  # half of them: soon after the folder is held
            until, seconds = time.monotonic() + seconds, seconds % 0.1
            while not (self.folder / "out" / ".minillm-lock").exists():
                if time.monotonic() > until:
                    break
                time.sleep(0.0005)
        time.sleep(seconds)
        os.kill(child, number)
        status = self.wait(child)
        right = (0, -number) if number == signal.SIGKILL else (0, 130)
        if number == signal.SIGKILL:  # such a process cannot delete its temporary files
            for left in self.temporary.iterdir():
                shutil.rmtree(left)
        check(status in right, "status", status, "after", number.name, self.errors())
        if number != signal.SIGKILL:
            check("Traceback" not in self.errors(), self.errors())
            check("ignored" not in self.errors(), self.errors())
        return status

    def finished(self, command):
        status = self.wait(self.start(command))
        check(status == 0, "status", status, "of", *command, self.errors())
        if command[:2] in (["train", "ngram"], ["train", "word2vec"]):
            check(not list(self.temporary.iterdir()), "left:", *self.temporary.iterdir())

    def one(self, rng, kind, action, number):
        """One try; True if the signal came in time."""
        # Most of the time of a training is its picture: one in eight draws it.
        self.missing = rng.choice([[], *[["matplotlib.figure"]] * 7])
        out = self.folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.unlink(missing_ok=True)
        old, new = self.folder / f"old {kind}", self.folder / f"new {kind}"
        if action == "overwrite":
            shutil.copytree(old, out)
            (out / "notes").write_text("mine")
        often = ["--checkpoint-seconds", rng.choice(["0", "0.02", "30"])] * (kind != "ngram")
        overwrite = ["--overwrite"] if action == "overwrite" else []
        command = self.train(kind, out, "2", *often, *overwrite)
        status = self.killed(command, number, self.moment(rng, new.name))
        self.go_on(rng, kind, action, command, old, new, out)
        return status != 0

    def moment(self, rng, name):
        return rng.uniform(0.0, 1.1 * self.seconds[name])

    def go_on(self, rng, kind, action, command, old, new, out):
        """Checks what is there, and goes on from it to the end."""
        resume = ["train", kind, "--out", out, "--resume", "--checkpoint-seconds", "30"]
        overwrites = "--overwrite" in command
        can_resume = kind != "ngram"
        kills = rng.randrange(4) if action == "resume" else 0
        while True:
            found = self.found(out, old, overwrites)
            if found == "new" and can_resume and self.unfinished(out):
                if not kills:
                    self.finished(resume)
                    break
                kills -= 1
                number = rng.choice(SIGNALS)
                self.killed([*resume[:-1], "0"], number, self.moment(rng, new.name))
            elif found == "new":
                break
            else:
                self.finished(command)
                break
        check(not overwrites or (out / "notes").read_text() == "mine", "the notes are lost")
        if self.hidden(out):  # the run is whole: the next start cleans up
            self.finished([*command, *([] if overwrites else ["--overwrite"])])
        self.same(out, new)
        check(not self.hidden(out), "left behind:", self.hidden(out))

    def found(self, out, old, overwrites):
        """Which run is there, whole: "old", "new" or None."""
        folder = RunFolder(out)
        folder.settle()
        if not (out / "config.json").exists():
            check(not overwrites, "the old run is lost")
            check(not folder.holds_run(), "pieces of a run:", *out.rglob("*"))
            return None
        if self.comparable(out / "config.json") == self.comparable(old / "config.json"):
            for path in old.iterdir():
                check((out / path.name).read_bytes() == path.read_bytes(), path.name, "is lost")
            return "old"
        read_config(folder)
        if (out / "resume.safetensors").exists():
            folder.load_resume()
        try:
            load(out)
        except InputError as error:  # a new run that replaces none, before its first checkpoint
            check("first validation" in str(error) and not overwrites, error)
        return "new"

    def unfinished(self, out):
        progress = RunFolder(out).load_resume()[1]["progress"]
        config = json.loads((out / "config.json").read_text())
        if "step" in progress:
            return progress["step"] < config["training"]["steps"]
        vocabulary = json.loads((out / "vocabulary.json").read_text())
        return progress["words"] < config["training"]["epochs"] * sum(vocabulary["counts"])

    def hidden(self, out):
        return [path.name for path in out.rglob(".*")]

    def comparable(self, path):
        """A file's contents without times and places."""
        if path.name == "config.json":
            config = json.loads(path.read_text())
            config["training"].pop("checkpoint_seconds", None)
            return config
        if path.name == "metrics.jsonl":
            records = [json.loads(line) for line in path.read_text().splitlines()]
            # A signal after the last step may come before the comparison, as before the picture.
            losses = [record for record in records if "ngram_loss" not in record]
            return [{k: v for k, v in r.items() if k not in TIMES} for r in losses]
        if path.name == "resume.safetensors":
            arrays, values = RunFolder(path.parent).load_resume()
            values["progress"] = {k: v for k, v in values["progress"].items() if k not in TIMES}
            return {name: a.tobytes() for name, a in arrays.items()}, values
        return path.read_bytes()

    def same(self, out, new):
        """The run equals one that was never stopped; its picture and comparison may be missing."""
        names = {path.name for path in new.iterdir()}
        found = {path.name for path in out.iterdir()} - {"notes"}
        check(found | {"loss.png"} == names | {"loss.png"}, "files:", *found)
        for name in found & names:
            one, other = self.comparable(out / name), self.comparable(new / name)
            check(one == other, name, "is another than that of a run that was never stopped")


def short_samples():
    """Samples of 20 tokens, not 500, so that they end soon after the training."""
    prompt, _, *others = WritingRun.write.__defaults__
    WritingRun.write.__defaults__ = (prompt, 20, *others)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--actions", nargs="+", choices=ACTIONS, default=ACTIONS)
    args = parser.parse_args()
    import_everything()
    short_samples()
    counts, failures = collections.Counter(), 0
    with tempfile.TemporaryDirectory() as folder:
        stress = Stress(Path(folder), args.kinds)
        began = time.monotonic()
        for k in range(args.count):
            rng = random.Random(f"{args.seed} {k}")
            number, kind, action = map(rng.choice, (SIGNALS, args.kinds, args.actions))
            if action == "resume" and kind == "ngram":
                action = "overwrite"
            try:
                in_time = stress.one(rng, kind, action, number)
                counts[kind, action, number.name] += in_time
                counts["finished before its signal"] += not in_time
            except Exception:
                failures += 1
                print(f"try {k}: {kind}, {action}, {number.name}", file=sys.stderr)
                traceback.print_exc()
            if (k + 1) % 25 == 0:
                print(f"{k + 1} tries, {failures} failed", file=sys.stderr, flush=True)
        seconds = time.monotonic() - began
    for key, count in sorted(counts.items(), key=str):
        print(f"{count:5}  {key if isinstance(key, str) else ', '.join(key)}")
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"{args.count} tries in {seconds:.0f} s, {usage.ru_utime + usage.ru_stime:.0f} s of them "
        f"on a processor; {failures} failed"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
