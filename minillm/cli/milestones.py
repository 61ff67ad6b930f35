"""Train the history of language models on one text, each for the same time."""

from minillm.cli import studies

add_arguments, run = studies.verb("milestones")
