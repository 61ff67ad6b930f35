"""The kinds of models, one in each module."""

# Their titles, in historical order; the module of a kind has its name.
TITLES = {
    "ngram": "An n-gram model: counted, not trained (1980)",
    "image-classifier": "The digit that an image shows (1986)",
    "neural-ngram": "A feed-forward language model over the last few tokens (2003)",
    "lm": "A recurrent language model of characters or words (2010)",
    "word2vec": "Word vectors: skip-gram or CBOW (2013)",
    "recurrent-classifier": "A text classifier that reads a text word by word (2014)",
    "seq2seq": "An encoder-decoder: translation, pronunciation, summaries (2014)",
    "captioner": "A description of an image in words (2015)",
    "classifier": "A text classifier: sentiment, topic, language (2016)",
    "tokenizer": "Byte pairs and wordpieces: tokens between characters and words (2016)",
    "qa": "Answers to questions, found in a text (2017)",
    "summariser": "A summariser: an encoder-decoder that copies from its source (2017)",
    "transformer": "An encoder-decoder of attention alone: translation, pronunciation (2017)",
    "bert": "A Transformer that fills gaps, from both sides: BERT (2018)",
    "copying-transformer": "A Transformer that copies from its source: summaries (2018)",
    "finetuned": "A text classifier that begins with a model of many texts (2018)",
    "gpt": "A Transformer that predicts the next token: GPT (2018)",
    "denoiser": "A Transformer pre-trained to restore corrupted texts: BART (2019)",
    "encoder": "An encoder after BERT: DistilBERT, RoBERTa, MPNet or ELECTRA (2019)",
    "chat": "A chat model, fine-tuned on conversations or preferences (2022)",
    "llama": "The GPT of today: Llama (2023)",
    "mamba": "A language model whose state has a fixed size: Mamba (2023)",
    "variant": "A variant of Llama: the form of Mistral, Qwen, SmolLM, Gemma and Phi (2025)",
}
