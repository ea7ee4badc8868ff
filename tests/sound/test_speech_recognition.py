"""What is heard in clips of the builtin voice, and what the speech stage makes of it."""

import asyncio
import importlib.util

import numpy as np
import pytest

from corpus.errors import InvalidInput
from corpus.plan.blueprint import Blueprint
from corpus.sound.clip_audio import encode_flac, finish_samples
from corpus.sound.clip_rejection_rules import CLIP_RULES
from corpus.sound.dnsmos import require_dnsmos
from corpus.sound.prosody import FEATURES, correlations, prosody
from corpus.sound.sound_files import decode
from corpus.sound.speech_recognition import Listener
from corpus.speech.builtin_voice import BuiltinVoice
from corpus.speech.speech_stage import speak_all
from corpus.store.digest_store import Store
from corpus.voices.builtin_synthesis import Voice
from schemas.audio import SAMPLE_RATE
from tests.support.fake_servers import FakeTextServer
from tests.support.line import open_run, rows, write_recipe, write_run

TEXT = "How long should I boil an egg if I want the yolk to stay soft?"
DIGEST = "0" * 64
MISHEARD = next(rule.limit for rule in CLIP_RULES if rule.name == "misheard")


@pytest.fixture(scope="module")
def voice():
    return Voice()


def said(voice, text=TEXT, valence=0.0, arousal=0.0):
    return voice.speak(text, speaker="wren", valence=valence, arousal=arousal, seed=0)


def listen(folder, sound, ask):
    """What `ask` makes of a listener that has one clip in its store; the store stays."""

    async def go():
        with Store(folder) as store:
            if sound is not None:
                store.clips.put(DIGEST, encode_flac(sound))
            with Listener(store) as listener:
                return await ask(listener)

    return asyncio.run(go())


def test_words_are_heard_and_numbers_and_contractions_are_brought_to_one_form(tmp_path, voice):
    sound = said(voice, "I can't pay twenty dollars, it's only three miles.")

    async def ask(listener):
        texts = (
            "I can't pay $20, it's only 3 miles.",
            "I can't pay twenty pounds, it's only three miles.",
        )
        return [await listener.word_error_rate(DIGEST, text) for text in texts]

    same, other = listen(tmp_path, sound, ask)
    assert same == 0.0
    assert 0.0 < other < MISHEARD


def test_numbers_units_and_dates_that_were_spoken_rightly_are_heard_rightly(tmp_path, voice):
    text = "five kilograms at minus 5 degrees on March 4"

    async def ask(listener):
        return await listener.word_error_rate(DIGEST, text)

    assert listen(tmp_path, said(voice, text), ask) == 0.0


def test_what_was_heard_once_is_not_listened_to_again(tmp_path, voice):
    async def ask(listener):
        return await listener.word_error_rate(DIGEST, TEXT), await listener.prosody(DIGEST)

    first = listen(tmp_path, said(voice), ask)
    (tmp_path / "clips" / "00" / f"{DIGEST}.flac").unlink()
    assert listen(tmp_path, None, ask) == first


def test_prosody_of_known_sounds():
    time = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    # A pulse train whose pitch glides from 150 to 250 Hz, at a known level.
    pitch = 150 + 50 * time
    glide = np.sign(np.sin(2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE)).astype(np.float32) * 0.1
    found = prosody(glide)
    assert found.f0_mean == pytest.approx(200, abs=5)
    assert found.f0_range == pytest.approx(80, abs=8)
    assert found.f0_sd == pytest.approx(100 / 12**0.5, abs=5)
    assert found.energy_mean == pytest.approx(0.1, rel=0.01)
    assert found.energy_sd == pytest.approx(0.0, abs=1e-3)
    tone = 0.1 * np.sin(2 * np.pi * 1000 * time).astype(np.float32)
    assert prosody(tone).centroid == pytest.approx(1000, rel=0.02)
    silence = prosody(np.zeros(100, np.float32))
    assert silence.f0_mean is None
    assert silence.energy_mean == 0.0


def test_correlations_are_ranks_and_leave_out_what_has_none():
    points = [(-0.5, -1.0), (0.5, 0.0), (0.0, 0.5), (1.0, 1.0)]
    clips = [
        dict.fromkeys(FEATURES, 1.0) | {"f0_mean": 100.0 * 2**n, "f0_sd": None} for n in range(4)
    ]
    assert correlations(clips, points) == {"f0_mean": {"valence": 0.8, "arousal": 1.0}}


def test_loudness_differs_between_styles_as_the_delivery_says(voice):
    calm = finish_samples(said(voice, arousal=-0.7)[:, None], SAMPLE_RATE, -27.0)[0]
    keen = finish_samples(said(voice, arousal=0.7)[:, None], SAMPLE_RATE, -19.0)[0]
    assert calm is not None and keen is not None
    quiet, loud = (prosody(s) for s in (_sound(calm), _sound(keen)))
    assert loud.energy_mean > 1.5 * quiet.energy_mean


def _sound(flac):
    from corpus.sound.sound_files import decode

    return decode(flac)[0][:, 0]


class Mumbler:
    """The builtin voice, but the first attempt at every clip says something else."""

    model = BuiltinVoice.model
    takes_points = True

    def __init__(self, voice):
        self.voice = voice
        self.at_once = voice.at_once
        self.seen = set()

    async def speak(self, request, what):
        from dataclasses import replace

        other = (
            request if (request.text, request.voice) in self.seen else replace(request, text=OTHER)
        )
        self.seen.add((request.text, request.voice))
        return await self.voice.speak(other, what)


OTHER = "The ladder is in the shed behind the house, next to the old bicycle and the paint."


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heard")
    with FakeTextServer() as server:
        recipe = write_recipe(folder / "r.toml", server.base_url, anchors=("sad",))
        shape = ["emotional.pairs_per_anchor=2", "neutral.queries=1"]
        return write_run(folder / "run", recipe, *shape), recipe, shape


def speak(written, folder, *settings, mumbling=False):
    run, path, shape = written
    blueprint = Blueprint.named(str(path), [*shape, *settings])
    with (
        open_run(run, blueprint, store=folder) as opened_run,
        BuiltinVoice(blueprint.recipe.speech) as voice,
    ):
        speaker = Mumbler(voice) if mumbling else voice
        asyncio.run(speak_all(opened_run, speaker))
    refused = [row for row in rows(run.rejects) if row["stage"] == "speech"]
    return rows(run.clips), rows(run.sound), refused


def test_every_clip_has_its_sound_on_file(tmp_path, written):
    clips, sounds, refused = speak(written, tmp_path, "speech.asr_check=true")
    assert refused == []
    assert [(row["id"], row["role"], row["digest"]) for row in sounds] == [
        (row["id"], row["role"], row["digest"]) for row in clips
    ]
    for row in sounds:
        assert all(row[name] is not None and row[name] > 0 for name in FEATURES)
        assert row["word_error_rate"] <= MISHEARD
        assert row["dnsmos"] is None
    queries = [row for row in sounds if row["role"] == "query"]
    # Very sad is at arousal -0.65; the neutral query at the plain level.
    assert [round(row["loudness"]) for row in queries] == [-31, -31, -28]


def test_a_lost_clip_that_is_said_otherwise_takes_its_measures_along(tmp_path, written):
    before, _, _ = speak(written, tmp_path)
    (tmp_path / "clips" / before[0]["digest"][:2] / f"{before[0]['digest']}.flac").unlink()
    after, sounds, _ = speak(written, tmp_path, mumbling=True)
    with Store(tmp_path) as store:
        samples, rate = decode(store.clips.read(after[0]["digest"]))
    assert after[0]["digest"] == before[0]["digest"]
    assert after[0]["seconds"] == pytest.approx(len(samples) / rate)
    assert after[0]["seconds"] != pytest.approx(before[0]["seconds"], abs=0.05)
    assert sounds[0]["f0_mean"] == pytest.approx(prosody(samples[:, 0]).f0_mean)


def test_clips_are_the_same_to_the_byte_on_any_number_of_workers(tmp_path, written):
    alone, *_ = speak(written, tmp_path / "1", "speech.concurrency=1", "speech.prosody=false")
    three, *_ = speak(written, tmp_path / "3", "speech.concurrency=3", "speech.prosody=false")
    assert alone == three
    one, other = (
        {path.name: path.read_bytes() for path in (tmp_path / n).glob("clips/*/*.flac")}
        for n in "13"
    )
    assert one == other
    assert len(one) == len(alone)


def test_other_words_are_misheard_and_the_next_attempt_is_taken(tmp_path, written):
    clips, _, refused = speak(written, tmp_path, "speech.asr_check=true", mumbling=True)
    assert {row["reason"] for row in refused} <= {"misheard", "too_slow", "too_fast"}
    assert sum(row["reason"] == "misheard" for row in refused) >= 4
    assert {clip["attempt"] for clip in clips} == {1}


def test_the_check_can_be_switched_on_over_finished_clips(tmp_path, written):
    before, sounds, _ = speak(written, tmp_path)
    assert {row["word_error_rate"] for row in sounds} == {None}
    after, sounds, _ = speak(written, tmp_path, "speech.asr_check=true")
    assert after == before
    assert all(row["word_error_rate"] is not None for row in sounds)


@pytest.mark.skipif(importlib.util.find_spec("speechmos") is None, reason="needs the extra dnsmos")
def test_dnsmos_of_a_sample_of_each_cell(tmp_path, written):
    _, sounds, _ = speak(written, tmp_path, "speech.dnsmos_per_cell=1")
    measured = [row for row in sounds if row["dnsmos"] is not None]
    assert [row["role"] for row in measured].count("query") == 2  # of the sad and of the neutral
    assert [row["role"] for row in measured].count("response") == 2
    assert all(2.0 < row["dnsmos"] < 4.5 for row in measured)


def test_dnsmos_that_is_not_installed_is_a_sentence(monkeypatch):
    monkeypatch.setattr("corpus.sound.dnsmos.find_spec", lambda name: None)
    with pytest.raises(InvalidInput, match=r"dnsmos_per_cell: .* not installed\. Run `pip install"):
        require_dnsmos()
