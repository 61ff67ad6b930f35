"""Text to ids and back, in units of characters, words, byte pairs or pieces of words."""

from minillm.text.byte_pairs import BytePairs
from minillm.text.byte_tokens import ByteTokens
from minillm.text.characters import Characters
from minillm.text.chat_template import ChatTemplate
from minillm.text.published import PublishedTokenizer
from minillm.text.tokenizer_files import load_tokenizer, tokenizer_files
from minillm.text.units import (
    SIZE,
    UNITS,
    build_vocabulary,
    vocabulary_from_dict,
)
from minillm.text.vocabulary import (
    Vocabulary,
    banned_ids,
    check_texts,
    opening_id,
    unit_name,
)
from minillm.text.word_pieces import WordPieces
from minillm.text.words import Words, split_words

__all__ = [
    "SIZE",
    "UNITS",
    "BytePairs",
    "ByteTokens",
    "Characters",
    "ChatTemplate",
    "PublishedTokenizer",
    "Vocabulary",
    "WordPieces",
    "Words",
    "banned_ids",
    "build_vocabulary",
    "check_texts",
    "load_tokenizer",
    "opening_id",
    "split_words",
    "tokenizer_files",
    "unit_name",
    "vocabulary_from_dict",
]
