# ruff: noqa: RUF001
"""Makes gpt2_vectors.json: hard texts, their ids by GPT-2, and the merges that they need.

    python tests/text/make_gpt2_vectors.py FOLDER RANKS

FOLDER has GPT-2's vocab.json and merges.txt.  The ids are those of tiktoken, from RANKS, its file
of ranks (a token in base 64 and its rank on each line).
"""

import base64
import json
import sys
from pathlib import Path

from minillm.text import load_tokenizer
from minillm.text.bpe import PATTERN, split_words
from minillm.text.published import unspell

TEXTS = [
    "Hello world! I'm sure they'll say we've won; it's what you'd think, isn't it? 'tis, DON'T.",
    "def f(x):\n    return  x**2 +\t3.14159  # a comment\r\n\n\n        if x != [1, 2]: pass\n  ",
    "      leading, trailing      ",
    "Größe, façade, naïve, El Niño, İstanbul, Đà Nẵng, ﬁligree, Ⅷ, ½, x²",
    "Zażółć gęślą jaźń. Съешь ещё этих мягких французских булок. Γαζέες καὶ μυρτιὲς",
    "いろはにほへと 漢字とカタカナ。 你好，世界！ 안녕하세요 세계 สวัสดีชาวโลก नमस्ते दुनिया",
    "שלום עולם  مرحبا بالعالم ١٢٣ ۴۵۶ १२३",
    "👩‍👩‍👧‍👦 🇩🇪 👍🏽 ❤️ e\u0301 n\u0303o\u0308 Z͑ͫ̓ͪ̂ͫ̽ 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𠜎𠜱",
    "\u00a0no-break\u2003em space\u3000ideographic\u200bzero\u2028line"
    "\x85next\x1cfile\x00nul\ufeff",
    "====----====>>> {{{}}} ;;;; ((( a,b ))) http://x.org/?q=1&r=%20 C:\\path\\n ~~~ $$$ ```",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa " + "0123456789" * 5,
    " \n \n\n \t\t x\n\ty  \n",
    "<|endoftext",
]


def main(folder: str, ranks: str) -> None:
    import tiktoken

    lines = [line.split() for line in Path(ranks).read_text().splitlines()]
    reference = tiktoken.Encoding(
        "gpt2",
        pat_str=PATTERN,
        mergeable_ranks={base64.b64decode(token): int(rank) for token, rank in lines},
        special_tokens={"<|endoftext|>": 50256},
    )
    tokenizer = load_tokenizer(folder)
    words = {word for text in TEXTS for word in split_words(text)}
    merges = [
        [a, b, tokenizer.texts.index(a + b)]
        for a, b in tokenizer.values["model"]["merges"]
        if any(unspell(a + b) in word for word in words)
    ]
    texts = [[text, reference.encode_ordinary(text)] for text in TEXTS]
    with open(Path(__file__).with_name("gpt2_vectors.json"), "w") as file:
        file.write('{"merges": ' + json.dumps(merges) + ', "texts": [\n')
        file.write(",\n".join(json.dumps(text) for text in texts))
        file.write("\n]}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
