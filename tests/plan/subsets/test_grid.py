import pytest

from corpus.errors import InvalidInput
from corpus.plan.blueprint import Blueprint
from corpus.plan.prompt_files import BUNDLED
from corpus.plan.recipe_files import load_recipe
from corpus.plan.subsets.grid import Grid, blended, parts_of
from corpus.text.responses import response_request
from schemas.slots import Place
from tests.support.line import copy_prompts, typed

SIZE = ("grid.queries=20", "grid.points=4")


@pytest.fixture(scope="module", params=["sympatheia-18k", "demo"])
def blueprint(request):
    return Blueprint.named(request.param, (*SIZE, "llm.endpoints=['http://127.0.0.1:9/v1']"))


@pytest.fixture(scope="module")
def anchors(prompts):
    return {anchor.name: anchor for anchor in prompts.anchors}


def pairs_of(blueprint):
    return [pair for pair in blueprint.plan.pairs() if pair.query.subset == "grid"]


def at(*blend):
    return Place(0.0, 0.0, blend)


def words(place, anchors):
    return blended(place, parts_of(place, anchors), anchors).feeling


def test_ids_are_those_of_the_contract(blueprint):
    pairs = {pair.id: pair for pair in pairs_of(blueprint)}
    assert len(pairs) == 80
    pair = pairs["grid-00017-03"]
    assert (pair.query.id, pair.query.emotion) == ("grid-00017", "neutral")
    assert pair.anchor == pair.place.blend[0][0]
    assert pair.query.cell == "grid"


@pytest.mark.parametrize(
    ("blend", "feeling"),
    [
        ((("anxious", 0.7), ("frustrated", 0.3)), "mostly anxious, somewhat frustrated"),
        ((("sad", 0.93), ("tired", 0.07)), "almost entirely sad"),
        (
            (("sad", 0.4), ("tired", 0.39), ("angry", 0.21)),
            "partly sad, somewhat tired, slightly angry",
        ),
    ],
)
def test_weights_are_told_in_words(anchors, blend, feeling):
    assert words(at(*blend), anchors) == feeling


def test_a_blend_is_asked_for_with_what_its_anchors_know(anchors, prompts):
    place = at(("anxious", 0.7), ("frustrated", 0.25), ("sad", 0.05))
    (first,) = [message["content"] for message in _asked(place, anchors, prompts)[1:]]
    assert "they feel mostly anxious, somewhat frustrated." in first
    for name in ("anxious", "frustrated"):
        assert anchors[name].goal in first
        assert all(cue in first for cue in anchors[name].cues)
    assert anchors["sad"].goal not in first


def _asked(place, anchors, prompts):
    parts = parts_of(place, anchors)
    values = {"anchor": blended(place, parts, anchors), "blend": parts, "query": "Where is it?"}
    return prompts.render("grid/response", values)


def test_a_blend_is_spoken_at_the_mean_of_its_anchors_deliveries(anchors):
    place = at(("excited", 0.6), ("angry", 0.3), ("sad", 0.1))
    target = blended(place, parts_of(place, anchors), anchors)
    assert target.response_delivery.valence == pytest.approx(0.6 * 0.75 + 0.3 * 0.0 + 0.1 * 0.4)
    assert target.response_delivery.arousal == pytest.approx(0.6 * 0.8 - 0.3 * 0.1 - 0.1 * 0.35)
    assert target.response_style == (
        "Mostly upbeat, bright, lively; somewhat calm, firm, controlled; slightly warm, gentle, "
        "reassuring"
    )


def test_words_are_required_only_where_every_part_requires_some(anchors):
    both = at(("tired", 0.6), ("disgusted", 0.4))
    one = at(("tired", 0.6), ("sad", 0.4))
    required = {*anchors["tired"].required_words, *anchors["disgusted"].required_words}
    assert set(blended(both, parts_of(both, anchors), anchors).required_words) == required
    assert blended(one, parts_of(one, anchors), anchors).required_words == ()


def test_every_request_of_a_grid_can_be_made(blueprint):
    for pair in pairs_of(blueprint):
        messages = blueprint.room(pair).ask_response(pair, "Where do I find rice?")
        assert "Where do I find rice?" in messages[-1]["content"]
        assert blueprint.target(pair).feeling in "".join(m["content"] for m in messages)
        assert len(blueprint.target(pair).examples) >= 2


def test_an_anchor_more_asks_anew_only_at_points_that_it_is_blended_into(blueprint):
    """The new one lies among the others, so that no point moves."""
    names = [name for name in blueprint.plan.anchors if name != "neutral"]
    fewer = blueprint.recipe.model_copy(update={"anchors": tuple(names)})
    before, after = Blueprint.of(fewer, blueprint.prompts), blueprint
    digests = [
        {pair.id: response_request(one, pair, "Where?", 0).digest() for pair in pairs_of(one)}
        for one in (before, after)
    ]
    asked = {name for name in digests[0] if digests[0][name] != digests[1][name]}
    blended_in = {p.id for p in pairs_of(after) if "neutral" in dict(p.place.blend)}
    assert asked <= blended_in
    assert 0 < len(asked) < len(digests[1])


def test_a_grid_has_points():
    with pytest.raises(InvalidInput, match=r"grid: queries is 5 and points is 0: set both"):
        load_recipe("demo", ("grid.queries=5",))
    assert not Grid.queries_of(load_recipe("demo", ("grid.points=5",)))


def test_only_who_makes_a_grid_needs_its_template(tmp_path):
    folder = copy_prompts(tmp_path / "prompts")
    where = f"prompts='{folder}'"
    with_grid = Blueprint.named("demo", (where, *SIZE)).prompts.digest
    plain = Blueprint.named("demo", (where,)).prompts.digest
    assert with_grid != plain
    template = folder / "templates" / "small" / "grid" / "response.jinja"
    template.write_text(template.read_text() + " Well?")
    assert Blueprint.named("demo", (where,)).prompts.digest == plain
    assert Blueprint.named("demo", (where, *SIZE)).prompts.digest != with_grid
    template.write_text("[[user]]\n{{ nothing }}")
    assert Blueprint.named("demo", (where,)).prompts.digest == plain
    refused = typed("anchors", "check", "--prompts", folder)
    assert refused.returncode == 2
    assert "grid/response.jinja: 'nothing' is undefined" in refused.stderr
    template.unlink()
    with pytest.raises(InvalidInput, match=r"template grid/response.jinja is missing"):
        Blueprint.named("demo", (where, *SIZE))


def test_the_bundled_prompts_are_known_by_what_the_published_corpus_needs():
    assert Blueprint.named("demo").prompts.more == ()
    assert (BUNDLED / "templates" / "full" / "grid" / "response.jinja").is_file()
