"""Files of other programs: ARPA n-gram models, word2vec's vectors, Hugging Face's folders."""
