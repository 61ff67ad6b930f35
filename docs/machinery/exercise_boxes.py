"""Add to the box of each exercise what its file says: the function, its shapes, the level.

A chapter contains the title, one sentence and the command.  The rest comes from
``minillm/exercises``, so that the box and the file agree.
"""

import re

from notebooks import EXERCISE, FENCE

from minillm.exercises import exercises

LEVELS = ("", "★☆☆", "★★☆", "★★★")


def with_statements(text: str) -> str:
    """The text of a chapter, with a statement in the box of each exercise."""
    return FENCE.sub(_box, text)


def _box(match: re.Match) -> str:
    named = EXERCISE.search(match["body"]) if match["name"] == "exercise" else None
    if not named:
        return match[0]
    exercise = exercises()[named[1]]
    return (
        f"`````{{exercise}} {match['argument']}\n{match['body']}\n"
        f"{LEVELS[exercise.level]} about {exercise.minutes} minutes, in "
        f"`exercises/{exercise.file}`:\n\n"
        f"```python\n{exercise.statement}\n```\n`````"
    )


def setup(app):
    """Change each source before it is parsed."""

    def read(app, name, source):
        source[0] = with_statements(source[0])

    app.connect("source-read", read)
    return {"parallel_read_safe": True}
