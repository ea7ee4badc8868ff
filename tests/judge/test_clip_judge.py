"""The judge against servers that hear and misbehave: what it grades, keeps and asks again."""

import asyncio
from collections import Counter

import numpy as np
import pytest

from corpus.errors import SympatheiaError
from corpus.judge.clip_judge import ClipJudge
from corpus.judge.hearing_probe import SILENT_SECONDS, WORD, probe_clip
from corpus.judge.readable_answers import TRIES
from corpus.servers.retry_and_failover import Endpoints, EndpointsFailed
from corpus.sound.sound_files import decode
from corpus.sound.speech_recognition import transcribe
from corpus.store.append_only_records import Records
from corpus.store.digest_store import SHAPES, Store
from schemas.recipe_evaluation import EvaluationJudge
from tests.judge.conftest import clip
from tests.support.judge_server import NONSENSE, JudgeServer, settings_of
from tests.support.line import opened
from tests.support.replies import completion

CLIPS = 150


def judging(server, grades, rubrics, work, **settings):
    """What some work with a judge of a server gives."""

    async def whole():
        judge = settings_of(server, EvaluationJudge, **settings)
        pool = Endpoints(
            judge.endpoints,
            timeout_seconds=judge.timeout_seconds,
            patience_seconds=judge.patience_seconds,
            section=judge.SECTION,
        )
        async with pool:
            return await work(ClipJudge(judge, rubrics, grades, opened(pool), 3))

    return asyncio.run(whole())


def graded(server, grades, rubrics, things, **settings):
    async def work(judge):
        asked = (judge.grade(one, 0, f"clip {n}") for n, one in enumerate(things))
        return await asyncio.gather(*asked)

    return judging(server, grades, rubrics, work, **settings)


def test_a_planted_truth_is_found_through_nonsense_errors_and_hangs(store, rubrics, to_grade):
    truth = [1 + number % 5 for number in range(CLIPS)]
    things = [to_grade(grade, number) for number, grade in enumerate(truth)]
    with JudgeServer(nonsense=0.05, errors=0.05, hangs=0.02) as server:
        found = graded(server, store.grades, rubrics, things, timeout_seconds=1.0)
        assert [grade.rating for grade in found] == truth
        # What could not be read is known, and nothing else was asked for again.
        assert sum(grade.answers for grade in found) == CLIPS + len(server.unreadable)
        assert server.unreadable
        assert len(store.grades) == len(server.readable | server.unreadable)
        assert server.count > len(store.grades)  # there were errors and hangs

        asked = server.count
        assert graded(server, store.grades, rubrics, things) == found
        assert server.count == asked


def test_an_unreadable_answer_is_asked_again_with_another_seed_until_one_is_read(
    store, rubrics, to_grade
):
    with JudgeServer() as server:
        server.behave = lambda body, n: completion(NONSENSE[0] if n < 2 else "4|It is warm.")
        (grade,) = graded(server, store.grades, rubrics, [to_grade(4)])
    assert (grade.rating, grade.why, grade.answers) == (4, "It is warm.", 3)
    assert len({body["seed"] for body in server.bodies}) == 3
    assert [body["temperature"] > 0 for body in server.bodies] == [False, True, True]


def test_a_judge_that_never_answers_readably_gives_no_rating_and_its_words(
    store, rubrics, to_grade
):
    with JudgeServer() as server:
        server.behave = lambda body, n: completion(NONSENSE[1])
        (grade,) = graded(server, store.grades, rubrics, [to_grade(4)])
        assert (grade.rating, grade.why, grade.answers) == (None, NONSENSE[1], TRIES)
        assert graded(server, store.grades, rubrics, [to_grade(4)]) == [grade]
        assert server.count == TRIES


def test_each_repeat_is_drawn_by_itself(store, rubrics, to_grade):
    async def work(judge):
        return [await judge.grade(to_grade(2), repeat, "a clip") for repeat in (0, 1, 0)]

    with JudgeServer() as server:
        found = judging(server, store.grades, rubrics, work, temperature=0.5)
        assert {grade.rating for grade in found} == {2}
        assert len({body["seed"] for body in server.bodies}) == server.count == 2


def test_what_is_asked_for_twice_at_the_same_time_is_asked_once(store, rubrics, to_grade):
    with JudgeServer() as server:
        server.latency = 0.05
        found = graded(server, store.grades, rubrics, [to_grade(2)] * 5)
        assert (len(set(found)), server.count) == (1, 1)


def test_no_more_clips_are_in_flight_than_the_recipe_says(store, rubrics, to_grade):
    with JudgeServer() as server:
        server.latency = 0.02
        things = [to_grade(2, number) for number in range(20)]
        graded(server, store.grades, rubrics, things, concurrency=4)
        assert server.most_in_flight == 4


def test_work_that_is_cut_short_costs_what_was_in_flight(tmp_path, rubrics, to_grade):
    things = [to_grade(2, number) for number in range(30)]

    async def until_the_tenth(judge):
        every = asyncio.gather(*(judge.grade(one, 0, "a clip") for one in things))
        while server.answered < 10:
            await asyncio.sleep(0.001)
        every.cancel()

    with JudgeServer() as server:
        server.latency = 0.02
        with Store(tmp_path) as store:
            judging(server, store.grades, rubrics, until_the_tenth, concurrency=4)
        grades = Records(tmp_path / "grades", SHAPES["grades"])  # as the next run opens it
        assert len(grades) >= 6
        assert len(graded(server, grades, rubrics, things)) == 30
        assert server.count <= 30 + 2 * 4
        grades.close()


def test_of_two_clips_the_better_is_preferred_in_either_order_and_equals_tie(
    store, rubrics, to_grade
):
    async def work(judge):
        pairs = [(5, 2), (2, 5), (3, 3)]
        return [await judge.prefer(to_grade(a), clip(b), "a pair") for a, b in pairs]

    with JudgeServer() as server:
        found = judging(server, store.grades, rubrics, work)
        assert [one.winner for one in found] == ["first", "second", "tie"]
        server.behave = lambda body, n: completion(NONSENSE[0])
        (unread,) = judging(
            server,
            store.grades,
            rubrics,
            lambda j: asyncio.gather(j.prefer(to_grade(1), clip(4), "")),
        )
        assert (unread.winner, unread.answers) == (None, TRIES)


def test_a_judge_that_stays_down_is_named_with_what_to_do(store, rubrics, to_grade):
    with JudgeServer(errors=1.0) as server, pytest.raises(EndpointsFailed) as failed:
        graded(server, store.grades, rubrics, [to_grade(2)], patience_seconds=0.0)
    assert "clip 0" in str(failed.value) and "run the same command again" in str(failed.value)


# The probe


def probed(server, store, rubrics):
    judging(server, store.grades, rubrics, lambda judge: judge.require_whole_hearing())


def test_the_probes_only_words_come_after_thirty_seconds_and_are_understood():
    samples, rate = decode(probe_clip())
    silence = round(SILENT_SECONDS * rate)
    assert SILENT_SECONDS > 30.0
    assert not samples[:silence].any()
    heard = transcribe(probe_clip())["text"].lower()
    assert WORD in heard
    assert np.abs(samples[silence:]).max() > 0.1


def test_a_judge_that_hears_the_end_passes_the_probe_and_is_asked_once(store, rubrics):
    with JudgeServer() as server:
        probed(server, store, rubrics)
        probed(server, store, rubrics)
        assert server.count == 1


def test_a_judge_that_is_cut_at_thirty_seconds_is_refused_until_it_is_mended(store, rubrics):
    with JudgeServer(hears=30.0) as server:
        with pytest.raises(SympatheiaError) as refused:
            probed(server, store, rubrics)
        assert "after 32 s it has 'Silence'" in str(refused.value)
        assert "evaluation.judge.probe = false" in str(refused.value)
        server.hears = 60.0
        probed(server, store, rubrics)
    assert Counter(body["seed"] for body in server.bodies).total() == 2
