"""Text to ids and back: characters, and words with an unknown word."""

from minillm.text.characters import Characters
from minillm.text.words import Words

Vocabulary = Characters | Words

__all__ = ["Characters", "Vocabulary", "Words", "vocabulary_from_dict"]


def vocabulary_from_dict(values: object) -> Vocabulary:
    """The vocabulary that ``to_dict`` described; ValueError says what is wrong with it."""
    if not isinstance(values, dict):
        raise ValueError(f"expected an object, found {type(values).__name__}")
    unit, tokens = values.get("unit"), values.get("tokens")
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise ValueError('expected "tokens": a list of strings')
    if unit == "character":
        return Characters(tokens)
    if unit == "word":
        return Words(tokens, pretokenised=bool(values.get("pretokenised", False)))
    raise ValueError(f'expected "unit": "character" or "word", found {unit!r}')
