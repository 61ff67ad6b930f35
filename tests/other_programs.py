"""Models and tokenizers from and to the files of other programs."""

from dataclasses import asdict

from minillm.formats import gguf, huggingface
from minillm.formats.format import Contents
from minillm.formats.sentences import Sentences
from minillm.text import ChatTemplate


def import_gguf(path):
    found = gguf.read(path)
    return found.model, found.tokenizer, found.chat


def export_folder(model, tokenizer, folder, template=None):
    chat = ChatTemplate(template) if template else None
    huggingface.write(Contents(model, tokenizer, chat), folder)


def export_bert(model, tokenizer, folder, sentences=None):
    facts = asdict(sentences or Sentences())
    huggingface.write(Contents(model, tokenizer, facts=facts), folder)
