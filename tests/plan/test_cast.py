"""Who speaks: turns of speakers over cells and splits, and what a recipe may ask for."""

from collections import Counter, defaultdict

import pytest

from corpus.errors import InvalidInput
from corpus.plan.blueprint import Blueprint
from corpus.plan.cast import Cast
from corpus.plan.prompt_files import BUNDLED, load_prompts
from schemas.recipe import Speech

QUERIES, RESPONSES, EVAL = ("lena", "finn", "mia"), ("clara", "paul"), ("nora", "victor")


def voices(queries=QUERIES, responses=RESPONSES, evaluated=EVAL):
    named = {"query_voices": queries, "response_voices": responses, "eval_voices": evaluated}
    return tuple(f"speech.{key}={list(names)}" for key, names in named.items())


def planned(pairs, neutral=7, *more, cast=None):
    sizes = (f"emotional.pairs_per_anchor={pairs}", f"neutral.queries={neutral}")
    some = 'anchors=["sad", "angry", "excited"]'
    return Blueprint.named("demo", (some, *sizes, *(cast or voices()), *more)).plan


def turns(plan):
    """By role, cell and split how many slots each speaker has."""
    found = defaultdict(Counter)
    for query in plan.queries():
        room = plan.rooms[query.subset]
        cell = "query", query.drawn_with, query.split
        found[cell][plan.query_speaker(query).name] += 1
        for pair in plan.pairs_of(query):
            cell = "response", room.response_cast(pair), query.split
            found[cell][plan.response_speaker(pair).name] += 1
    return found


@pytest.mark.parametrize("pairs", [1, 9, 10, 11, 37, 100])
def test_in_a_cell_and_split_no_speaker_has_two_slots_more_than_another(pairs):
    for (role, _, split), counts in turns(planned(pairs)).items():
        names = RESPONSES if role == "response" else EVAL if split == "eval" else QUERIES
        assert set(counts) <= set(names)
        each = [counts[name] for name in names]
        assert max(each) - min(each) <= 1


@pytest.mark.parametrize(("points", "queries"), [(3, 20), (5, 41)])
def test_at_the_points_of_a_number_speakers_of_the_grid_take_turns(points, queries):
    grid = (f"grid.queries={queries}", f"grid.points={points}")
    found = turns(planned(1, 0, *grid))
    of_grid = {cell: n for cell, n in found.items() if cell[:2] != ("query", "grid")}
    assert {cell for _, cell, _ in of_grid} >= {f"grid-{n:02d}" for n in range(points)}
    for (role, _, _), counts in of_grid.items():
        if role == "response":
            assert max(counts.values()) - min(counts[name] for name in RESPONSES) <= 1


def test_a_dialogue_has_one_speaker_and_one_who_answers_and_dialogues_take_turns():
    dialogues = ("dialogue.dialogues=47", "dialogue.turns=[2, 4]")
    plan = planned(1, 0, 'anchors="all"', *dialogues)
    by_dialogue = defaultdict(set)
    for pair in plan.pairs():
        if pair.query.turn:
            names = plan.query_speaker(pair.query).name, plan.response_speaker(pair).name
            by_dialogue[pair.query.turn.dialogue, pair.query.split].add(names)
    assert len(by_dialogue) == 47
    assert {len(names) for names in by_dialogue.values()} == {1}
    for split, names in (("train", QUERIES), ("eval", EVAL)):
        heard = [next(iter(found))[0] for (_, of), found in by_dialogue.items() if of == split]
        assert max(map(heard.count, names)) - min(map(heard.count, names)) <= 1


def spoken(plan):
    queries = {slot.id: plan.query_speaker(slot).name for slot in plan.queries()}
    return queries | {f"{p.id}/": plan.response_speaker(p).name for p in plan.pairs()}


@pytest.mark.parametrize(("before", "after"), [(1, 2), (10, 13), (29, 100)])
def test_a_corpus_that_grows_leaves_every_slot_its_speaker(before, after):
    small, large = spoken(planned(before)), spoken(planned(after, 30))
    assert small.items() <= large.items()
    more_anchors = ('anchors=["sad", "angry", "excited", "tired"]',)
    assert small.items() <= spoken(planned(before, 7, *more_anchors)).items()


def test_speakers_of_eval_are_heard_nowhere_in_train():
    plan = planned(50)
    by_split = {"train": set(), "eval": set()}
    for query in plan.queries():
        by_split[query.split].add(plan.query_speaker(query).name)
        for pair in plan.pairs_of(query):
            by_split[query.split].add(plan.response_speaker(pair).name)
    assert by_split == {"train": {*QUERIES, *RESPONSES}, "eval": {*EVAL, *RESPONSES}}


def test_where_no_speakers_are_named_one_voice_speaks_all():
    plan = planned(10, cast=voices((), (), EVAL))
    assert {plan.response_speaker(pair) for pair in plan.pairs()} == {None}
    heard = {(q.split, plan.query_speaker(q) is None) for q in plan.queries()}
    assert heard == {("train", True), ("eval", False)}
    assert Blueprint.named("demo").plan.cast is None


def test_another_seed_casts_otherwise():
    assert spoken(planned(20)) != spoken(planned(20, 7, "seed=2"))


@pytest.mark.parametrize(
    ("cast", "said"),
    [
        (voices(("nobody",)), "speech.query_voices: 'nobody' is not a speaker of"),
        (voices(evaluated=("lena",)), "eval_voices has 'lena', who is in query_voices too"),
        (voices(evaluated=("paul",)), "eval_voices has 'paul', who is in response_voices too"),
        (voices(("lena", "lena")), "query_voices has 'lena' twice"),
        ((*voices(), "speech.voice_design=true"), "voice_design is for served models"),
    ],
)
def test_what_cannot_be_cast_is_refused_before_anything_runs(cast, said):
    with pytest.raises(InvalidInput, match=said):
        Blueprint.named("demo", cast)


SERVED = (
    'speech.backend="openai"', 'speech.endpoints=["http://127.0.0.1:9/v1"]', 'speech.model="m"'
)  # fmt: skip


def test_a_speaker_whom_no_server_has_is_refused_unless_the_model_makes_voices():
    with pytest.raises(InvalidInput, match="Speaker 'mia' has no voice that is served as theirs"):
        Blueprint.named("demo", (*voices(), *SERVED))
    Blueprint.named("demo", (*voices(), *SERVED, "speech.voice_design=true"))


def test_a_speaker_of_eval_with_the_voice_of_train_is_refused():
    one = voices(("lena",), (), ("nora",))
    with pytest.raises(InvalidInput, match=r"'nora' has the voice of speech\.response_voice"):
        Blueprint.named("demo", (*one, *SERVED, 'speech.response_voice="Serena"'))


def test_a_cast_is_drawn_from_the_seed_and_the_cell_alone():
    speakers = {
        speaker.name: speaker for speaker in load_prompts(BUNDLED, "full", ("speakers",)).speakers
    }
    speech = Speech(query_voice="wren", response_voice="heron", query_voices=QUERIES)
    turns = [Cast(speech, 5, speakers).of_query("cell", "train", n).name for n in range(9)]
    assert all(sorted(turns[n : n + 3]) == sorted(QUERIES) for n in (0, 3, 6))
    assert turns != [Cast(speech, 5, speakers).of_query("other", "train", n).name for n in range(9)]
