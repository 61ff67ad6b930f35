"""Programs that verbs of the same names run from a checkout of the source.

    minillm plan          time and memory of training a GPT or a Llama, in advance

An installed package has the verbs alone, which say where the programs are.
"""
