"""The tests that can kill the mutants of a file: the nearest first, then wider ones."""

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from minillm.ops.gradient_cases import CASES

PYTHON_FOLDERS = ("minillm/ops", "minillm/layers", "minillm/models")
TRAINING = [
    Path(f"minillm/training/{name}.py")
    for name in ("optimisers", "muon", "lora", "trained", "packed")
]
QUANTISED = [
    Path(f"minillm/quantised/{name}.py")
    for name in ("planes", "codes", "panels", "matrix", "low_rank")
]
NEAR_OF_PAGE = {  # where it is not the test of the page's own name
    **{
        f"minillm/layers/{name}.py": "tests/layers/test_every_layer.py"
        for name in ("block", "dense", "embedding", "heads", "norms")
    },
    "minillm/models/gpt.py": "tests/models/test_causal.py",
    "minillm/training/muon.py": "tests/training/test_optimisers.py",
    "minillm/quantised/planes.py": "tests/quantised/test_matrix.py",
    "minillm/quantised/codes.py": "tests/quantised/test_matrix.py",
    "minillm/quantised/panels.py": "tests/quantised/test_matrix.py",
    "minillm/quantised/low_rank.py": "tests/layers/test_weights.py",
}
MODEL_TABLE = "tests/model_table.py"
EVERY_MODEL = "tests/models/test_every_model.py", "tests/models/test_reading.py"
TESTED_WITH = {  # the name of the tests of an op's page, where it is another
    "attention_flow": "attention",
    "mask": "attention",
    "recurrence": "properties",
    "scaled_dot_product_attention": "attention",
}
KERNELS = Path("minillm/_kernels")
SHARED = {"_cpu", "_pool", "_threads"}  # no twins: what a CPU has, memory and threads


@dataclass(frozen=True)
class Witness:
    """Tests, and the kernels that they run on: a compiled topic, or (None) NumPy."""

    topic: str | None
    tests: tuple[str, ...]
    chosen: str = ""  # as for pytest's -k


KERNEL_TESTS = {
    name: f"tests/kernels/test_{name}.py"
    for name in ("twins", "bfloat16", "maths", "scaled_attention", "step", "guards")
}
TWINS = KERNEL_TESTS["twins"], KERNEL_TESTS["bfloat16"]
NEAR_OF_TOPIC: dict[str, tuple[tuple[str, ...], str]] = {  # tests, as chosen by pytest's -k
    "activations": ((*TWINS, KERNEL_TESTS["maths"]), "gelu or erf or swiglu or silu or softplus"),
    "adam": (TWINS, "adam"),
    "attention": ((*TWINS, KERNEL_TESTS["scaled_attention"]), "attention"),
    "bpe": (("tests/text/test_bpe.py",), ""),
    "cross_entropy": ((*TWINS, "tests/decoding/test_beam.py"), "entropy or probab or translating"),
    "embedding": (TWINS, "embedding"),
    "matmul": (TWINS, "matmul or product or few_rows or sums"),
    "ngram": (("tests/kernels/test_ngram.py",), ""),
    "normalisation": (TWINS, "norm"),
    # a mutant is built for one instruction set; the test that is left out compares two
    "quantised": (("tests/kernels/test_quantised.py",), "not without_the_instruction"),
    "recurrent": (
        (*TWINS, *(KERNEL_TESTS[name] for name in ("maths", "step"))),
        "stack or not (test_step.py or matmul or embedding or entropy or gelu or swiglu or silu or "
        "rotary or norm or attention or adam or linear_recurrence or scan or delta or mamba)",
    ),
    "rotary": (TWINS, "rotary"),
    "step": ((KERNEL_TESTS["step"],), "not stack"),
    "scan": (
        (KERNEL_TESTS["twins"], "tests/kernels/test_scans.py"),
        "test_scans.py or linear_recurrence or scan or delta or mamba",
    ),
    "word2vec": (
        ("tests/models/test_word2vec.py",),
        "twins or step or rows or pieces or mean or several",
    ),
}
WIDE_OF_TOPIC = {
    "adam": ("tests/training/test_optimisers.py",),
    "bpe": ("tests/text",),
    "ngram": ("tests/models/test_ngram.py",),
    "quantised": ("tests/quantised/test_matrix.py", KERNEL_TESTS["step"]),
    "step": ("tests/models/test_causal.py", "tests/models/test_transformer.py"),
    "word2vec": ("tests/models/test_word2vec.py", KERNEL_TESTS["guards"]),
}
ALL_KERNELS = (*KERNEL_TESTS.values(), "tests/ops")


def files(root: Path) -> list[Path]:
    """Every file that has mutants: the NumPy pages, then the kernels."""
    python = [path for folder in PYTHON_FOLDERS for path in sorted((root / folder).glob("*.py"))]
    compiled = [path for end in ("h", "pxi", "pyx") for path in (root / KERNELS).glob(f"*.{end}")]
    compiled = sorted(
        path for path in compiled if path.stem not in SHARED and includers(root, path)
    )
    return (
        [path.relative_to(root) for path in python]
        + TRAINING
        + QUANTISED
        + [path.relative_to(root) for path in compiled]
    )


def topics(root: Path) -> list[str]:
    return sorted(path.stem for path in (root / KERNELS).glob("[a-z]*.pyx"))


def includers(root: Path, path: Path) -> list[str]:
    """The topics that are compiled with this file, the smallest first."""
    compiled = [t for t in topics(root) if path.name in parts(root / KERNELS / f"{t}.pyx")]
    return sorted(compiled, key=lambda t: (t in ("attention", "decoder", "recurrent"), t))


@cache
def parts(path: Path) -> set[str]:
    """The names of this file and of all that is compiled with it."""
    names = re.findall(r'"(\w+\.(?:pxi|h))"', path.read_text())
    beside = [path.with_name(name) for name in names]
    return {path.name}.union(*(parts(file) for file in beside if file.exists()))


def witnesses(root: Path, path: Path) -> tuple[list[Witness], list[Witness]]:
    """The near ones, and the wide ones for the mutants that survive those."""
    if path.suffix != ".py":
        compiled = includers(root, path)
        near = [Witness(t, *NEAR_OF_TOPIC[t]) for t in compiled]
        return near, [Witness(t, WIDE_OF_TOPIC.get(t, ALL_KERNELS)) for t in compiled]
    room = path.parent.name
    wide = {
        "layers": ("tests/layers", "tests/models"),
        "models": ("tests/models", "tests/training/test_word2vec.py"),
        "runs": ("tests/runs", "tests/cli", "tests/test_door.py"),
        "kinds": ("tests/runs", "tests/cli", "tests/test_door.py"),
        "training": ("tests/training", "tests/runs"),
        "decoding": ("tests/decoding", KERNEL_TESTS["step"], "tests/serving"),
    }
    own = NEAR_OF_PAGE.get(path.as_posix(), f"tests/{room}/test_{path.stem}.py")
    near = (own,) if (root / own).exists() else wide.get(room, (f"tests/{room}",))[:1]
    if room == "ops":
        return near_of_op(root, path), [Witness(None, ("tests/ops", "tests/layers"))]
    found = [Witness(None, near)]
    if f"minillm.models.{path.stem} import" in (root / MODEL_TABLE).read_text():
        found = found if (root / own).exists() else []
        found.append(Witness(None, EVERY_MODEL, path.stem))  # its entries of the table
    examples = Witness(None, ("tests/test_sources.py",), f"examples and {path.stem}")
    return found, [examples, Witness(None, wide.get(room, (f"tests/{room}",)))]


def near_of_op(root: Path, path: Path) -> list[Witness]:
    """The gradient cases of a page's ops; all cases if other pages use it."""
    gradients = "tests/ops/test_gradients.py"
    own = f"tests/ops/test_{TESTED_WITH.get(path.stem, path.stem)}.py"
    others = [p for p in (root / path).parent.glob("*.py") if p.name != "__init__.py"]
    cases = defined_in(root / path) & CASES.keys()
    if cases and not any(f"ops.{path.stem} import" in other.read_text() for other in others):
        return [Witness(None, (gradients,), " or ".join(sorted(cases)))]
    return [Witness(None, (gradients, own) if (root / own).exists() else (gradients,))]


def defined_in(path: Path) -> set[str]:
    body = ast.parse(path.read_text()).body
    return {node.name for node in body if isinstance(node, ast.FunctionDef)}
