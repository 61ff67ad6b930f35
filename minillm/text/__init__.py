"""Text to ids and back, in units of characters, words, byte pairs or pieces of words."""

from minillm.text.byte_pairs import BytePairs as BytePairs
from minillm.text.byte_tokens import ByteTokens as ByteTokens
from minillm.text.characters import Characters as Characters
from minillm.text.chat_template import ChatTemplate as ChatTemplate
from minillm.text.published import PublishedTokenizer as PublishedTokenizer
from minillm.text.tokenizer_files import load_tokenizer as load_tokenizer
from minillm.text.tokenizer_files import tokenizer_files as tokenizer_files
from minillm.text.units import SIZE as SIZE
from minillm.text.units import UNITS as UNITS
from minillm.text.units import build_vocabulary as build_vocabulary
from minillm.text.units import vocabulary_from_dict as vocabulary_from_dict
from minillm.text.vocabulary import Vocabulary as Vocabulary
from minillm.text.vocabulary import banned_ids as banned_ids
from minillm.text.vocabulary import check_texts as check_texts
from minillm.text.vocabulary import opening_id as opening_id
from minillm.text.vocabulary import unit_name as unit_name
from minillm.text.word_pieces import WordPieces as WordPieces
from minillm.text.words import Words as Words
from minillm.text.words import split_words as split_words
