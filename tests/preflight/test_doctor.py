"""Doctor as a whole, and the half of it that every build looks at."""

import json
from pathlib import Path

import pytest

from corpus.errors import SympatheiaError
from corpus.plan.blueprint import Blueprint
from corpus.preflight.hearing_judges import JUDGES
from corpus.preflight.text_servers import ANSWERED, LISTED
from corpus.preflight.voices import VOICES
from corpus.run.run_folder import RunFolder
from flows.work import at_work
from tests.preflight.test_hearing_judges import JUDGE_FAULTS
from tests.preflight.test_machine import MACHINE, MACHINE_FAULTS
from tests.preflight.test_text_servers import TEXT_FAULTS
from tests.preflight.test_voices import VOICE_FAULTS
from tests.support.fake_servers import FakeTextServer
from tests.support.findings import NOBODY
from tests.support.line import typed, write_recipe, write_run


def test_every_check_has_had_a_fault_planted():
    planted = {name for _, names in TEXT_FAULTS.values() for name in names}
    planted |= {name for _, names in VOICE_FAULTS.values() for name in names}
    planted |= {name for *_, (name, *_) in MACHINE_FAULTS.values()} | {"hub_token", "dnsmos"}
    planted |= {name for _, (name, _) in JUDGE_FAULTS.values()}
    checks = (*MACHINE, *LISTED, *ANSWERED, *VOICES, *JUDGES)
    assert planted == {check.name for check in checks}
    assert len(TEXT_FAULTS) + len(VOICE_FAULTS) + len(MACHINE_FAULTS) >= 20


def test_the_demo_passes(monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    ended = typed("doctor", "demo", "--json")
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["passed"] is True
    assert {"gpu", "own_text_server", "disk", "speaks", "style"} <= {
        one["name"] for one in found["findings"]
    }


def test_doctor_ends_with_1_if_something_failed(tmp_path):
    recipe = write_recipe(tmp_path / "r.toml", NOBODY)
    ended = typed("doctor", recipe, "--set", 'speech.query_voice="Ryan"')
    assert ended.returncode == 2  # a recipe that cannot be used is no finding
    ended = typed("doctor", recipe)
    assert ended.returncode == 1
    assert "1 of what a run needs failed: text_server." in ended.stderr
    assert "FAILED" in ended.stdout


# What a build looks at


def texts_of(folder: Path, recipe: Path, *overrides: str) -> None:
    blueprint = Blueprint.named(str(recipe), overrides)
    with at_work(RunFolder(folder), blueprint, "responses") as work:
        work.texts()


def test_a_build_ends_before_its_first_request_where_the_model_is_not_served(tmp_path):
    with FakeTextServer(models=("other",)) as server:
        recipe = write_recipe(tmp_path / "r.toml", server.base_url)
        with pytest.raises(SympatheiaError, match=r"does not serve 'fake'; it serves 'other'\."):
            texts_of(tmp_path / "run", recipe)
        assert server.count == 0


def test_a_build_that_has_all_texts_looks_at_nothing(tmp_path):
    with FakeTextServer() as server:
        recipe = write_recipe(tmp_path / "r.toml", server.base_url)
        write_run(tmp_path / "run", recipe)
    texts_of(tmp_path / "run", recipe, "llm.api_key_env='NOT_SET_AT_ALL'")
