"""File formats of other programs: ARPA, word2vec, Hugging Face."""
