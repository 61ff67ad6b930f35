"""The measures of summaries: against references, against their sources, and extracts beside.

Sentences of the text itself cost no training.  So a model is worth its training only if it is
better than the first sentence and than the one that TextRank chooses.  The oracle, which knows the
references, chooses the best sentence: a model above it does what no extract of a sentence can do.
"""

from collections.abc import Callable, Mapping, Sequence

from minillm import metrics
from minillm.models.extractive import lead, oracle, textrank
from minillm.runs.kind import Results
from minillm.summary_metrics import measure_summaries

SCALE = "stemmed, 0 to 1; of several references, the best"


def summary_results(outputs: Sequence[str], sources: Sequence[str]) -> Results:
    """The measures of outputs against their sources; beside them, how ROUGE is computed."""
    rouge = {} if "rouge" in metrics.missing_packages() else {"rouge": SCALE}
    return rouge | measure_summaries(outputs, sources)


def extract_results(sources: Sequence[str], references: Sequence[Sequence[str]]) -> Results:
    """ROUGE of the first sentence, of the one by TextRank, and of the best one.

    Nothing without the package that measures ROUGE.
    """
    if "rouge" in metrics.missing_packages():
        return {}
    score = metrics.rouge_scores()

    def best(text: str, known: Sequence[str]) -> list[str]:
        return oracle(text, known, lambda output, known: sum(score(output, known).values()))

    choices: Mapping[str, Callable[[str, Sequence[str]], list[str]]] = {
        "lead": lambda text, known: lead(text),
        "textrank": lambda text, known: textrank(text),
        "oracle": best,
    }
    results: Results = {}
    for name, choose in choices.items():
        texts = zip(sources, references, strict=True)
        extracts = [" ".join(choose(text, known)) for text, known in texts]
        scores = metrics.rouge(extracts, references)
        results |= {f"{name}_{kind}": value for kind, value in scores.items()}
    return results
