"""Studies: programs with a command line like the verbs of minillm.

python -m benchmarks.studies.milestones    all language models on one text, for the same time
python -m benchmarks.studies.curve         the accuracy of classifiers by the number of labels
python -m benchmarks.studies.plan          time and memory of training a GPT
"""
