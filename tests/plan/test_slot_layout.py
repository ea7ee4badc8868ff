from collections import Counter

import pytest

from corpus.errors import InvalidInput
from corpus.plan.recipe_files import load_recipe
from corpus.plan.slot_layout import ATTEMPTS_PER_TOPIC, Plan


def plan_of(prompts, *overrides, recipe="sympatheia-18k"):
    return Plan(load_recipe(recipe, overrides), prompts)


def test_full_recipe_has_the_published_sizes(prompts):
    plan = plan_of(prompts)
    queries, pairs = list(plan.queries()), list(plan.pairs())
    assert len(queries) == plan.query_count == 12 * 1000 + 500
    assert len(pairs) == plan.pair_count == 18_000
    assert Counter(p.query.subset for p in pairs) == {"emotional": 12_000, "neutral": 6_000}
    assert Counter(p.query.split for p in pairs) == {"train": 12_600, "eval": 5_400}
    assert len({p.id for p in pairs}) == 18_000


def test_ids_are_those_of_the_contract(prompts):
    plan = plan_of(prompts)
    ids = {pair.id: pair for pair in plan.pairs()}
    assert ids["emotional-sad-00017"].query.id == "emotional-sad-00017"
    assert ids["neutral-00042-angry"].query.id == "neutral-00042"
    assert ids["neutral-00042-angry"].query.emotion == "neutral"


def test_every_block_of_ten_has_three_eval_queries(prompts):
    cells = {}
    for slot in plan_of(prompts).queries():
        cells.setdefault(slot.cell, []).append(slot.split)
    assert len(cells) == 13
    patterns = set()
    for splits in cells.values():
        for start in range(0, len(splits), 10):
            block = tuple(splits[start : start + 10])
            assert block.count("eval") == 3
            patterns.add(block)
    assert len(patterns) > 50  # shuffled, not the same three places each time


def test_the_responses_to_a_neutral_query_share_its_split(prompts):
    plan = plan_of(prompts)
    for slot in plan.queries():
        assert {pair.query.split for pair in plan.pairs_of(slot)} == {slot.split}


def test_growth_changes_no_earlier_slot(prompts):
    few = plan_of(prompts, "emotional.pairs_per_anchor=15", "neutral.queries=7", 'anchors=["sad"]')
    many = plan_of(prompts)
    grown = {slot.id: slot for slot in many.queries()}
    for slot in few.queries():
        assert grown[slot.id] == slot
        for attempt in range(10):
            assert many.topic(slot, attempt) == few.topic(slot, attempt)
            assert many.seed("query", slot.id, attempt) == few.seed("query", slot.id, attempt)


def test_topics_are_cycled_evenly_within_a_cell(prompts):
    plan = plan_of(prompts)
    size = len(prompts.topics)
    topics = [plan.topic(slot, 0) for slot in plan.queries() if slot.cell == "emotional-tired"]
    assert sorted(topics[:size]) == sorted(prompts.topics)
    counts = Counter(topics)
    assert max(counts.values()) - min(counts.values()) <= 1
    other = [plan.topic(slot, 0) for slot in plan.queries() if slot.cell == "emotional-happy"]
    assert topics[:size] != other[:size]


def test_a_slot_moves_on_to_the_next_topic_after_some_attempts(prompts):
    plan = plan_of(prompts)
    slot, following = list(plan.queries())[:2]
    assert {plan.topic(slot, n) for n in range(ATTEMPTS_PER_TOPIC)} == {plan.topic(slot, 0)}
    assert plan.topic(slot, ATTEMPTS_PER_TOPIC) == plan.topic(following, 0)


def test_seeds_differ_by_slot_attempt_stage_and_recipe(prompts):
    plan, other = plan_of(prompts), plan_of(prompts, "seed=7")
    seeds = {
        plan.seed("query", "emotional-sad-00017", 0),
        plan.seed("query", "emotional-sad-00017", 1),
        plan.seed("query", "emotional-sad-00018", 0),
        plan.seed("response", "emotional-sad-00017", 0),
        other.seed("query", "emotional-sad-00017", 0),
    }
    assert len(seeds) == 5
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_the_seed_of_a_slot_is_the_same_for_ever(prompts):
    # A change here would make every stored answer worthless.
    assert plan_of(prompts).seed("query", "emotional-sad-00017", 0) == 425810535


def test_an_unknown_anchor_is_refused(prompts):
    with pytest.raises(InvalidInput, match=r"anchors: 'gloomy' is not an anchor .* happy, excited"):
        plan_of(prompts, 'anchors=["sad", "gloomy"]')


def test_anchors_keep_the_order_of_the_prompts_folder(prompts):
    assert list(plan_of(prompts, 'anchors=["sad", "happy"]').anchors) == ["happy", "sad"]


@pytest.mark.parametrize("subset", ["emotional", "neutral"])
def test_the_demo_has_both_splits_in_both_subsets(prompts, subset):
    plan = plan_of(prompts, recipe="demo")
    assert {p.query.split for p in plan.pairs() if p.query.subset == subset} == {"train", "eval"}
    assert plan.pair_count == 48
