"""The judge in an evaluation: what is made of its grades, and of what it fails to say."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from corpus.errors import InvalidInput
from corpus.evaluation.evaluation import Comparison, Evaluated
from corpus.evaluation.judging import Judging
from corpus.evaluation.systems import System, anchors_of
from corpus.judge.clip_judge import ClipJudge
from corpus.judge.rubrics import Rubrics
from corpus.plan.prompt_files import BUNDLED
from corpus.servers.retry_and_failover import Endpoints
from corpus.sound.clip_audio import encode_wav
from schemas.recipe_evaluation import EvaluationJudge
from tests.evaluation.conftest import answers
from tests.support.judge_server import JudgeServer, said_in, settings_of
from tests.support.line import opened

WORTH = {"happy": 5, "angry": 2, "sad": 4, "tired": 3}
"""The grade that is planted in the clips of each emotion: see `loudness_as_grade`."""


def system(name, queries=10, worth=WORTH, subset="neutral"):
    """A system whose clips are all different, and as loud as they are good."""
    rows = answers(queries, subset)

    def sounds(ids):
        for number, (row_id, emotion) in enumerate(zip(rows["id"], rows["emotion"], strict=True)):
            if row_id in ids:
                tone = np.sin(np.arange(2_400) / (10 + 0.01 * number + len(name)))
                yield row_id, encode_wav((worth[emotion] - 0.5) / 5 * tone, 24_000)

    return System(name, Path(name), "wav", "", rows, sounds)


def judged(bench, server, *systems, **settings):
    """The systems' figures by a judge at a server."""
    asked = settings_of(server, EvaluationJudge, **{"probe": False} | settings)
    comparison = Comparison(systems, ("diversity", "judge"), bench)
    comparison.evaluated = [Evaluated(one, one.rows) for one in systems]

    async def grade():
        async with Endpoints(
            asked.endpoints, timeout_seconds=asked.timeout_seconds, section=asked.SECTION
        ) as pool:
            judge = ClipJudge(asked, Rubrics(BUNDLED), bench.store.grades, opened(pool), 0)
            await comparison.grade(Judging(asked, judge, anchors_of([]), bench.progress))

    asyncio.run(grade())
    comparison.figure()
    for one in comparison.evaluated:
        one.rows["seconds"], one.rows["mos"], one.rows["heard"] = 1.0, None, None
    return comparison.facts()


def test_grades_are_told_by_rubric_by_set_and_by_emotion(bench):
    with JudgeServer() as server:
        facts = judged(bench, server, system("ours"))
    found = facts["systems"]["ours"]
    assert found["judge"]["adaptation"]["all"]["mean"] == np.mean(list(WORTH.values()))
    assert found["judge"]["adaptation"]["sad"] == {"mean": 4.0, "n": 10, "low": 4.0, "high": 4.0}
    assert found["judge"]["adaptation"]["parse_rate"] == 1.0
    assert found["judge_sets"]["neutral"]["n"] == 40
    assert found["judge_sets"]["emotional"] is None


def test_a_judge_that_answers_nonsense_fails_and_hangs_leaves_the_means_as_they_are(bench):
    with JudgeServer(nonsense=0.05, errors=0.05, hangs=0.02) as server:
        facts = judged(bench, server, system("ours", 40), timeout_seconds=2.0, concurrency=16)
        once = server.readable | server.unreadable
        answered = len(server.readable)
        assert judged(bench, server, system("ours", 40)) == facts
        assert server.readable | server.unreadable == once  # nothing was asked again
    found = facts["systems"]["ours"]["judge"]["adaptation"]
    truth = np.mean(list(WORTH.values()))
    assert found["all"]["low"] <= truth <= found["all"]["high"]
    assert found["all"]["n"] + found["failed"] == 160 == answered + found["failed"]
    assert 0.88 < found["parse_rate"] < 1.0


def test_a_response_whose_answers_cannot_be_read_is_counted_and_has_no_grade(bench):
    with JudgeServer(nonsense=1.0) as server:
        facts = judged(bench, server, system("ours", 2))
    found = facts["systems"]["ours"]["judge"]["adaptation"]
    assert found["all"] is None and found["failed"] == 8 and found["parse_rate"] == 0.0


def test_a_response_without_sound_is_not_asked_about_and_counted(bench):
    one = system("ours", 2)
    one.rows.loc[one.rows.index[0], "problem"] = "no_sound"
    with JudgeServer() as server:
        facts = judged(bench, server, one)
        assert server.count == 7
    assert facts["systems"]["ours"]["judge"]["adaptation"]["unheard"] == 1


def test_repeats_are_drawn_each_by_itself_and_a_response_has_their_mean(bench):
    with JudgeServer() as server:
        facts = judged(bench, server, system("ours", 1), repeats=3, temperature=0.7)
        assert len({body["seed"] for body in server.bodies}) == 3 and server.count == 12
    assert facts["systems"]["ours"]["judge"]["adaptation"]["all"]["n"] == 4


def test_the_judge_is_told_coordinates_and_words_only_where_that_is_asked_for(bench):
    one = system("ours", 1)
    one.rows["query_text"] = "Where is my bus?"
    with JudgeServer() as server:
        judged(bench, server, one)
        plain = [said_in(body) for body in server.bodies]
        judged(bench, server, one, coordinates=True, query_words=True)
        told = [said_in(body) for body in server.bodies[len(plain) :]]
    assert not any("0.85" in said or "my bus" in said for said in plain)
    assert all("my bus" in said for said in told) and any("0.85" in said for said in told)


def test_two_systems_are_compared_in_both_orders_and_ties_count_half(bench):
    better = system("better", 5, WORTH | {"angry": 4, "sad": 5})
    with JudgeServer() as server:
        facts = judged(bench, server, system("base", 5), better, baseline="base")
    found = facts["systems"]["better"]["pairwise"]
    assert (found["wins"], found["ties"], found["losses"]) == (10, 10, 0)
    assert found["win_rate"]["all"]["mean"] == 0.75 and found["win_rate"]["sad"]["mean"] == 1.0
    assert found["agreed"] == found["parse_rate"] == 1.0
    assert "pairwise" not in facts["systems"]["base"]
    difference = facts["differences"]["base - better"]["rating"]
    assert difference["mean"] == -0.75 and difference["n"] == 20


def test_systems_without_a_query_in_common_have_no_preferences(bench):
    other = system("other", 2)
    other.rows["query_id"] = "another"
    with JudgeServer() as server:
        facts = judged(bench, server, system("base", 2), other, baseline="base")
    found = facts["systems"]["other"]["pairwise"]
    assert (found["wins"], found["win_rate"], found["parse_rate"]) == (0, {"all": None}, None)


def test_a_baseline_that_is_none_of_the_systems_is_refused(bench):
    with JudgeServer() as server, pytest.raises(InvalidInput, match="no system 'other'; ours are"):
        judged(bench, server, system("ours", 1), baseline="other")


def test_a_system_that_always_says_the_same_is_named(bench):
    one = system("parrot", 4)
    one.rows["text"] = "I am here for you."
    with JudgeServer() as server:
        facts = judged(bench, server, one)
    assert facts["systems"]["parrot"]["warnings"] == [
        "parrot gives one and the same response in 100% of its rows."
    ]
