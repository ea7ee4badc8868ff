"""How tokens are written: with the cache as without, in any company, and by each one's own seed."""

from collections import Counter

import pytest
import torch

from corpus.adapter.inference.language_model import (
    LanguageModel,
    Sampling,
    _Draws,
    model_digest,
)
from corpus.adapter.prompt_template import BARE, prompt
from corpus.errors import InvalidInput, SympatheiaError

pytestmark = pytest.mark.usefixtures("one_thread")

GREEDY = Sampling(temperature=0.0, max_new_tokens=24)
DRAWN = Sampling(temperature=1.0, top_p=0.95, max_new_tokens=24)
PROMPTS = [
    prompt(range(9), (0.5, -0.25)),
    prompt(range(40, 43), None),
    prompt(range(100, 130), BARE),
]


@pytest.fixture(scope="module", params=["base", "adapter"])
def model(request, tiny, adapter):
    with_adapter = str(adapter) if request.param == "adapter" else None
    return LanguageModel.from_pretrained(str(tiny / "base"), with_adapter)


def greedily(model, text):
    """What follows a prompt if each step computes everything anew."""
    ids = model.tokenizer(text, return_tensors="pt")["input_ids"]
    begun = ids.shape[1]
    with torch.inference_mode():
        for _ in range(GREEDY.max_new_tokens):
            following = model._model(input_ids=ids).logits[:, -1:].argmax(-1)
            ids = torch.cat((ids, following), dim=1)
            if int(following) in model.stops:
                break
    return ids[0, begun:].tolist()


def test_with_the_cache_and_in_company_the_same_is_written_as_without_and_alone(model):
    together = model.continued(PROMPTS, [1, 2, 3], GREEDY)
    assert together == [greedily(model, text) for text in PROMPTS]


def test_what_is_drawn_follows_from_the_seed_and_not_from_the_company(model):
    together = model.continued(PROMPTS, [1, 2, 3], DRAWN)
    alone = [model.continued([p], [s], DRAWN)[0] for p, s in zip(PROMPTS, (1, 2, 3), strict=True)]
    assert together == alone
    assert model.continued(PROMPTS[:1], [4], DRAWN)[0] != alone[0]


def test_the_process_s_own_random_numbers_are_left_alone(model):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    model.continued(PROMPTS[:1], [1], DRAWN)
    assert torch.rand(1) == expected


def test_nothing_comes_of_nothing(model):
    assert model.continued([], [], GREEDY) == []


def test_tokens_are_drawn_as_often_as_they_are_likely_within_the_nucleus():
    scores = torch.tensor([[2.0, 1.0, 0.0, -1.0, -9.0]])
    sampling = Sampling(temperature=1.0, top_p=0.9, max_new_tokens=1)
    count = 4000
    draws = _Draws(list(range(count)), sampling)(torch.zeros(count, 1), scores.repeat(count, 1))
    found = Counter(draws.argmax(-1).tolist())
    chances = scores[0].softmax(-1)[:3]  # 0.64, 0.24 and 0.09: the third reaches 0.9
    for token, chance in enumerate((chances / chances.sum()).tolist()):
        assert abs(found[token] / count - chance) < 0.03
    assert sum(found.values()) == found[0] + found[1] + found[2]


def test_a_stop_ends_a_response_and_what_fills_the_batch_behind_it_is_no_part_of_it(tiny):
    model = LanguageModel.from_pretrained(str(tiny / "base"))
    stop = model.stops[0]
    assert model._ended([5, 6, stop, 0, 0]) == [5, 6, stop]
    assert model._ended([5, 6]) == [5, 6]


def test_memory_that_is_full_is_a_sentence(tiny):
    model = LanguageModel.from_pretrained(str(tiny / "base"))

    def full(*_):
        raise torch.OutOfMemoryError

    model._model.register_forward_pre_hook(full)
    with pytest.raises(SympatheiaError, match="does not hold 1 responses at once"):
        model.continued(PROMPTS[:1], [1], GREEDY)


def test_the_digest_follows_from_the_weights(tiny, adapter):
    base = str(tiny / "base")
    assert model_digest(base, None) == model_digest(base, None) != model_digest(base, str(adapter))


@pytest.mark.parametrize("named", ["nowhere", "base"])
def test_what_is_no_adapter_is_refused(tiny, named):
    with pytest.raises(InvalidInput, match="adapter"):
        LanguageModel.from_pretrained(str(tiny / "base"), str(tiny / named))
