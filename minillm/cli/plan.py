"""Plan the training of a GPT or a Llama: memory, and hours on 1 to 1,024 ranks."""

from minillm.cli import studies

add_arguments, run = studies.verb("plan")
