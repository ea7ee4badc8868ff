import shutil
from math import isclose

import pytest
import yaml

from corpus.errors import InvalidInput
from corpus.plan.blueprint import Blueprint
from corpus.plan.prompt_files import BUNDLED
from corpus.plan.subsets.dialogue import trend
from corpus.plan.subsets.subset import Exchange

SIZE = ("dialogue.dialogues=300", "dialogue.turns=[2, 5]")


@pytest.fixture(scope="module")
def blueprint():
    return Blueprint.named("demo", SIZE)


def turns_of(blueprint):
    """The user's turns of each dialogue, in order."""
    found = {}
    for slot in blueprint.plan.queries():
        if slot.turn:
            found.setdefault(slot.turn.dialogue, []).append(slot)
    return found


def test_each_has_a_number_of_turns_within_the_range_and_all_numbers_occur(blueprint):
    lengths = [len(turns) for turns in turns_of(blueprint).values()]
    assert len(lengths) == 300
    assert set(lengths) == {2, 3, 4, 5}
    for name, turns in turns_of(blueprint).items():
        assert [slot.id for slot in turns] == [f"{name}-{n + 1:02d}" for n in range(len(turns))]
        assert {slot.turn.of for slot in turns} == {len(turns)}


def test_the_split_is_of_a_whole_dialogue_and_exact(blueprint):
    splits = [{slot.split for slot in turns} for turns in turns_of(blueprint).values()]
    assert {len(found) for found in splits} == {1}
    assert sum(found == {"eval"} for found in splits) == 90


def test_turns_lie_evenly_on_the_lines_between_anchors(blueprint):
    anchors = blueprint.plan.anchors
    paths = [one.path for one in blueprint.prompts.trajectory_file.trajectories]
    for turns in turns_of(blueprint).values():
        assert (turns[0].anchor, turns[-1].anchor) in {(path[0], path[-1]) for path in paths}
        for slot in turns:
            assert isclose(sum(weight for _, weight in slot.place.blend), 1.0, abs_tol=1e-9)
            assert slot.anchor == slot.place.blend[0][0]
            for axis in ("valence", "arousal"):
                mean = sum(w * getattr(anchors[name], axis) for name, w in slot.place.blend)
                assert getattr(slot.place, axis) == pytest.approx(mean, abs=0.002)


def test_more_dialogues_leave_those_that_are_there(blueprint):
    more = Blueprint.named("demo", ("dialogue.dialogues=320", SIZE[1]))
    before = turns_of(blueprint)
    assert {name: turns_of(more)[name] for name in before} == before


def changed(tmp_path, change):
    """A blueprint over prompts whose trajectories and anchors were changed."""
    folder = shutil.copytree(BUNDLED, tmp_path / "prompts")
    for name, key in (("trajectories.yaml", "trajectories"), ("anchors.yaml", "anchors")):
        path = folder / name
        data = yaml.safe_load(path.read_text())
        change(key, data[key])
        path.write_text(yaml.safe_dump(data, sort_keys=False))
    return Blueprint.named("demo", (*SIZE, f"prompts='{folder}'"))


def proud(anchors):
    return {**anchors[0], "name": "proud", "valence": 0.9, "arousal": 0.5}


def test_one_more_anchor_changes_no_dialogue_unless_a_trajectory_names_it(blueprint, tmp_path):
    def anchor(key, entries):
        if key == "anchors":
            entries.append(proud(entries))

    def trajectory(key, entries):
        anchor(key, entries)
        if key == "trajectories":
            entries.append({"name": "pride", "path": ["neutral", "proud"]})

    before = turns_of(blueprint)
    assert turns_of(changed(tmp_path / "anchor", anchor)) == before
    after = turns_of(changed(tmp_path / "both", trajectory))
    others = {name for name in before if after[name] != before[name]}
    assert {after[name][-1].anchor for name in others} == {"proud"}
    assert len([1 for turns in after.values() if turns[-1].anchor == "proud"]) == len(others)
    # A thirteenth of them, as it is one of thirteen.
    assert 10 <= len(others) <= 40


def test_a_recipe_with_some_anchors_takes_the_trajectories_that_they_have():
    few = Blueprint.named("demo", (*SIZE, "anchors=['sad', 'content', 'tired']"))
    assert {turns[0].anchor for turns in turns_of(few).values()} == {"sad"}
    with pytest.raises(InvalidInput, match=r"no trajectory of .*trajectories\.yaml has all"):
        Blueprint.named("demo", (*SIZE, "anchors=['sad', 'happy', 'tired']"))


@pytest.mark.parametrize("templates", ["full", "small"])
def test_a_turn_is_asked_for_with_its_feeling_and_all_that_was_said(templates):
    blueprint = Blueprint.named("demo", (*SIZE, f'llm.templates="{templates}"'))
    slot = next(s for s in blueprint.plan.queries() if s.turn and len(s.place.blend) == 2)
    (pair,) = blueprint.plan.pairs_of(slot)
    said = (Exchange("Where is the rice?", "In the cupboard on the left."),)
    room = blueprint.room(slot)
    for messages in (
        room.ask_query(slot, "cooking rice", said),
        room.ask_response(pair, "And the pot?", said),
    ):
        shown = " ".join(message["content"] for message in messages)
        assert "In the cupboard on the left." in shown
        assert room.target(pair).feeling in shown
    assert messages[-1]["role"] == "user"


def test_a_prompts_folder_without_trajectories_serves_whoever_needs_none(tmp_path):
    folder = shutil.copytree(BUNDLED, tmp_path / "prompts")
    (folder / "trajectories.yaml").unlink()
    plain = Blueprint.named("demo", (f"prompts='{folder}'",))
    assert plain.prompts.digest == Blueprint.named("demo").prompts.digest
    with pytest.raises(InvalidInput, match=r"trajectories\.yaml is missing; the subset dialogue"):
        Blueprint.named("demo", (*SIZE, f"prompts='{folder}'"))


def test_a_trajectory_of_an_anchor_that_is_not_there_is_refused(tmp_path):
    def mistyped(key, entries):
        if key == "trajectories":
            entries[0]["path"][1] = "frustated"

    with pytest.raises(InvalidInput, match="'anger_settles' has 'frustated', which is no anchor"):
        changed(tmp_path, mistyped)


def test_two_trajectories_of_one_name_are_refused(tmp_path):
    def twice(key, entries):
        if key == "trajectories":
            entries.append(entries[0])

    with pytest.raises(InvalidInput, match="two trajectories are named 'anger_settles'"):
        changed(tmp_path, twice)


def test_the_least_of_the_turns_comes_first():
    with pytest.raises(InvalidInput, match="the least comes first"):
        Blueprint.named("demo", ("dialogue.dialogues=1", "dialogue.turns=[3, 2]"))


# The energy of the user's turns


def test_a_trend_is_against_the_harmonic_mean_of_the_energies_before():
    assert trend([]) == trend([-20.0]) == 0.0
    assert trend([-20.0, -26.0]) == pytest.approx(-6.0)
    # Of energies 1 and 1/100 the harmonic mean is 2/101: quiet distress is not averaged away.
    assert trend([0.0, -20.0, -20.0]) == pytest.approx(-20.0 - 10 * -1.7033, abs=0.01)


@pytest.mark.parametrize(
    ("levels", "way"),
    [((-20.0, -23.0), "falling"), ((-20.0, -17.0), "rising"), ((-20.0,), "steady")],
)
def test_falling_energy_is_comforted_and_rising_is_encouraged(levels, way):
    blueprint = Blueprint.named("demo", (*SIZE, 'dialogue.delivery="trajectory"'))
    pair = next(pair for pair in blueprint.plan.pairs() if pair.query.turn)
    wanted = getattr(blueprint.prompts.trajectory_file.deliveries, way)
    manner = blueprint.response_manner(pair, levels)
    assert (manner.style, manner.point) == (wanted.style, wanted.delivery)
    assert manner in blueprint.room(pair).response_manners(pair)
