"""Plot the accuracy of classifiers by the number of labels."""

from minillm.cli import studies

add_arguments, run = studies.verb("curve")
