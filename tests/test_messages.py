"""Rules for all messages and documents."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ERRORS = {"InputError", "ValueError", "TypeError"}


def test_nothing_names_a_distribution_of_the_package_index():
    """There, minillm is another project: ours is minillm-book."""
    files = [*ROOT.glob("minillm/**/*.py"), *ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    assert len(files) > 50
    wrong = re.compile(r"install\s+(-\S+\s+)*['\"]?minillm\b(?!-book)")
    found = [str(path) for path in files if wrong.search(path.read_text(encoding="utf-8"))]
    assert found == []


# A message without "expected" and "found" matches one of these, each with its reason.
EXCEPTIONS = {
    "a library is missing": r"needs? the packages? ",
    "the system or a library says what it found": r"cannot be read: |is damaged: |: \{\}$",
    "something is absent": r"\b(is missing|(has|have|is|are) no(ne)?)\b|is not among the",
    "it says what was found in other words": r"expected .*(, but |, because |, as |: )",
    "the user chooses how to go on": r": (give|raise) ",
}

# The beginnings of other messages.  These name two facts that do not fit, or what cannot be done:
FACTS = """
among: a run of {} compares words, not texts
format: a run of {} is exported as {}, found {}
{}: the run in {} has {}, found {}: it cannot change when a run is resumed
FILE: images are measured on the built-in set only (part)
a chat needs a tokenizer of byte pairs, which has special tokens
its sizes do not agree with the tensors stored
similar: a run of {} compares two texts, or one with --among FILE
the model's logits are {}: its weights are damaged, or its training diverged
{} is {}: gradients are checked in float64
{} needs rng, to draw fresh parameters, or params
{}: a run of {} takes its data as {}
{}: config.json says vocab_size {}, but the tokenizer has {} tokens
{}: it does not exist yet: the run's first validation writes it
{}: it has been cut short since it was opened
{}: it has {} under two names
{}: it is in use by {}
{}: its weights are quantised, and cannot be trained: train additions to them, with lora_rank
{}: only a run of llama has quantised weights
{}: the model knows {} tokens, but {} has {}
{}: the word {} cannot be made of the {} pieces that the model knows
{}: there is nothing to draw yet
{}: this model was imported without its head for masked words
{}: {} changed since the run was started
{}: {} has {} rows, but the tokenizer has {} tokens
"""
# In these, what was found is an absent argument, or long, or stands in front:
PLACES = """
pattern: expected a FILE of conversations with it
first.{}: expected offsets that ascend from 0 to {}
out: expected a folder, which all ranks share
resume: expected out, the folder of the run to resume
standard input: expected files, which every rank can read
started as one of {} processes, but MPI ({}) knows of one: expected the mpiexec that belongs to
word.{}: expected ids from 0 to {}
word.{}: expected the words of each context, ascending
{}: expected init, the run that its additions are for
{}: expected FILE.py:NAME, the name of a function or of a class
{}: expected a folder of shards alone, or FILEs of text
{}: starts: expected to ascend from 0 to {}
{}[{}]: expected a C-contiguous array that can be changed
"""
LISTED = (*FACTS.strip().split("\n"), *PLACES.strip().split("\n"))


def raised(path):
    """The messages of raised errors, with {} for what is computed; unless all of it is."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and node.args and ast.unparse(node.func) in ERRORS:
            text = ": ".join(map(literal, reversed(node.args)))  # InputError(message, where)
            if re.search(r"\w \w", text):
                yield text


def literal(text):
    parts = text.values if isinstance(text, ast.JoinedStr) else [text]
    return "".join(str(p.value) if isinstance(p, ast.Constant) else "{}" for p in parts)


def test_an_error_says_what_was_expected_and_what_was_found():
    """One phrase for one thing: not "must be"."""
    messages = [text for path in ROOT.glob("minillm/**/*.py") for text in raised(path)]
    assert len(messages) > 300
    assert [text for text in messages if "must" in text.split()] == []
    others = [text for text in messages if not re.search(r"expected\b.*\bfound\b", text)]
    unlike = [text for text in others if not re.search("|".join(EXCEPTIONS.values()), text)]
    assert [text for text in unlike if not text.startswith(LISTED)] == []
