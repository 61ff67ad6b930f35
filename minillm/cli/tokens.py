"""Show the tokens of a text."""

from pathlib import Path

from minillm.cli.arguments import argument
from minillm.quantised.gguf import is_gguf
from minillm.text import load_tokenizer
from minillm.text.vocabulary import visible

SOURCE = "vocabulary.source.json"  # of an encoder-decoder


def tokens(
    folder: str = argument(
        "a run with a vocabulary, a GGUF file, or a tokenizer's folder or file", "DIR"
    ),
    text: str = argument("the text to split", "TEXT"),
) -> int:
    r"""Show the tokens of a text.

    Print a line for each token of TEXT: its id and its piece of the text.  A space is shown as ␣, a
    line's end as \n.

    examples:
      minillm tokens runs/gpt "a few words"
      minillm tokens gpt2 "a few words"
            with the tokenizer in a folder of Hugging Face
      minillm tokens runs/translator/vocabulary.target.json "quelques mots"
            an encoder-decoder has two vocabularies; its folder means the source vocabulary
    """
    source = Path(folder) / SOURCE
    if is_gguf(folder):
        from minillm.runs.load import load  # 100 ms, which only such a file needs

        tokenizer = load(folder).tokenizer
    else:
        tokenizer = load_tokenizer(source if source.exists() else folder)
    ids = tokenizer.encode(text, "TEXT").tolist()
    width = len(str(len(tokenizer)))
    for token, piece in zip(ids, tokenizer.split(text), strict=True):
        unknown = "  (unknown)" if token == tokenizer.unknown else ""
        print(f"{token:{width}}  {visible(piece)}{unknown}")
    return 0
