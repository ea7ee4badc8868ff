"""What a run leaves on Prefect's pages, read back from a real Prefect server."""

import json
import os
import subprocess
import sys
from collections import Counter

import pytest

from tests.support.fake_servers import FakeTextServer
from tests.support.line import rows, write_recipe
from tests.support.replies import sometimes

BUILD_AND_READ = """
import json, sys
from flows import artifacts
artifacts.UPDATE_EVERY_SECONDS = 0.2
artifacts.FIGURES_EVERY = 2
from prefect.client.orchestration import get_client
from flows.corpus import build_corpus
from flows.orders import resolve
from flows.services.prefect_server import prefect_api
from flows.work import at_work
from schemas.orders import CorpusOrder

recipe, folder = sys.argv[1:]
ours = {"artifacts": {"key": {"like_": "pages-%"}}}
overrides = ("llm.concurrency=2", "llm.gpus=4", "llm.gpu_hour_price=2.5")
order = CorpusOrder(recipe=recipe, run_dir=folder, overrides=overrides, until="responses")
asked = resolve(order)
with at_work(asked.folder, asked.blueprint, order.until):
    with prefect_api():
        build_corpus(order)
        with get_client(sync_client=True) as client:
            found = client.request("POST", "/artifacts/filter", json=ours).json()
print(json.dumps([{k: a[k] for k in ("key", "type", "data", "description")} for a in found]))
"""


def test_progress_cells_and_rejections_are_on_prefects_pages(shared_prefect, tmp_path):
    with FakeTextServer(latency=0.1) as server:
        server.behave = sometimes(["short"], 0.4)
        recipe = write_recipe(tmp_path / "r.toml", server.base_url, anchors=("sad",))
        recipe.write_text(recipe.read_text().replace('"small"', '"pages"'))
        command = [sys.executable, "-c", BUILD_AND_READ, recipe, tmp_path / "run"]
        ran = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ))
    assert ran.returncode == 0, ran.stderr
    listed = json.loads(ran.stdout.splitlines()[-1])
    found = {artifact["key"]: artifact for artifact in listed}
    progress = found["pages-queries-progress"]
    assert progress["type"] == "progress"
    assert progress["data"] == 100
    assert "queries: 7 of 7; responses: 7 of 7" in progress["description"]
    cells = {(row["stage"], row["cell"]): row for row in _table(found["pages-queries-cells"])}
    assert cells["queries", "emotional-sad"]["done"] == 4
    assert cells["responses", "neutral-sad"]["total"] == 3
    refused = Counter(
        (row["stage"], row["reason"]) for row in rows(tmp_path / "run" / "rejects.parquet")
    )
    assert refused
    told = _table(found["pages-queries-rejections"])
    assert {(row["stage"], row["reason"]): row["times"] for row in told} == refused
    figures = [_table(a) for a in listed if a["key"] == "pages-queries-figures"]
    assert {0, 7} <= {row["waiting"] for table in figures for row in table}
    assert max(row["per second"] or 0 for table in figures for row in table) > 0
    servers = [row for a in listed if a["key"] == "pages-queries-servers" for row in _table(a)]
    last = max(servers, key=lambda row: row["answered"])
    assert last["address"] == server.base_url
    assert last["answered"] == 14 + refused.total()
    assert last["cost of all"] == pytest.approx(2.5 * last["GPU-hours of all"])
    assert last["GPU-hours of all"] > 0


def _table(artifact):
    assert artifact["type"] == "table"
    return json.loads(artifact["data"])
