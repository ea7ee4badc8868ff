import pytest

from corpus.text.response_similarity import near_twins
from tests.support.fake_servers import FakeTextServer
from tests.support.line import rows, write_recipe, write_run
from tests.support.replies import completion, kind_of

ONE_FOR_ALL = (
    "Start with the smallest thing on the list. Then have a cup of tea in the garden. "
    "The rest is tiring, and it can wait until tomorrow."
)


@pytest.fixture
def server():
    with FakeTextServer() as running:
        yield running


def test_responses_that_are_alike_for_two_feelings_are_counted(tmp_path, server):
    recipe = write_recipe(tmp_path / "small.toml", server.base_url)

    def alike(body, n):
        asked = body["messages"][-1]["content"]
        twin = "no sign of it" in asked and "very angry" not in asked
        return completion(ONE_FOR_ALL) if kind_of(body) == "response" and twin else None

    server.behave = alike
    run = write_run(tmp_path / "run", recipe)
    table = rows(run.similarities)
    assert len(table) == 3 * 3  # every two of three anchors, at each of three queries
    found = near_twins(run, 0.85)
    assert found is not None
    assert (found["compared"], found["near_twins"], found["queries"]) == (9, 3, 3)
    assert {frozenset(both.split(", ")): n for both, n in found["anchors"].items()} == {
        frozenset({"sad", "tired"}): 3
    }
    twins = [row for row in table if row["similarity"] > 0.85]
    assert {row["similarity"] for row in twins} == {1.0}


def test_without_neutral_queries_there_is_nothing_to_compare(tmp_path, server):
    recipe = write_recipe(tmp_path / "small.toml", server.base_url)
    run = write_run(tmp_path / "run", recipe, "neutral.queries=0")
    assert near_twins(run, 0.85) is None
