"""A build whose clips are graded: what is refused, what is made again, what is asked."""

import shutil

import numpy as np
import pytest

from corpus.errors import SympatheiaError
from corpus.plan.blueprint import Blueprint
from corpus.run.run_folder import RunFolder
from corpus.store.opening import open_store
from flows.work import at_work
from tests.support.judge_server import MODEL, JudgeServer, said_in
from tests.support.line import rows
from tests.support.replies import completion
from tests.support.speech_server import SpeechServer, speak

CLIPS, SOUNDS = 6, 3
"""The server says every text alike, so a style has one sound, which is graded once."""


def without_pauses(sound: np.ndarray) -> int:
    """The planted truth: 2 for a clip with a pause of more than a second, else 5."""
    loud = np.flatnonzero(np.abs(sound) > 0.01)
    return 2 if np.diff(loud).max() > 24_000 else 5


@pytest.fixture
def judge():
    with JudgeServer(without_pauses) as server:
        yield server


def judged_by(server: JudgeServer, *more: str) -> tuple[str, ...]:
    return (f'speech.judge.endpoints=["{server.base_url}"]', f'speech.judge.model="{MODEL}"', *more)


def test_a_clip_graded_too_low_is_refused_and_made_again_and_resuming_asks_nothing(
    tmp_path, written, speech, judge
):
    with SpeechServer(speech) as server:
        server.fault = "pause"
        clips, refused = speak(written, server, tmp_path, *judged_by(judge))
        assert {clip["attempt"] for clip in clips} == {1}
        assert [row["reason"] for row in refused] == ["judge_delivery"] * CLIPS
        assert (len(server.bodies), judge.count) == (2 * CLIPS, 2 * SOUNDS)
        told = {said_in(body) for body in judge.bodies}
        styles = ("Very sad", "Neutral", "Warm, gentle, reassuring")
        assert {
            style for style in styles if any(f"like this: {style}." in one for one in told)
        } == {*styles}
        again = speak(written, server, tmp_path, *judged_by(judge))
        assert again == (clips, refused)
        assert (len(server.bodies), judge.count) == (2 * CLIPS, 2 * SOUNDS)


def test_a_lower_threshold_keeps_from_the_store_what_was_refused(tmp_path, written, speech, judge):
    with SpeechServer(speech) as server:
        server.fault, server.always = "pause", True
        few = judged_by(judge, "speech.max_attempts=1")
        with pytest.raises(SympatheiaError, match=r"6 clips stayed unusable.*judge_delivery 1x"):
            speak(written, server, tmp_path, *few)
        clips, refused = speak(written, server, tmp_path, *few, "speech.judge.threshold=2")
        assert (len(clips), refused) == (CLIPS, [])
        assert (len(server.bodies), judge.count) == (CLIPS, SOUNDS)


def test_a_judge_that_never_answers_readably_is_to_blame_and_no_text(
    tmp_path, written, speech, judge
):
    judge.behave = lambda body, n: completion("I like it.")
    with SpeechServer(speech) as server:
        with pytest.raises(SympatheiaError, match=r"judge_unreadable 2x"):
            speak(written, server, tmp_path, *judged_by(judge, "speech.max_attempts=2"))
        with pytest.raises(SympatheiaError) as stopped:
            speak(written, server, tmp_path / "o", *judged_by(judge, "speech.max_attempts=9"))
    assert "judge_unreadable refused" in str(stopped.value)
    assert "See that speech.judge.model answers" in str(stopped.value)


def test_clips_are_refused_alike_at_any_concurrency(tmp_path, written, speech, judge):
    found = []
    with SpeechServer(speech) as server:
        server.fault, server.only = "pause", "heron"
        for number in (1, 16):
            server.bodies.clear()
            at_once = (f"speech.concurrency={number}", f"speech.judge.concurrency={number}")
            store = tmp_path / str(number)
            found.append(speak(written, server, store, *judged_by(judge, *at_once)))
    assert found[0] == found[1]


def test_without_a_judge_nothing_is_graded(tmp_path, written, speech):
    with SpeechServer(speech) as server:
        server.fault = "pause"
        clips, refused = speak(written, server, tmp_path)
    assert ({clip["attempt"] for clip in clips}, refused) == ({0}, [])
    assert not (tmp_path / "grades").exists()


def test_grades_count_towards_the_limit_of_requests(tmp_path, written, speech, judge):
    with SpeechServer(speech) as server:
        few = judged_by(judge, "limits.requests=8")
        with pytest.raises(SympatheiaError, match=r"limits\.requests is reached.*used 8"):
            speak(written, server, tmp_path, *few)
        assert len(server.bodies) + judge.count == 8
        enough = judged_by(judge, f"limits.requests={CLIPS + SOUNDS}")
        clips, _ = speak(written, server, tmp_path, *enough)
        assert (len(clips), len(server.bodies), judge.count) == (CLIPS, CLIPS, SOUNDS)


def test_a_build_opens_its_judge_when_there_is_something_to_grade(tmp_path, written, speech, judge):
    run, recipe, shape = written
    with SpeechServer(speech) as server:
        server.fault = "pause"
        settings = (
            'speech.backend="openai"',
            f'speech.endpoints=["{server.url}"]',
            'speech.model="Qwen3-TTS"',
            "speech.prosody=false",
            *judged_by(judge),
        )
        build(tmp_path / "run", run, recipe, *shape, *settings)
        asked = judge.count
        assert asked == 2 * SOUNDS
        build(tmp_path / "run", run, recipe, *shape, *settings)
    assert judge.count == asked
    folder = RunFolder(tmp_path / "run")
    assert {row["attempt"] for row in rows(folder.clips)} == {1}
    with open_store(folder.store) as store:
        assert len(store.grades) == asked


def build(folder, run, recipe, *settings) -> None:
    """The speech stage as the command line has it, of a run whose texts are written."""
    if not folder.exists():
        shutil.copytree(run.root, folder)
    blueprint = Blueprint.named(str(recipe), settings)
    with at_work(RunFolder(folder), blueprint, "speech") as work:
        work.texts()
        work.speak()
