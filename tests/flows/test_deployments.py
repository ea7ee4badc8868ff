"""The flows as deployments: a real Prefect server, a real worker, and runs started each way."""

import json
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psutil
import pytest

from corpus.run.run_folder import RunFolder
from schemas.names import STAGES
from schemas.orders import CorpusOrder
from tests.support.fake_servers import FakeTextServer
from tests.support.line import texts_of, write_recipe
from tests.support.prefect_cluster import LONGEST_WAIT, PrefectCluster, until
from tests.support.replies import hang, status

SMALLEST = ["emotional.pairs_per_anchor=2", "neutral.queries=1"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with PrefectCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def server():
    with FakeTextServer() as server:
        yield server


@pytest.fixture
def behaving(server):
    """The text server, on its good behaviour again after the test."""
    yield server
    server.behave = lambda body, n: None


@pytest.fixture(scope="module")
def order(cluster, server):
    recipe = write_recipe(cluster.folder / "r.toml", server.base_url, anchors=("sad",))
    return {"recipe": str(recipe), "overrides": SMALLEST}


@pytest.fixture(scope="module")
def built(cluster, order):
    """A corpus built by the worker with all that can follow it; its run."""
    then_train = {"base": "THUDM/glm-4-voice-9b", "speech_tokenizer": "THUDM/glm-4-voice-tokenizer"}
    started = cluster.start(order | {"then_train": then_train})
    assert started.status_code == 201, started.text
    return cluster.ended(started.json()["id"])


def trainings(cluster) -> list[dict]:
    return cluster.found("flow_runs", flows={"name": {"any_": ["adapter"]}})


def ids(runs: list[dict]) -> list[str]:
    return [run["id"] for run in runs]


# What is registered


def test_the_deployments_are_registered_for_any_machine(cluster):
    pools = {}
    for name in ("corpus", "publish", "adapter", "responses", "evaluation", "publish-adapter"):
        found = cluster.deployment(f"{name}/sympatheia")
        pools[name] = found["work_pool_name"]
        assert found["enforce_parameter_schema"]
        assert found["tags"] == ["sympatheia", name]
        assert found["description"].endswith(".")
        assert "Args:" not in found["description"]
        assert found["entrypoint"].startswith("flows.")
        assert not found["path"] and not found["pull_steps"]
        assert str(Path.cwd()) not in str(found)
    on_gpus = ("adapter", "responses")
    assert pools == {name: "gpu" if name in on_gpus else "sympatheia" for name in pools}


def test_the_form_has_defaults_and_descriptions(cluster):
    schema = cluster.deployment("corpus/sympatheia")["parameter_openapi_schema"]
    fields = schema["definitions"]["CorpusOrder"]["properties"]
    assert fields["recipe"]["default"] == "demo"
    assert (fields["until"]["default"], fields["until"]["enum"]) == ("shards", list(STAGES))
    assert all(field["description"] for field in fields.values())
    assert schema["properties"]["order"]["default"]["check"] is True


@pytest.mark.parametrize(
    ("order", "says"),
    [
        ({"until": "lunch"}, "'lunch' is not one of"),
        ({"check": "maybe"}, "'maybe' is not of type 'boolean'"),
        ({"overrides": "seed=1"}, "'seed=1' is not of type 'array'"),
        ({"colour": "blue"}, "'colour' was unexpected"),
        ({"then_train": {"base": "x", "processes": 0}}, "then_train"),
        ("demo", "'demo' is not of type 'object'"),
    ],
)
def test_the_api_refuses_bad_values(cluster, order, says):
    refused = cluster.start(order)
    assert refused.status_code == 409
    assert says in refused.json()["detail"]


def test_the_api_refuses_other_parameters(cluster):
    deployment = cluster.deployment("corpus/sympatheia")["id"]
    path = f"deployments/{deployment}/create_flow_run"
    refused = cluster.call("POST", path, parameters={"ordr": {}})
    assert refused.status_code == 409
    assert "'ordr' was unexpected" in refused.json()["detail"]


# Runs


def test_a_run_started_through_the_api_builds_a_corpus(cluster, built):
    assert built["state"]["type"] == "COMPLETED", built["state"]["message"]
    assert built["name"] == "small, 3 pairs, until shards"
    folder = cluster.folder / "runs" / "small"
    found = cluster.artifacts(built["id"])
    links = {"report": folder / "report.html", "card": folder / "corpus" / "README.md"}
    for what, path in links.items():
        assert path.is_file()
        assert path.as_uri() in found[f"small-{what}"]["data"]
    assert "'file_missing'" in found["small-gates"]["data"].replace('"', "'")
    assert {"small-queries-cells", "small-speech-progress", "small-clips-progress"} <= found.keys()


def test_a_training_waits_for_a_worker_of_its_own_pool(cluster, built):
    training, *others = trainings(cluster)
    assert others == []
    assert training["state"]["type"] == "SCHEDULED"
    assert training["work_pool_name"] == "gpu"
    asked = training["parameters"]["order"]
    assert asked["run_dir"] == str(cluster.folder / "runs" / "small")
    assert asked["speech_tokenizer"] == "THUDM/glm-4-voice-tokenizer"


TRAINED = """
from pathlib import Path
from prefect import flow
from flows.training import require_deployment, start_responses
from schemas.orders import ResponsesAfter
@flow
def training():
    after = ResponsesAfter(base="b", speech_tokenizer="t", decoder="d", conditions=["none"])
    require_deployment(after.deployment)
    start_responses(after, Path("run"), Path("run/adapter"))
training()
"""


def test_responses_follow_a_training_and_wait_for_a_worker_of_the_gpus(cluster):
    script = [sys.executable, "-c", TRAINED]
    subprocess.run(script, env=cluster.env, check=True, timeout=LONGEST_WAIT)
    (responses,) = cluster.found("flow_runs", flows={"name": {"any_": ["responses"]}})
    assert responses["state"]["type"] == "SCHEDULED"
    assert responses["work_pool_name"] == "gpu"
    asked = responses["parameters"]["order"]
    run = Path.cwd() / "run"
    assert asked["corpus"] == str(run)
    assert asked["adapter"] == str(run / "adapter")
    assert asked["output"] == str(run / "responses")
    assert asked["conditions"] == ["none"]


def test_no_training_starts_when_a_gate_fails(cluster, order, built):
    before = ids(trainings(cluster))
    stray = cluster.folder / "runs" / "small" / "corpus" / "stray.txt"
    stray.write_text("not of this corpus")
    started = cluster.start(order | {"then_train": {"base": "b"}, "report": False})
    ended = cluster.ended(started.json()["id"])
    stray.unlink()
    assert ended["state"]["type"] == "FAILED"
    assert "gates failed: file_not_in_manifest. Mend" in ended["state"]["message"]
    assert ids(trainings(cluster)) == before


def test_a_failed_run_says_why_and_a_retry_goes_on(cluster, order, behaving):
    last = behaving.count + 2
    behaving.behave = lambda body, n: status(500) if n >= last else None
    overrides = [*SMALLEST, "llm.patience_seconds=0", "llm.concurrency=1"]
    folder = cluster.folder / "retried"
    started = cluster.start(
        order | {"run_dir": str(folder), "overrides": overrides, "until": "responses"}
    )
    failed = cluster.ended(started.json()["id"])
    assert failed["state"]["type"] == "FAILED"
    said = failed["state"]["message"]
    assert " could not be had from " in said
    assert said.endswith("run the same command again; nothing done is lost.")
    answered = Counter()
    behaving.behave = lambda body, n: answered.update([str(body)])
    cluster.prefect("flow-run", "retry", failed["id"])
    done = cluster.ended(failed["id"], after=failed["run_count"])
    assert done["state"]["type"] == "COMPLETED"
    assert max(answered.values()) == 1


def test_the_sentence_comes_after_the_last_of_prefects_own_retries(cluster):
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

    from flows.corpus import build_corpus

    with temporary_settings({PREFECT_API_URL: cluster.url, PREFECT_HOME: cluster.folder / "here"}):
        twice = build_corpus.with_options(retries=1)
        state = twice(CorpusOrder(recipe="dmo"), return_state=True)
    assert state.message.startswith("There is no recipe 'dmo'")
    assert cluster.run(state.state_details.flow_run_id)["run_count"] == 2


def test_a_cancelled_run_leaves_nothing_behind_and_the_next_goes_on(
    cluster, order, built, behaving
):
    behaving.behave = lambda body, n: hang if n % 4 == 3 else None
    run = RunFolder(cluster.folder / "cancelled")
    asked = order | {"run_dir": str(run.root), "until": "responses"}
    before = set(cluster.worker.children(recursive=True))
    count = behaving.count
    started = cluster.start(asked).json()["id"]
    until(lambda: behaving.count > count and behaving.in_flight)
    processes = set(cluster.worker.children(recursive=True)) - before
    assert run.busy
    assert len(processes) >= 2  # the flow, and what embeds
    cluster.prefect("flow-run", "cancel", started)
    assert cluster.ended(started)["state"]["type"] == "CANCELLED"
    assert psutil.wait_procs(processes, timeout=30)[1] == []
    assert not run.busy

    behaving.behave = lambda body, n: None
    cluster.prefect(
        "deployment",
        "run",
        "corpus/sympatheia",
        "-p",
        f"order={json.dumps(asked)}",
        "--watch",
    )
    assert texts_of(run) == texts_of(RunFolder(cluster.folder / "runs" / "small"))


def test_a_schedule_starts_runs_and_stays_when_the_flows_are_registered_again(cluster, order):
    deployment = cluster.deployment("corpus/sympatheia")["id"]
    parameters = {"order": order | {"run_dir": "scheduled", "until": "plan"}}
    # Prefect lays runs out every few seconds, and none that is past.
    schedule = {"interval": 15, "anchor_date": datetime.now(UTC).isoformat()}
    planned = {"schedule": schedule, "active": True, "parameters": parameters}
    created = httpx.post(f"{cluster.url}/deployments/{deployment}/schedules", json=[planned])
    assert created.status_code == 201, created.text
    cluster.deploy()
    assert len(cluster.deployment("corpus/sympatheia")["schedules"]) == 1
    recipe = cluster.folder / "scheduled" / "recipe.toml"
    until(recipe.is_file)
    slot = created.json()[0]["id"]
    path = f"deployments/{deployment}/schedules/{slot}"
    assert cluster.call("DELETE", path).is_success
