"""Programs that verbs of the same names run from a checkout of the source.

    minillm milestones    all language models on one text, each for the same time
    minillm curve         the accuracy of classifiers by the number of labels
    minillm plan          time and memory of training a GPT or a Llama, in advance

An installed package has the verbs alone, which say where the programs are.
"""
