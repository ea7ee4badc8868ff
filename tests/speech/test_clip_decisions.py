"""What a changed rule means for clips that are made, and when one rule refuses most of them."""

import re
from pathlib import Path

import numpy as np
import pytest

from corpus.errors import SympatheiaError
from corpus.run.stop_when_most_refused import MOST
from tests.support.speech_server import SpeechServer, speak

CLIPS = 6
TIGHT = "speech.rules.long_gap=1.0"


def test_a_tightened_rule_has_only_what_breaks_it_made_again_and_a_loosened_one_nothing(
    tmp_path, written, speech
):
    with SpeechServer(speech) as server:
        server.fault, server.only = "pause", "heron"
        first, refused = speak(written, server, tmp_path)
        assert (len(server.bodies), refused) == (CLIPS, [])
        tight, refused = speak(written, server, tmp_path, TIGHT)
        again = server.bodies[CLIPS:]
        assert [body["voice"] for body in again] == ["heron"] * 3
        assert [row["reason"] for row in refused] == ["long_gap"] * 3
        assert [clip for clip in tight if clip["role"] == "query"] == [
            clip for clip in first if clip["role"] == "query"
        ]
        assert {clip["attempt"] for clip in tight if clip["role"] == "response"} == {1}
        assert speak(written, server, tmp_path) == (tight, refused)
        assert speak(written, server, tmp_path, TIGHT) == (tight, refused)
        assert len(server.bodies) == CLIPS + 3


@pytest.mark.parametrize("lost", [False, True], ids=["kept", "never finished"])
def test_what_a_loosened_rule_keeps_comes_from_the_store_or_else_from_the_voice(
    tmp_path, written, speech, lost
):
    with SpeechServer(speech) as server:
        server.fault, server.always = "clipped", True
        with pytest.raises(SympatheiaError, match="clipped 1x"):
            speak(written, server, tmp_path, "speech.max_attempts=1")
        if lost:  # as 0.2.0 left it
            for path in tmp_path.glob("clips/*/*.flac"):
                path.unlink()
        loose = ("speech.max_attempts=1", "speech.rules.clipped=1.0")
        clips, refused = speak(written, server, tmp_path, *loose)
        assert (len(clips), refused) == (CLIPS, [])
        assert len(server.bodies) == (2 * CLIPS if lost else CLIPS)


def test_a_rule_that_only_reports_keeps_and_counts(tmp_path, written, speech):
    with SpeechServer(speech) as server:
        server.fault, server.only = "cut", "heron"
        clips, refused = speak(written, server, tmp_path, 'speech.rules.cut_off="report"')
        assert ({clip["attempt"] for clip in clips}, refused) == ({0}, [])
        assert server.reported == {"cut_off": 3}


def test_a_rule_that_refuses_most_stops_the_build_with_all_one_needs(tmp_path, written, speech):
    with SpeechServer(speech) as server:
        server.fault, server.always = "cut", True
        with pytest.raises(SympatheiaError) as stopped:
            speak(written, server, tmp_path, "speech.max_attempts=7")
        assert MOST <= len(server.bodies) <= MOST + 2  # what was in flight
        said = str(stopped.value)
        assert f"cut_off refused {MOST} of the first {MOST} clips" in said
        assert re.search(r"-?\d[\d.]* to -?\d[\d.]* dB, where -20 dB is the most", said)
        assert "speech.rules.cut_off (a number, false" in said
        named = re.findall(r"\((\S+\.flac)\)", said)
        assert len(named) == 2 and all(Path(name).stat().st_size for name in named)

        # The rule is the remedy: what was made is kept.
        made = len(server.bodies)
        clips, _ = speak(written, server, tmp_path, "speech.rules.cut_off=false")
        begun = {(body["input"], body["voice"]) for body in server.bodies[:made]}
        assert len(clips) == CLIPS
        assert len(server.bodies) - made == CLIPS - len(begun)


def test_a_voice_that_was_mended_is_not_stopped_for_what_it_made_before(tmp_path, written, speech):
    with SpeechServer(speech) as server:
        server.fault, server.always = "cut", True
        with pytest.raises(SympatheiaError, match="cut_off refused"):
            speak(written, server, tmp_path, "speech.max_attempts=7")
        server.fault = None
        clips, _ = speak(written, server, tmp_path, "speech.max_attempts=8")
        assert len(clips) == CLIPS


@pytest.mark.parametrize("batch", [1, 4])
def test_a_server_that_says_the_voice_ended_is_not_asked_how(tmp_path, written, speech, batch):
    cut = speech[: np.flatnonzero(np.abs(speech) > 0.5 * np.abs(speech).max())[-1]]
    with SpeechServer(cut) as server:
        server.says_ended = True
        batching = (f"speech.batch={batch}", "speech.concurrency=4")
        clips, refused = speak(written, server, tmp_path, *batching)
        assert (len(clips), refused) == (CLIPS, [])
