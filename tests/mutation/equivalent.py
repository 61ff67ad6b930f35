"""Mutants that no test can see, each with the reason.  Few: most of what looks like one is not."""

# (file, a part of what the mutant is called, why no test can see it)
EQUIVALENT: list[tuple[str, str, str]] = []


def is_equivalent(mutant) -> bool:
    return any(
        mutant.path.as_posix() == path and part in mutant.what for path, part, _ in EQUIVALENT
    )
