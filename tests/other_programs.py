"""Models and tokenizers from and to the files of other programs."""

from dataclasses import asdict
from pathlib import Path

from minillm.formats.bert import BERT_FOLDER
from minillm.formats.format import Contents, formats
from minillm.formats.gguf import GGUF
from minillm.formats.gpt2 import GPT2
from minillm.formats.llama import LLAMA
from minillm.formats.sentences import Sentences
from minillm.text import ChatTemplate


def import_gpt2(folder):
    found = GPT2.read(folder)
    return found.model, found.tokenizer


def import_llama(folder):
    found = LLAMA.read(folder)
    return found.model, found.tokenizer


def folder_of(path):
    """The format of a folder."""
    return next(one for one in formats() if one.recognises(Path(path), b""))


def family_folder(family):
    """The format of the folders of a family."""
    return next(one for one in formats() if getattr(one, "family", None) == family)


def import_gguf(path):
    found = GGUF().read(path)
    return found.model, found.tokenizer, found.chat


def import_bert(folder):
    found = BERT_FOLDER.read(folder)
    return found.model, found.tokenizer, Sentences.of(found.facts)


def export_gpt2(model, tokenizer, folder):
    GPT2.write(Contents(model, tokenizer), folder)


def export_llama(model, tokenizer, folder, template=None):
    chat = ChatTemplate(template) if template else None
    LLAMA.write(Contents(model, tokenizer, chat), folder)


def export_bert(model, tokenizer, folder, sentences=None):
    facts = asdict(sentences or Sentences())
    BERT_FOLDER.write(Contents(model, tokenizer, facts=facts), folder)
