"""The speech stage with a served voice that misbehaves, and what reaches it."""

import threading
import time
from collections import Counter

import numpy as np
import pytest

from corpus.errors import SympatheiaError
from tests.support.line import rows, sympatheia
from tests.support.speech_server import FAULTS, REASON, SpeechServer, speak


def test_voice_style_language_and_seed_reach_the_server(tmp_path, written, speech):
    with SpeechServer(speech) as server:
        clips, refused = speak(written, server, tmp_path)
    assert len(clips) == 2 * 2 + 2
    assert refused == []
    assert len({body["seed"] for body in server.bodies}) == len(clips)
    assert {body["language"] for body in server.bodies} == {"English"}
    assert {body["model"] for body in server.bodies} == {"Qwen3-TTS"}
    styles = Counter((body["voice"], body["instructions"]) for body in server.bodies)
    assert styles == {
        ("wren", "Very sad."): 2,
        ("wren", "Neutral."): 1,
        ("heron", "Warm, gentle, reassuring."): 3,
    }


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_a_bad_clip_is_refused_with_its_reason_and_made_again(tmp_path, written, speech, fault):
    with SpeechServer(speech) as server:
        server.fault = fault
        clips, refused = speak(written, server, tmp_path)
        assert {row["reason"] for row in refused} == {REASON.get(fault, fault)}
        assert len(refused) == len(clips) == 6
        assert {clip["attempt"] for clip in clips} == {1}
        asked = len(server.bodies)
        assert asked == 12
        again, refused_again = speak(written, server, tmp_path)
        assert len(server.bodies) == asked
        assert (again, refused_again) == (clips, refused)


def test_a_voice_that_never_gets_it_right_ends_the_run_with_count_and_reason(
    tmp_path, written, speech
):
    with SpeechServer(np.zeros_like(speech)) as server:
        with pytest.raises(SympatheiaError, match=r"6 clips stayed unusable after 2 .*silent 2x"):
            speak(written, server, tmp_path, "speech.max_attempts=2")
        server.good = speech
        clips, _ = speak(written, server, tmp_path, "speech.max_attempts=3")
        assert len(clips) == 6


def test_a_speech_server_that_is_down_ends_the_run_with_the_remedy(tmp_path, written, speech):
    with SpeechServer(speech) as server:
        server.status = 500
        with pytest.raises(SympatheiaError, match=r"HTTP 500.*run the same command again"):
            speak(written, server, tmp_path)


def test_a_speech_server_that_dies_in_mid_run_and_returns_costs_nothing(tmp_path, written, speech):
    with SpeechServer(speech) as server:
        undisturbed, _ = speak(written, server, tmp_path / "undisturbed")
        server.bodies.clear()

        def die_and_return():
            while len(server.bodies) < 2:
                time.sleep(0.005)
            server.stop()
            time.sleep(2)
            server.start()

        dying = threading.Thread(target=die_and_return)
        dying.start()
        clips, refused = speak(written, server, tmp_path / "dying", patience=60)
        dying.join()
        assert (clips, refused) == (undisturbed, [])
        assert len(server.bodies) <= len(clips) + 2  # what was in flight: two, by default


def test_a_key_for_the_speech_server_is_sent_and_kept_nowhere(
    shared_prefect, tmp_path, written, speech, monkeypatch
):
    monkeypatch.setenv("SPEECH_KEY", "sk-not-to-be-seen")
    with SpeechServer(speech) as server:
        server.status = 401
        run, path, shape = written
        settings = [
            *shape,
            'speech.backend="openai"',
            f'speech.endpoints=["{server.url}"]',
            'speech.model="Qwen3-TTS"',
            'speech.api_key_env="SPEECH_KEY"',
        ]
        options = [part for setting in settings for part in ("--set", setting)]
        done = sympatheia("build", path, "--run-dir", run.root, "--until", "speech", *options)
    assert done.returncode == 1
    assert "refused access" in done.stderr and "SPEECH_KEY" in done.stderr
    assert server.keys == {"Bearer sk-not-to-be-seen"}
    assert "sk-not" not in done.stdout + done.stderr
    for file in run.root.rglob("*"):
        assert not file.is_file() or b"sk-not" not in file.read_bytes(), file


BATCHED = ("speech.batch=4", "speech.concurrency=6")


def test_clips_are_asked_for_in_batches_and_come_out_as_if_alone(tmp_path, written, speech):
    with SpeechServer(speech) as server:
        alone, _ = speak(written, server, tmp_path / "alone")
        server.bodies.clear()
        together, refused = speak(written, server, tmp_path / "together", *BATCHED)
        assert sorted(server.batches) == [2, 4]
        assert (together, refused) == (alone, [])
        assert len({body["seed"] for body in server.bodies}) == 6
        assert {body["instructions"] for body in server.bodies} == {
            "Very sad.",
            "Neutral.",
            "Warm, gentle, reassuring.",
        }


def test_a_clip_that_fails_in_a_batch_is_asked_for_alone(tmp_path, written, speech):
    text = rows(written[0].queries)[0]["text"]
    with SpeechServer(speech) as server:
        server.refused_in_batch = text
        clips, refused = speak(written, server, tmp_path, *BATCHED)
        assert (len(clips), refused) == (6, [])
        assert sum(body["input"] == text for body in server.bodies) == 1


def test_clips_asked_of_a_server_count_towards_the_limit_and_are_kept(tmp_path, written, speech):
    with SpeechServer(speech) as server:
        with pytest.raises(SympatheiaError, match=r"limits\.requests is reached.*used 5"):
            speak(written, server, tmp_path, "limits.requests=5")
        assert len(server.bodies) == 5
        clips, _ = speak(written, server, tmp_path, "limits.requests=6")
        assert (len(clips), len(server.bodies)) == (6, 6)


@pytest.mark.parametrize("answer", [[], {}, {"results": [{"index": 9, "status": "success"}]}])
def test_an_answer_that_is_no_batch_ends_in_a_sentence(tmp_path, written, speech, answer):
    with SpeechServer(speech) as server:
        server.batch_answer = answer
        with pytest.raises(SympatheiaError, match=r"batch of . clips .*not a batch of clips"):
            speak(written, server, tmp_path, *BATCHED)
