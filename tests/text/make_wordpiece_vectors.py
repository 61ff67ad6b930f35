# ruff: noqa: RUF001
"""Makes wordpiece_vectors.json: hard texts, with the ids and offsets that tokenizers gives to them.

    python tests/text/make_wordpiece_vectors.py

The vocabularies are learned here, from the texts themselves.  Long pieces are taken out, so that
words are in several, and some others, so that some words are unknown.  Ids, offsets and decoded
texts come of the library tokenizers, which transformers uses for BERT.
"""

import json
from pathlib import Path

from minillm.text.tokenizer_json import added_tokens, word_pieces
from minillm.text.word_pieces import SPECIALS, train

TEXTS = [
    "Hello world! I'm sure they'll say we've won; it's what you'd think, isn't it? 'tis, DON'T.",
    "def f(x):\n    return  x**2 +\t3.14159  # a comment\r\n\n\n        if x != [1, 2]: pass\n  ",
    "      leading, trailing      ",
    "Größe, façade, naïve, El Niño, İstanbul, ıI, Đà Nẵng, ﬁligree, ŒUVRE, Ⅷ, ½, x²",
    "Zażółć gęślą jaźń. Съешь ещё этих мягких французских булок, Ёж. Γαζέες καὶ μυρτιὲς ΟΔΥΣΣΕΥΣ",
    "いろはにほへと 漢字とカタカナ。 你好，世界！ 안녕하세요 세계 สวัสดีชาวโลก नमस्ते दुनिया ガガ",
    "שָׁלוֹם עולם  مَرحَبًا بالعالم ١٢٣ ۴۵۶ १२३ Ելենա გამარჯობა ሰላም ᏣᎳᎩ ꮳꮃꭹ",
    "👩‍👩‍👧‍👦 🇩🇪 👍🏽 ❤️ e\u0301 n\u0303o\u0308 Z͑ͫ̓ͪ̂ͫ̽ 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𠜎𠜱 𐐀𐐨",
    "\u00a0no-break\u2003em space\u3000ideographic\u200bzero\u2028line\u2029paragraph\u1680ogham"
    "\x85next\x1cfile\x00nul\ufeffmark\u200djoin\u200enon\u2060word\u00adhyphen\x0bv\x0cf\x7fdel",
    "====----====>>> {{{}}} ;;;; ((( a,b ))) http://x.org/?q=1&r=%20 C:\\path\\n ~~~ $$$ ```",
    "$1 £2 €3 ¥4 a^b a+b a=b a≠b ≤≥ «quoted» „deutsch“ ‘single’ … – — ¡no!"
    " ¿qué? 「日本」 §5 ©®™ ΄ ` \u1fef",
    "a" * 100 + " " + "b" * 101 + " " + "é" * 100 + " " + "e\u0301" * 101 + " 0123456789" * 3,
    "[CLS] The [MASK] statement [SEP]x[MASK]y[UNK][PAD] [mask] [ MASK ] [MASK [[MASK]]",
    "\ufffd replaced \ue000private\uf8ff 豈\uf900更 \U0002f800丽 가\u1100\u1161 각 \u0344"
    " \u212b \u2126",
    "Dž ǅ ǆ ẞ ß ŉ ΐ ﷺ ㎏ ﬃ Å \u0345ι ᾳ ᾼ",
    "## ##able un##able # # a##b",
    " \n \n\n \t\t x\n\ty  \n",
    "",
]
OPTIONS = [
    {"lower_case": True, "strip_accents": None, "split_ideographs": True},
    {"lower_case": False, "strip_accents": None, "split_ideographs": True},
    {"lower_case": True, "strip_accents": False, "split_ideographs": True},
    {"lower_case": False, "strip_accents": True, "split_ideographs": False},
]


def main() -> None:
    from tokenizers import Tokenizer

    cases = []
    for options in OPTIONS:
        learned = train(TEXTS * 2, 900, lower_case=options["lower_case"]).tokens
        short = [token for token in learned if len(token.removeprefix("##")) <= 3]
        kept = [token for id, token in enumerate(short) if token.isascii() or id % 9]
        tokens = [*SPECIALS, *kept]
        ids = {token: number for number, token in enumerate(tokens)}
        added = added_tokens({token: ids[token] for token in SPECIALS})
        reference = Tokenizer.from_str(json.dumps(word_pieces(ids, added, **options)))
        texts = []
        for text in TEXTS:
            encoding = reference.encode(text, add_special_tokens=False)
            decoded = reference.decode(encoding.ids, skip_special_tokens=False)
            texts.append([text, encoding.ids, [list(pair) for pair in encoding.offsets], decoded])
        cases.append({**options, "tokens": tokens, "texts": texts})
    with open(Path(__file__).with_name("wordpiece_vectors.json"), "w") as file:
        file.write("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")


if __name__ == "__main__":
    main()
