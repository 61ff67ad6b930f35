"""Fine-tuning on conversations, preferences and rewards: tokens that count, batches, and losses."""

import numpy as np
import pytest
from chatting import TEMPLATE, TOKENIZER, assistant, system, user
from hypothesis import given
from hypothesis import strategies as st
from model_table import Entry, V
from usual import originals_deep

from minillm.models.llama import Llama, LlamaConfig
from minillm.ops.softmax import log_softmax
from minillm.testing import check_projections
from minillm.training.conversations import (
    ChatTask,
    Encoded,
    batches_of,
    in_batches,
    mean_loss,
    packed,
)
from minillm.training.packed import Packed
from minillm.training.preferences import PreferenceTask, answer_log_likelihoods
from minillm.training.rewards import RewardTask


def model(seed=0):
    sizes = {"context": 9, "layers": 2, "heads": 4, "key_heads": 2, "width": 8, "feed_forward": 6}
    return Entry(Llama, LlamaConfig(V, **sizes), None).new(seed=seed)


def conversations(lengths, seed=0):
    rng = np.random.default_rng(seed)
    some = []
    for length in lengths:
        counted = rng.random(length) < 0.5
        counted[-1] = True
        some.append(Encoded(rng.integers(0, V, length).astype(np.int32), counted))
    return some


@pytest.mark.parametrize("recompute", [False, True])
def test_a_task_recomputes_if_it_is_told(recompute):
    some, pair = conversations([4] * 4), (conversations([4])[0], conversations([4], 1)[0])
    chat = ChatTask(model(), some, some[:2], 8, 0, recompute)
    preferences = PreferenceTask(model(), [pair], [pair], 8, 0, beta=0.5, recompute=recompute)
    assert chat.model.recompute == preferences.model.recompute == recompute


def test_the_training_loss_is_the_model_s_on_the_next_batch():
    some = conversations([6, 4])
    task = ChatTask(model(), some, some, 8, 0)
    batch = packed([some[k] for k in ChatTask(model(), some, some, 8, 0).batches.next()])
    loss, _, tokens = task.training_loss(np.random.default_rng(0))
    expected, _ = Packed(model()).loss(*batch.arguments(np.random.default_rng(0)))
    assert loss == expected > 0
    assert tokens == batch.mask.sum()


# --- what a conversation is for the model ---------------------------------------------------------

TALK = [system("the dog"), user("cat"), assistant("sat on"), user("mat"), assistant("the log")]


def encoded(talk, most):
    [one] = TEMPLATE.encode_answers(TOKENIZER, [talk], most)
    return one


def test_the_answers_are_counted_each_with_the_token_that_ends_it():
    ids, counted, left_out = encoded(TALK, 1000)
    end = TOKENIZER.id_of(b"<|im_end|>")
    assert left_out == 0
    runs = np.split(ids, np.flatnonzero(np.diff(counted.astype(int))) + 1)
    answers = runs[1::2]
    assert [TOKENIZER.decode(answer[:-1]) for answer in answers] == ["sat on", "the log"]
    assert all(answer[-1] == end for answer in answers)
    whole = TEMPLATE.encode(TOKENIZER, TALK, prompt=False)
    np.testing.assert_array_equal(ids, whole[: len(ids)])


@given(st.integers(1, 120))
def test_a_long_conversation_is_cut_by_whole_turns(most):
    whole, counted, _ = encoded(TALK, 1000)
    ids, some, left_out = encoded(TALK, most)
    ends = [0, *(np.flatnonzero(np.diff(np.append(counted, False).astype(int)) < 0) + 1)]
    kept = [end for end in ends if end <= most]
    assert len(ids) == kept[-1]
    assert left_out == len(ends) - len(kept)
    np.testing.assert_array_equal(ids, whole[: len(ids)])
    np.testing.assert_array_equal(some, counted[: len(ids)])


# --- batches --------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 12), min_size=1, max_size=30), st.integers(1, 20), st.integers(0, 9))
def test_batches_have_every_item_once_and_fit(lengths, tokens, seed):
    order = np.random.default_rng(seed).permutation(len(lengths)).tolist()
    batches = batches_of(lengths, tokens, order)
    assert [number for batch in batches for number in batch] == order
    for batch in batches:
        assert len(batch) == 1 or sum(lengths[k] for k in batch) <= tokens


def test_the_order_of_an_epoch_is_another_and_is_resumed():
    some = conversations([4] * 12)
    task, again = (ChatTask(model(), some, some[:2], 8, seed=3) for _ in range(2))
    n = task.batches_per_epoch
    orders = [[task.batches.next() for _ in range(n)] for _ in range(2)]
    assert sorted(orders[0]) == sorted(orders[1])
    assert orders[0] != orders[1]
    again.restore({}, {"position": n})
    assert [again.batches.next() for _ in range(n)] == orders[1]


def test_the_validation_loss_is_the_mean_over_all_counted_tokens():
    some, batch = model(), conversations([9, 2, 6, 3, 3])
    mean, tokens = mean_loss(Packed(some), in_batches(batch, 8))
    log_p, _ = Packed(some).log_likelihood(*packed(batch).arguments(None))
    assert tokens == len(log_p)
    np.testing.assert_allclose(mean, -log_p.mean(), rtol=1e-12)


# --- preferences ----------------------------------------------------------------------------------


def pairs(count, seed=0):
    some = conversations([3 + k % 5 for k in range(2 * count)], seed)
    return list(zip(some[::2], some[1::2], strict=True))


def test_at_the_start_no_answer_is_preferred_and_then_the_chosen_ones_are():
    some, every = model(), pairs(6)
    task = PreferenceTask(some, every, every, 20, 0, beta=0.5)
    np.testing.assert_allclose(task.validation_loss(), np.log(2), rtol=1e-12)
    for _ in range(30):
        _, backward, count = task.training_loss(None)
        assert count > 0
        for name, gradient in backward().items():
            some.params[name] -= 0.05 * gradient
    assert task.validation_loss() < 0.3
    assert task.measures == {"preferred": 1.0}


@originals_deep
@pytest.mark.usefixtures("both_twins")
def test_gradients_of_preferences_against_the_checker():
    some, every = model(), pairs(3)
    task = PreferenceTask(some, every, every, 1000, 0, beta=0.7)
    task.reference()
    for array in some.params.values():
        array *= 1.1

    def loss():
        task.batches.position = 0
        value, backward, _ = task.training_loss(None)
        return value, backward

    check_projections(loss, some.params, rng=np.random.default_rng(1))


def test_the_reference_is_that_of_the_beginning_after_a_resume():
    some, every = model(), pairs(4)
    task = PreferenceTask(some, every[:3], every[3:], 20, 0, beta=0.5)
    arrays, values = task.state()
    moved = model(seed=5)
    again = PreferenceTask(moved, every[:3], every[3:], 20, 0, beta=0.5)
    again.restore(arrays, values)
    np.testing.assert_array_equal(again.reference(), task.reference())
    with pytest.raises(ValueError, match="reference: expected shape"):
        again.restore({"reference": arrays["reference"][1:]}, values)


def test_the_log_probability_of_an_answer_is_the_sum_over_its_tokens():
    some, batch = model(), conversations([5, 8])
    sums, _ = answer_log_likelihoods(Packed(some), batch)
    for one, found in zip(batch, sums, strict=True):
        log_p = log_softmax(some.forward(one.ids[None, :-1])[0][0])[
            range(len(one.ids) - 1), one.ids[1:]
        ]
        np.testing.assert_allclose(found, log_p[one.counted[1:]].sum(), rtol=1e-10)


# --- rewards --------------------------------------------------------------------------------------


def test_a_model_learns_what_is_rewarded():
    """Answers of one token, drawn from the model: the reward is for the id of the question."""
    some, reference = model(), model()
    questions = [np.array([1 + k % 4]) for k in range(40)]

    def write(asked, rng):
        logits = some.forward(np.stack(asked))[0][:, -1]
        if rng is not None:
            logits = logits + rng.gumbel(size=logits.shape)  # its argmax is drawn from the softmax
        return list(logits.argmax(axis=1)[:, None])

    def reward(question, answer):
        return float(question[0] == answer[0])

    task = RewardTask(some, reference, questions, write, reward, questions_at_once=8, beta=0.01)
    rng = np.random.default_rng(0)
    before = -task.validation_loss()
    for _ in range(30):
        _, backward, _ = task.training_loss(rng)
        for name, gradient in backward().items():
            some.params[name] -= 0.3 * gradient
    assert before < 0.6
    assert -task.validation_loss() == 1.0
