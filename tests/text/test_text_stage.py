"""The text stage against a local server: exact, repeatable, resumable, and hard to fool."""

import numpy as np
import pytest

from corpus.embedding.embedder import Embedder
from corpus.errors import InvalidInput, SympatheiaError
from corpus.servers.retry_and_failover import EndpointsFailed
from corpus.store.line_log import read_log
from tests.support.line import add_anchor, copy_prompts, rows, texts_of, write_recipe, write_run
from tests.support.replies import CONTENT, THINKING, TRANSPORT, completion, first, sometimes, status


def keys(server):
    return [(str(body["messages"]), body["seed"]) for body in server.bodies]


def test_every_slot_is_filled_and_nothing_is_asked_twice(tmp_path, recipe, server):
    run = write_run(tmp_path / "run", recipe)
    queries, responses = rows(run.queries), rows(run.responses)
    assert [row["query_id"] for row in queries][:2] == [
        "emotional-tired-00000",
        "emotional-tired-00001",
    ]
    assert (len(queries), len(responses)) == (3 * 4 + 3, 3 * 4 + 3 * 3)
    assert len(set(keys(server))) == server.count == len(keys(server))
    count = server.count
    write_run(tmp_path / "run", recipe)
    assert server.count == count


def test_no_two_queries_are_closer_than_the_threshold(tmp_path, recipe, server):
    # Every other request is answered with one of three sentences, so most are near-duplicates.
    def repetitive(body, n):
        said = f"Could you remind me to water plant number {body['seed'] % 3} this evening?"
        asked = '"' not in body["messages"][-1]["content"].rpartition("\n")[2]
        return completion(said) if asked and body["seed"] % 2 else None

    server.behave = repetitive
    run = write_run(tmp_path / "run", recipe)
    texts = [row["text"] for row in rows(run.queries)]
    vectors = Embedder("sentence-transformers/all-MiniLM-L6-v2").encode(texts)
    similarity = vectors @ vectors.T - 2 * np.eye(len(texts))
    assert similarity.max() <= 0.85
    rejected = [row for row in rows(run.rejects) if row["reason"] == "near_duplicate"]
    assert rejected
    for row in rejected:
        assert row["stage"] == "queries"
        assert row["similarity"] > 0.85
        assert row["nearest_text"] in texts
        assert row["nearest_id"]


def test_concurrency_and_arrival_order_leave_no_trace(tmp_path, recipe, server):
    server.behave = sometimes(["short", "markdown", "length", "500"], 0.4)
    one = write_run(tmp_path / "one", recipe, "llm.concurrency=1", "llm.patience_seconds=60")
    many = write_run(tmp_path / "many", recipe, "llm.concurrency=32", "llm.patience_seconds=60")
    for name in ("queries", "responses", "rejects"):
        assert getattr(one, name).read_bytes() == getattr(many, name).read_bytes(), name
    assert read_log(one.decisions) == read_log(many.decisions)


def test_a_run_that_breaks_off_goes_on_without_asking_again(tmp_path, recipe, server):
    whole = write_run(tmp_path / "whole", recipe)
    asked = server.count
    server.requests.clear()
    server.behave = lambda body, n: None if n - asked < 14 else status(401, "no more")
    with pytest.raises(EndpointsFailed):
        write_run(tmp_path / "run", recipe, "llm.concurrency=2")
    answered = keys(server)[:14]
    server.behave = lambda body, n: None
    server.requests.clear()
    run = write_run(tmp_path / "run", recipe, "llm.concurrency=2")
    assert not set(answered) & set(keys(server))
    assert len(keys(server)) == asked - 14
    assert texts_of(run) == texts_of(whole)
    assert run.rejects.read_bytes() == whole.rejects.read_bytes()


def test_a_13th_anchor_asks_for_itself_alone(tmp_path, recipe, server):
    recipe = write_recipe(recipe, server.base_url, anchors=())
    text = recipe.read_text().replace("anchors = []", 'anchors = "all"')
    recipe.write_text(text.replace("pairs_per_anchor = 4", "pairs_per_anchor = 2"))
    run = write_run(tmp_path / "run", recipe)
    before, old = texts_of(run), rows(run.queries)
    server.requests.clear()
    folder = copy_prompts(tmp_path / "prompts", add_anchor)
    write_run(tmp_path / "run", recipe, f'prompts="{folder}"')
    after = texts_of(run)
    assert all("proud" in body["messages"][-1]["content"] for body in server.bodies)
    new = {slot for slot in after if slot not in before}
    assert len(new) == 2 + 2 + 3  # its queries, its responses, one to each neutral query
    assert len(server.bodies) == len(new) + sum("proud" in row["slot"] for row in rows(run.rejects))
    assert {slot: after[slot] for slot in before} == before
    splits = {row["query_id"]: row["split"] for row in rows(run.queries)}
    assert all(splits[row["query_id"]] == row["split"] for row in old)


def test_changed_cues_ask_for_that_anchors_responses_alone(tmp_path, recipe, server):
    run = write_run(tmp_path / "run", recipe)
    before = texts_of(run)
    server.requests.clear()

    def change(data):
        sad = next(anchor for anchor in data["anchors"] if anchor["name"] == "sad")
        sad["cues"] = ["speak of small steps"]

    folder = copy_prompts(tmp_path / "prompts", change)
    write_run(tmp_path / "run", recipe, f'prompts="{folder}"')
    after = texts_of(run)
    assert all("small steps" in body["messages"][-1]["content"] for body in server.bodies)
    assert len(server.bodies) == 4 + 3
    changed = {slot for slot in before if after[slot] != before[slot]}
    assert changed <= {slot for slot in before if slot.startswith("response") and "sad" in slot} | {
        f"response neutral-{n:05d}-sad" for n in range(3)
    }


def test_more_pairs_leave_earlier_rows_as_they_are(tmp_path, recipe, server):
    run = write_run(tmp_path / "run", recipe)
    before, splits = texts_of(run), {r["query_id"]: r["split"] for r in rows(run.queries)}
    asked = set(keys(server))
    server.requests.clear()
    write_run(tmp_path / "run", recipe, "emotional.pairs_per_anchor=13", "neutral.queries=5")
    assert not asked & set(keys(server))
    after = texts_of(run)
    assert {slot: after[slot] for slot in before} == before
    grown = {row["query_id"]: row["split"] for row in rows(run.queries)}
    assert {slot: grown[slot] for slot in splits} == splits
    assert len(grown) == 3 * 13 + 5


def test_what_is_accepted_stays_though_a_new_earlier_slot_says_the_same(tmp_path, recipe, server):
    # The new anchor comes first in slot order and says what the standing ones have said.
    run = write_run(tmp_path / "run", recipe, 'anchors=["tired"]', "neutral.queries=0")
    standing = texts_of(run)
    said = [text for slot, text in standing.items() if not slot.startswith("response")]

    def copycat(body, n):
        asking = "Topic" in str(body) or "topic:" in body["messages"][-1]["content"]
        return completion(said[n % len(said)]) if asking and body["seed"] % 2 else None

    server.behave = copycat
    write_run(tmp_path / "run", recipe, 'anchors=["happy", "tired"]', "neutral.queries=0")
    after = texts_of(run)
    assert {slot: after[slot] for slot in standing} == standing
    twins = [row for row in rows(run.rejects) if row["reason"] == "near_duplicate"]
    assert twins
    assert all(row["nearest_id"].startswith("emotional-tired") for row in twins)


def test_an_accepted_query_leaves_with_the_request_that_made_it(tmp_path, recipe, server):
    run = write_run(tmp_path / "run", recipe)
    before = texts_of(run)
    server.requests.clear()

    def change(data):
        sad = next(anchor for anchor in data["anchors"] if anchor["name"] == "sad")
        sad["feeling"] = "low, as after a farewell"

    folder = copy_prompts(tmp_path / "prompts", change)
    write_run(tmp_path / "run", recipe, f'prompts="{folder}"')
    after = texts_of(run)
    changed = {slot for slot in after if after[slot] != before[slot]}
    assert changed <= {slot for slot in after if "sad" in slot}
    assert any(not slot.startswith("response") for slot in changed)
    assert all("farewell" in body["messages"][-1]["content"] for body in server.bodies)
    server.requests.clear()
    write_run(tmp_path / "run", recipe)
    assert texts_of(run) == before
    assert server.bodies == []


@pytest.mark.parametrize("fault", sorted(TRANSPORT))
def test_a_server_that_fails_now_and_then_costs_time_alone(tmp_path, recipe, server, fault):
    good = write_run(tmp_path / "good", recipe, "neutral.queries=0")
    server.behave = first(3, TRANSPORT[fault])
    server.count = 0
    run = write_run(
        tmp_path / "run", recipe, "neutral.queries=0", "llm.timeout_seconds=1", "llm.concurrency=4"
    )
    assert texts_of(run) == texts_of(good)
    assert run.rejects.read_bytes() == good.rejects.read_bytes()


@pytest.mark.parametrize("fault", sorted(CONTENT))
def test_bad_content_is_refused_and_asked_again(tmp_path, recipe, server, fault):
    server.behave = sometimes([fault], 0.4)
    run = write_run(tmp_path / "run", recipe)
    refused = rows(run.rejects)
    if fault != "emoji":  # which is taken out, and the rest is good
        assert {row["stage"] for row in refused} == {"queries", "responses"}
    assert all(row["reason"] for row in refused)
    for text in texts_of(run).values():
        assert text.isascii()
        assert not set(text) & set("*#<>[]\n")
        assert len(text.split()) >= 4
        assert not text.lower().startswith(("sure", "here is", "response", "das "))
        assert "and then we walk and then" not in text


@pytest.mark.parametrize("kind", sorted(THINKING))
def test_thinking_is_never_part_of_the_text(tmp_path, recipe, server, kind):
    server.behave = sometimes([kind], 1.0)
    run = write_run(tmp_path / "run", recipe)
    assert not any("SECRET" in text for text in texts_of(run).values())
    assert b"SECRET" not in b"".join(path.read_bytes() for path in run.store.rglob("*.jsonl"))


def test_thinking_is_switched_by_stage(tmp_path, recipe, server):
    write_run(tmp_path / "run", recipe)
    switches = {
        (body["max_tokens"], body["chat_template_kwargs"]["enable_thinking"])
        for body in server.bodies
    }
    assert switches == {(128, False), (4096, True)}


@pytest.mark.parametrize("fault", ["null", "endless_thinking", "meta", "german"])
def test_a_server_that_only_says_rubbish_ends_the_run_with_cell_count_and_reason(
    tmp_path, recipe, server, fault
):
    server.behave = sometimes([fault], 1.0)
    with pytest.raises(SympatheiaError) as stopped:
        write_run(tmp_path / "run", recipe, "llm.max_attempts=1")
    says = str(stopped.value)
    assert "slots stayed empty after 1 attempts each" in says
    assert "emotional-sad: 4" in says
    assert "1x" in says
    assert "run the same command again" in says
    assert not (tmp_path / "run" / "tables").exists()
    assert len(rows(tmp_path / "run" / "rejects.parquet")) == 15
    server.behave = lambda body, n: None
    run = write_run(tmp_path / "run", recipe, "llm.max_attempts=6")
    assert len(rows(run.queries)) == 15


def test_a_server_that_is_down_for_good_ends_the_run_with_cause_and_remedy(
    tmp_path, recipe, server
):
    server.behave = sometimes(["500"], 1.0)
    with pytest.raises(EndpointsFailed, match=r"HTTP 500.*run the same command again"):
        write_run(tmp_path / "run", recipe, "llm.patience_seconds=1")


def test_the_folder_of_another_recipe_is_refused_and_left_alone(tmp_path, recipe, server):
    run = write_run(tmp_path / "run", recipe, "neutral.queries=0")
    before = {path: path.read_bytes() for path in run.root.rglob("*") if path.is_file()}
    for override in ("seed=4", 'name="other"', "split.eval_fraction=0.2", "dedup.threshold=0.9"):
        with pytest.raises(InvalidInput, match="holds the run of another recipe: its"):
            write_run(tmp_path / "run", recipe, override)
    assert {path: path.read_bytes() for path in run.root.rglob("*") if path.is_file()} == before
