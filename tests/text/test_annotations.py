"""Why a pair is said: how it is asked for, what is kept of it, and where it is read again."""

import json
import shutil
from collections import Counter

import pytest

from corpus.checks.file_gates import check_parquet
from corpus.checks.inspection import Inspection
from corpus.checks.row_gates import check_rows
from corpus.dataset.dataset_folder import DatasetFolder
from corpus.errors import InvalidInput, SympatheiaError
from corpus.estimate.forecast import estimate
from corpus.opened import Corpus
from corpus.plan.blueprint import Blueprint
from corpus.plan.prompt_files import BUNDLED
from corpus.run.run_folder import RunFolder
from corpus.servers.chat_requests import ChatAnswer
from corpus.text.annotation.empathy import (
    Annotation,
    annotation_rules,
    noted,
    read_annotation,
)
from flows.orders import resolve
from schemas.orders import CorpusOrder
from schemas.tables import EMPATHY, rows_with
from tests.support.datasets import accept_files, rewrite, shard
from tests.support.fake_servers import FakeTextServer
from tests.support.line import (
    GRIDDED,
    GRIDDED_ANCHORS,
    files_of,
    rows,
    speak_and_pack,
    typed,
    write_recipe,
    write_run,
)
from tests.support.replies import completion, kind_of, status

ANNOTATED = (*GRIDDED, "annotate.empathy=true")
GOOD = Annotation(
    scenario="They have lost the keys of a flat that is not theirs.",
    cause="They fear that their friend will not trust them again.",
    goal="Calm them first, and then give them one step to take today.",
)


def annotations_asked(server):
    return [body for body in server.bodies if kind_of(body) == "annotation"]


@pytest.fixture(scope="module")
def server():
    with FakeTextServer() as server:
        yield server


@pytest.fixture
def behaving(server):
    """The server, with nothing asked yet, and on its good behaviour again after the test."""
    server.requests.clear()
    yield server
    server.behave = lambda body, n: None


@pytest.fixture(scope="module")
def recipe(server, tmp_path_factory):
    path = tmp_path_factory.mktemp("annotated") / "r.toml"
    return write_recipe(path, server.base_url, GRIDDED_ANCHORS)


@pytest.fixture(scope="module")
def annotated(recipe, server):
    """A packed run of every subset with annotations; to be copied before it is changed."""
    run = write_run(recipe.parent / "run", recipe, *ANNOTATED)
    speak_and_pack(run)
    return run


def test_every_row_says_why_in_three_sentences_of_its_own(annotated):
    noted_of = {row["id"]: row for row in rows(annotated.annotations)}
    found = list(Corpus.open(annotated.root))
    assert {row["subset"] for row in found} == {"emotional", "neutral", "grid"}
    for row in found:
        said = [row[name] for name in EMPATHY]
        assert said == [noted_of[row["id"]][name] for name in EMPATHY]
        assert all(said) and len(set(said)) == 3
    light = rows(next(annotated.corpus.glob("data/text/train-*.parquet")))
    assert set(EMPATHY) <= light[0].keys()
    card = (annotated.corpus / "README.md").read_text()
    assert "| why | `scenario`, `cause`" in card
    checked = typed("check", annotated.root, "--json")
    gates = {gate["name"]: gate for gate in json.loads(checked.stdout)["gates"]}
    assert checked.returncode == 0 and gates["annotation"]["passed"]


def test_it_is_asked_once_with_a_form_and_the_pair_s_own_words(recipe, behaving, tmp_path):
    run = write_run(tmp_path / "run", recipe, *ANNOTATED)
    asked = annotations_asked(behaving)
    texts = {row["id"]: row["text"] for row in rows(run.responses)}
    assert len(asked) == len(texts)
    for body in asked:
        form = body["response_format"]["json_schema"]
        assert form["schema"]["required"] == list(EMPATHY)
        assert any(text in body["messages"][-1]["content"] for text in texts.values())
    behaving.requests.clear()
    before = run.annotations.stat().st_mtime_ns
    write_run(run.root, recipe, *ANNOTATED)
    assert run.annotations.stat().st_mtime_ns == before
    run.annotations.unlink()
    write_run(run.root, recipe, *ANNOTATED, "llm.concurrency=3")
    assert behaving.bodies == []
    assert len(rows(run.annotations)) == len(texts)


def test_what_is_refused_is_asked_again_and_told_whatever_the_concurrency(
    recipe, behaving, tmp_path
):
    bad = {"scenario": "No.", "cause": "Yes.", "goal": "Well."}

    def behave(body, n):
        kind = body["seed"] % 4 if kind_of(body) == "annotation" else 3
        return (
            lambda: completion("I would say that they are sad."),
            lambda: completion(json.dumps(bad)),
            lambda: completion(json.dumps(GOOD.model_dump() | {"goal": GOOD.cause})),
            lambda: None,
        )[kind]()

    behaving.behave = behave
    runs = [
        write_run(tmp_path / name, recipe, *ANNOTATED, f"llm.concurrency={many}")
        for name, many in (("one", 1), ("many", 16))
    ]
    refused = [row for row in rows(runs[0].rejects) if row["stage"] == "annotations"]
    reasons = Counter(row["reason"] for row in refused)
    assert reasons.keys() == {"annotation_unreadable", "no_sentence", "said_twice"}
    tried = {row["id"]: row["attempt"] for row in rows(runs[0].annotations)}
    assert len(refused) == sum(tried.values())
    for one, other in zip(*(sorted(run.root.rglob("*.parquet")) for run in runs), strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name
    # And nothing is asked again, though what was refused is looked at once more.
    behaving.requests.clear()
    write_run(runs[0].root, recipe, *ANNOTATED)
    assert behaving.bodies == []


def test_a_server_that_takes_no_form_is_asked_without_it_and_remembered(
    recipe, behaving, tmp_path, annotated
):
    refusal = "extra_forbidden: response_format is not permitted"
    behaving.behave = lambda body, n: status(400, refusal) if "response_format" in body else None
    run = write_run(tmp_path / "run", recipe, *ANNOTATED, "llm.concurrency=1")
    asked = annotations_asked(behaving)
    assert ["response_format" in body for body in asked[:3]] == [True, False, False]
    assert sum("response_format" in body for body in asked) == 1
    # An answer is known by the whole request, whoever gave it.
    digests = [[row["digest"] for row in rows(one.annotations)] for one in (run, annotated)]
    assert digests[0] == digests[1]


def test_a_model_that_answers_in_another_form_stops_the_run_soon(recipe, behaving, tmp_path):
    behaving.behave = lambda body, n: (
        completion("Because they are sad.") if kind_of(body) == "annotation" else None
    )
    settings = (*ANNOTATED, "emotional.pairs_per_anchor=12", "llm.concurrency=2")
    with pytest.raises(SympatheiaError, match="annotation_unreadable refused 24 of the first 24"):
        write_run(tmp_path / "run", recipe, *settings)
    asked = len(annotations_asked(behaving))
    assert asked <= 26
    refused = [r for r in rows(tmp_path / "run" / "rejects.parquet") if r["stage"] == "annotations"]
    assert len(refused) >= 24


def test_a_corpus_without_them_is_as_before_and_one_that_gives_them_up_too(
    recipe, gridded, annotated, tmp_path
):
    without = RunFolder(gridded)
    assert not without.annotations.exists()
    run = RunFolder(shutil.copytree(annotated.root, tmp_path / "run"))
    write_run(run.root, recipe, *GRIDDED)
    speak_and_pack(run)
    assert not run.annotations.exists()
    plain = write_run(tmp_path / "plain", recipe, *GRIDDED)
    speak_and_pack(plain)
    assert files_of(run) == files_of(plain)
    manifest = json.loads((run.corpus / "manifest.json").read_text())
    assert "empathy" not in manifest


def test_what_stands_stays_when_a_rule_is_loosened(recipe, behaving, tmp_path):
    twice = json.dumps(GOOD.model_dump() | {"goal": GOOD.cause})

    def behave(body, n):
        first = kind_of(body) == "annotation" and body["seed"] % 2
        return completion(twice) if first else None

    behaving.behave = behave
    run = write_run(tmp_path / "run", recipe, *ANNOTATED)
    tables = [path.read_bytes() for path in (run.annotations, run.rejects)]
    assert {row["attempt"] for row in rows(run.annotations)} > {0}
    write_run(run.root, recipe, *ANNOTATED, "annotate.rules.said_twice=false")
    assert [path.read_bytes() for path in (run.annotations, run.rejects)] == tables


def test_annotations_that_failed_leave_nothing_when_they_are_given_up(recipe, behaving, tmp_path):
    plain = write_run(tmp_path / "plain", recipe, *GRIDDED)
    behaving.behave = lambda body, n: (
        completion(json.dumps(GOOD.model_dump() | {"goal": GOOD.cause}))
        if kind_of(body) == "annotation"
        else None
    )
    with pytest.raises(SympatheiaError, match="said_twice"):
        write_run(tmp_path / "run", recipe, *ANNOTATED)
    run = write_run(tmp_path / "run", recipe, *GRIDDED)
    assert run.rejects.read_bytes() == plain.rejects.read_bytes()


def test_the_templates_are_needed_and_counted_only_where_they_are_used(recipe, tmp_path):
    plain, with_them = (Blueprint.named(str(recipe), setting) for setting in (GRIDDED, ANNOTATED))
    assert plain.prompts.digest != with_them.prompts.digest
    prompts = shutil.copytree(BUNDLED, tmp_path / "prompts")
    shutil.rmtree(prompts / "templates" / "full" / "annotate")
    own = f'prompts="{prompts}"'
    assert Blueprint.named(str(recipe), (*GRIDDED, own)).prompts.digest == plain.prompts.digest
    with pytest.raises(InvalidInput, match="annotate/empathy.* is missing"):
        Blueprint.named(str(recipe), (*ANNOTATED, own))


def test_exchanges_before_are_shown_where_there_are_some(recipe):
    blueprint = Blueprint.named(str(recipe), ANNOTATED)
    anchor = next(iter(blueprint.plan.anchors.values()))
    said = [{"query": "Is it far?", "response": "Two streets."}]
    (_, asked) = blueprint.prompts.empathy(anchor, "And now?", "Left.", in_words=True, said=said)
    places = [asked["content"].index(words) for words in ("Is it far?", "Two streets.", "And now?")]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"goal": ""}, "no_sentence"),
        ({"cause": "so much " * 30}, "too_long"),
        ({"goal": GOOD.cause.upper()}, "said_twice"),
        (dict.fromkeys(EMPATHY[:2], "Sie haben Angst vor der langen Reise nach Hause."), "any"),
    ],
)
def test_each_part_is_a_sentence_of_its_own_in_english(recipe, change, reason):
    blueprint = Blueprint.named(str(recipe), ANNOTATED)
    german = {
        "scenario": "Sie haben den Schlüssel der Wohnung verloren.",
        "cause": "Sie fürchten, dass ihnen niemand mehr vertraut.",
        "goal": "Zuerst beruhigen, und dann einen kleinen Schritt nennen.",
    }
    found = Annotation(**(german if reason == "any" else GOOD.model_dump() | change))
    expected = "non_english" if reason == "any" else reason
    assert annotation_rules({}).judge(noted(blueprint, found)).reason == expected


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (GOOD.model_dump_json(), GOOD),
        (f"```json\n{GOOD.model_dump_json(indent=2)}\n```", GOOD),
        ('{"scenario": "a", "cause": "b"}', None),
        ('{"scenario": 1, "cause": "b", "goal": "c"}', None),
        ('{"scenario": "a", "cause": "b", "goal": "c", "more": "d"}', None),
        ("They are sad.", None),
        ("", None),
    ],
)
def test_an_answer_of_this_form_and_no_other_is_read(text, found):
    assert read_annotation(ChatAnswer(text, "stop", 1, 1, "fake")) == found


def test_a_rule_of_annotations_can_be_set_and_a_wrong_one_is_refused(recipe, tmp_path):
    blueprint = Blueprint.named(str(recipe), ANNOTATED)
    twice = noted(blueprint, GOOD.model_copy(update={"goal": GOOD.cause}))
    assert annotation_rules({"said_twice": "report"}).judge(twice).reported == ("said_twice",)
    order = CorpusOrder(recipe=str(recipe), overrides=("annotate.rules.to_long=3",))
    with pytest.raises(InvalidInput, match="annotate.rules.to_long: there is no such rule"):
        resolve(order)


def test_an_estimate_counts_the_requests_that_are_left(recipe, annotated, tmp_path):
    plain, asked = (
        estimate(Blueprint.named(str(recipe), setting), RunFolder(tmp_path / "none"))
        for setting in (GRIDDED, ANNOTATED)
    )
    pairs = Blueprint.named(str(recipe), ANNOTATED).plan.pair_count
    more = asked.figures["requests"].low - plain.figures["requests"].low
    assert more == pytest.approx(pairs)
    assert estimate(annotated.blueprint(), annotated).figures["requests"].high == 0


def test_a_row_without_its_annotation_does_not_pass(recipe, annotated, tmp_path):
    run = RunFolder(shutil.copytree(annotated.root, tmp_path / "run"))
    path = shard(run.corpus, "grid")
    columns = Blueprint.named(str(recipe), ANNOTATED).plan.columns
    rewrite(path, lambda table: [row | {"cause": " "} for row in table], rows_with(columns))
    accept_files(run.corpus)
    look = Inspection(DatasetFolder(run.root))
    check_parquet(look)
    check_rows(look)
    assert [gate.name for gate in look.gates.all if not gate.passed] == ["annotation"]


def test_the_report_counts_what_was_refused(annotated):
    refusals = Corpus.open(annotated.root).figures()["refusals"]
    assert set(refusals["acceptance"]["annotations"].values()) == {1.0}
