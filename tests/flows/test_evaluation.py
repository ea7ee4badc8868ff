"""The command that evaluates: what it writes, that it goes on after a kill, and its page."""

import json
import shutil
import signal
import time

import pytest

from corpus.dataset.dataset_folder import DatasetFolder
from corpus.dataset.shard_writer import write_corpus
from corpus.run.run_folder import RunFolder
from tests.evaluation.test_systems import responses_folder
from tests.support.browser import CHROMIUM, PHONE, browser_at
from tests.support.judge_server import MODEL, JudgeServer
from tests.support.line import open_run, start, sympatheia, typed

QUICK = "prosody,invariance,intelligibility,recoverability,diversity"


@pytest.fixture
def run(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    return tmp_path / "run"


def judged_by(server, **settings):
    given = {"model": json.dumps(MODEL), "endpoints": json.dumps([server.base_url]), **settings}
    return [
        part
        for key, value in given.items()
        for part in ("--set", f"evaluation.judge.{key}={value}")
    ]


@pytest.fixture(scope="module")
def evaluated(whole, tmp_path_factory, prefect_url):
    """What the command makes of the whole run beside some responses, with every measure."""
    folder = tmp_path_factory.mktemp("evaluated")
    answers = responses_folder(folder / "answers", ("affect", "none", "affect~0.3"))
    with JudgeServer() as server:
        done = sympatheia(
            "evaluate", whole, answers, "--output", folder / "out", "--json",
            "--set", "evaluation.limit=1", *judged_by(server),
            PREFECT_API_URL=prefect_url, timeout=400,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "out", json.loads(done.stdout)


def test_every_system_has_every_figure_of_the_contract(evaluated):
    folder, facts = evaluated
    assert facts == json.loads((folder / "evaluation.json").read_text())
    assert list(facts["systems"]) == ["run", "answers", "answers/none"]
    ours = facts["systems"]["run"]
    assert (ours["rows"], ours["queries"]) == (6, 4)
    assert ours["prosody"]["f0_mean"]["arousal"]["n"] == 6
    assert set(ours["invariance"]) >= {"bertscore_f1", "rouge_l"}
    assert ours["intelligibility"]["wer_mean"]["n"] == 6
    assert ours["naturalness"]["distillmos"]["sad"]["n"] == 2
    for kind in ("sound", "text"):
        assert set(ours["recoverability"][kind]) >= {"accuracy", "chance", "shuffled"}
    assert ours["judge"]["adaptation"]["all"]["n"] == 3
    assert ours["judge"]["empathy"]["parse_rate"] == 1.0
    assert ours["diversity"]["distinct_2"] > 0.3 and ours["missing"] == {}
    theirs = facts["systems"]["answers"]
    assert theirs["missing"] == {"no_sound": 2, "no_audio": 2}
    assert list(theirs["sensitivity"]) == ["0", "0.3"] and theirs["interpolation"] is None
    assert facts["published"]["invariance"]["GLM-4-Voice"]["rouge_l"] == 0.459
    assert "http" not in json.dumps(facts["settings"])


@pytest.mark.skipif(CHROMIUM is None, reason="there is no browser")
def test_the_page_shows_all_of_it_and_plays(evaluated):
    folder, facts = evaluated
    with browser_at(folder / "evaluation.html") as opened:
        page = opened.page
        players = opened.players()
        assert players and all(p["error"] is None and p["seconds"] > 0.1 for p in players)
        text = page.inner_text("main")
        for name in facts["systems"]:
            assert name in text
        assert "Sympatheia (published)" in text and "2 no sound" in text
        assert opened.errors == []
        assert [url for url in opened.requests if not url.startswith(("file:", "data:"))] == []
    with browser_at(folder / "evaluation.html", PHONE) as opened:
        assert opened.page.evaluate("document.scrollingElement.scrollWidth") <= PHONE[0]


def test_a_killed_evaluation_goes_on_and_asks_nothing_twice(run, tmp_path, shared_prefect):
    with JudgeServer() as server:
        server.latency = 0.3
        asked = ["evaluate", run, "--metrics", "judge", *judged_by(server, concurrency=2)]
        process = start(*asked, log=tmp_path / "log")
        while len(server.readable) < 8:
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        time.sleep(0.5)
        before, server.latency = server.count, 0.0
        done = sympatheia(*asked)
        assert done.returncode == 0, done.stderr
        # 42 responses, some of which sound and are asked about alike, the probe, and what a kill
        # may cost: what was in flight.
        distinct = len(server.readable) + 1
        assert server.count - before <= distinct - before + 2
        facts = json.loads((run / "evaluation.json").read_text())
        assert facts["systems"]["run"]["judge"]["adaptation"]["all"]["n"] == 12
        again = server.count
        assert sympatheia(*asked).returncode == 0 and server.count == again


def test_a_runs_card_and_report_have_its_figures_and_nothing_is_packed_anew(run, shared_prefect):
    asked = ("evaluate", run, "--metrics", "diversity")
    for _ in range(2):  # the second time in place of the first
        done = sympatheia(*asked)
        assert done.returncode == 0, done.stderr
    card = (run / "corpus" / "README.md").read_text()
    assert card.count("| different words (distinct-1) |") == 1
    assert typed("check", run).returncode == 0
    report = typed("report", run)
    assert "How good it is" in (run / "report.html").read_text(), report.stderr
    shards = sorted((run / "corpus").rglob("*.parquet"))
    before = [path.stat().st_mtime_ns for path in shards]
    with open_run(RunFolder(run)) as at_work:
        write_corpus(at_work)
    assert [path.stat().st_mtime_ns for path in shards] == before
    assert (run / "corpus" / "README.md").read_text() == card


def test_figures_and_page_lie_beside_the_first_folder_and_a_dataset_stays_whole(
    run, shared_prefect
):
    done = sympatheia("evaluate", run / "corpus", "--metrics", "diversity")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(run / "corpus" / "evaluation.html")
    assert (run / "corpus" / "evaluation.json").is_file()
    files = {path.name for path in DatasetFolder(run).files()}
    checked = typed("check", run, "--json")
    assert checked.returncode == 0, checked.stderr
    assert "evaluation.json" in files


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--metrics", "beauty"], 2, "no measure 'beauty'"),
        (["--metrics", "judge"], 2, "no judge is named"),
        (["--set", "llm.model=1"], 2, "only keys of evaluation.* and compute.*"),
        (["--set", "evaluation.speed=1"], 2, "evaluation.speed"),
        (["--set", 'evaluation.mos="nobody"'], 2, "evaluation.mos"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(run, arguments, code, said, shared_prefect):
    done = typed("evaluate", run, *arguments)
    assert (done.returncode, done.stderr.count("Traceback")) == (code, 0)
    assert said in done.stderr
