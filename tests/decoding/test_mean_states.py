"""The mean of the states of each text, however the texts are batched."""

import numpy as np
from chatting import model
from hypothesis import given, settings
from hypothesis import strategies as st

from minillm.decoding import Reader
from minillm.decoding.mean_states import mean_states

READER = Reader(model(context=20, scale=1.0))
TEXTS = st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=30), max_size=6)


@given(TEXTS)
@settings(max_examples=20)
def test_each_text_has_the_mean_of_its_own_states(texts):
    found = mean_states(READER, [np.array(text) for text in texts])
    assert found.shape == (len(texts), 16)
    for vector, text in zip(found, texts, strict=True):
        y, _ = READER.model.hidden(np.array([text[:20]]))
        np.testing.assert_allclose(vector, y[0].mean(axis=0), atol=1e-5)
