"""A build that waits for people: paused in Prefect, or stopped with a sentence."""

import contextvars
import threading
from contextlib import contextmanager

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas import OrchestrationResult
from prefect.client.schemas.responses import SetStateStatus, StateRejectDetails
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from corpus.errors import InvalidInput
from corpus.review.desk import Desk, Part, Said
from corpus.run.run_folder import RunFolder
from flows import review_gate
from flows.orders import resolve
from schemas.orders import CorpusOrder, ReviewFirst
from tests.support.fake_servers import FakeTextServer
from tests.support.line import sympatheia, write_recipe
from tests.support.prefect_cluster import until

pytestmark = pytest.mark.usefixtures("one_embedder")


@pytest.fixture(scope="module")
def server():
    with FakeTextServer() as server:
        yield server


@pytest.fixture
def recipe(tmp_path, server):
    return write_recipe(tmp_path / "r.toml", server.base_url, anchors=("sad",))


SMALLEST = ("emotional.pairs_per_anchor=2", "neutral.queries=1")


def review(run, places, struck=()):
    desk = Desk(run)
    for place in places:
        shown = desk.shown(place, "ada")
        parts = [
            Part(
                role=part["role"],
                digest=part["digest"],
                verdict="strike" if (place, part["role"]) in struck else "keep",
            )
            for part in shown["parts"]
        ]
        desk.take(Said(id=shown["id"], reviewer="ada", parts=parts))


class Prefect:
    """What someone sees in Prefect of the one run that is new in its database."""

    def __init__(self, client, known):
        self._client, self._known = client, known

    def run(self):
        new = [run for run in self._client.read_flow_runs() if run.id not in self._known]
        return new[0] if new else None

    def paused(self, after=None):
        """The state, once the run is paused, for another time than that of a state."""

        def is_paused():
            run = self.run()
            return run and run.state.is_paused() and (not after or run.state.id != after.id)

        until(is_paused)
        return self.run().state

    def resume(self):
        self._client.resume_flow_run(self.run().id)

    def artifacts(self, key):
        return [one for one in self._client.read_artifacts() if one.key == key]


@pytest.fixture
def prefect(prefect_url, tmp_path, monkeypatch):
    monkeypatch.setattr(review_gate, "LOOK_EVERY_SECONDS", 0.1)
    with (
        temporary_settings({PREFECT_API_URL: prefect_url, PREFECT_HOME: tmp_path / "home"}),
        get_client(sync_client=True) as client,
    ):
        yield Prefect(client, {run.id for run in client.read_flow_runs()})


@contextmanager
def building(recipe, run):
    """Builds in a thread, and waits for half of each cell; has ended behind the block."""
    from flows.corpus import build_corpus

    order = CorpusOrder(
        recipe=str(recipe),
        run_dir=run.root,
        overrides=SMALLEST,
        review=ReviewFirst(required=0.5),
        report=False,
        check=False,
    )
    # Prefect keeps the address of its server in the context, which a thread does not inherit.
    in_context = contextvars.copy_context().run
    flow = threading.Thread(target=in_context, args=(build_corpus, order))
    flow.start()
    try:
        yield
    finally:
        flow.join(120)


def test_a_run_waits_paused_until_enough_is_reviewed_and_what_was_struck_is_made_again(
    prefect, prefect_url, recipe, tmp_path
):
    run = RunFolder(tmp_path / "run")
    with building(recipe, run):
        first = prefect.paused()
        assert "0 of 3 pairs are reviewed; 2 cells need more" in first.message
        assert f"'sympatheia review {run.root} --per-cell 1'" in first.message
        assert not run.busy
        assert not run.corpus.exists()
        (table,) = prefect.artifacts("small-review")
        pages = prefect_url.removesuffix("/api")
        link = f" What each cell lacks: {pages}/artifacts/artifact/{table.id}"
        assert first.message == table.description + link
        assert '"reviewed": 0, "wanted": 1' in table.data
        before = [pair.digests for pair in Desk(run).pairs]
        prefect.resume()
        second = prefect.paused(after=first)  # nothing is reviewed yet
        review(run, [0, 1], struck=[(1, "response")])
        third = prefect.paused(after=second)  # what was struck is another now, and not reviewed
        assert "1 of 3 pairs are reviewed; 1 cells need more" in third.message
        review(run, [1])
    assert prefect.run().state.is_completed()
    after = [pair.digests for pair in Desk(run).pairs]
    assert [one["response"] == other["response"] for one, other in zip(before, after, strict=True)]
    card = (run.corpus / "README.md").read_text()
    assert "| review | 2 of 3 pairs read and heard whole by 1 person; 1 texts and clips" in card


@pytest.mark.parametrize("answer", ["none", "refused"])
def test_a_run_that_prefect_did_not_resume_is_resumed_at_the_next_look(
    prefect, recipe, tmp_path, monkeypatch, answer
):
    asked = []
    resume = SyncPrefectClient.resume_flow_run

    def fails_once(client, run_id):
        asked.append(run_id)
        if len(asked) > 1:
            return resume(client, run_id)
        if answer == "none":
            raise httpx.ReadTimeout("Prefect is busy.")
        return OrchestrationResult(
            state=None, status=SetStateStatus.REJECT, details=StateRejectDetails(reason="no")
        )

    monkeypatch.setattr(SyncPrefectClient, "resume_flow_run", fails_once)
    run = RunFolder(tmp_path / "run")
    with building(recipe, run):
        prefect.paused()
        review(run, [0, 1, 2])
    assert len(asked) == 2
    assert prefect.run().state.is_completed()


def test_by_command_line_it_ends_with_a_sentence_and_goes_on_when_that_was_reviewed(
    shared_prefect, recipe, tmp_path
):
    run = RunFolder(tmp_path / "run")
    settings = [part for setting in SMALLEST for part in ("--set", setting)]
    command = ("build", recipe, "--run-dir", run.root, "--require-review", 1, *settings)
    stopped = sympatheia(*command)
    assert stopped.returncode == 1
    assert "0 of 3 pairs are reviewed" in stopped.stderr
    assert "Then run the same command again; everything made is kept." in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert run.clips.is_file() and not run.corpus.exists()
    review(run, [0, 1, 2])
    done = sympatheia(*command)
    assert done.returncode == 0, done.stderr
    card = (run.corpus / "README.md").read_text()
    assert "| review | 3 of 3 pairs read and heard whole by 1 person" in card
    assert "no person has listened to each" not in card


def test_a_review_of_what_is_not_packed_is_refused(tmp_path):
    order = CorpusOrder(until="speech", review=ReviewFirst(required=1))
    with pytest.raises(InvalidInput, match="before the dataset is packed .* Set until to 'shards'"):
        resolve(order)
