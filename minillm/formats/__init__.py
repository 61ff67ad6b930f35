"""Files of other programs: ARPA n-gram models, word2vec's word vectors."""
