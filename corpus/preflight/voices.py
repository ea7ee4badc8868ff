"""A voice: whether it speaks as asked, and alike when it is asked the same.

A few clips are asked for and put together first, so that each check is a plain function of them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

from corpus.errors import SympatheiaError
from corpus.plan.blueprint import Blueprint
from corpus.plan.cast import voice_name
from corpus.plan.subsets.subset import Manner
from corpus.preflight.findings import Check, Seen, failed, passed, said, warning
from corpus.servers.retry_and_failover import Endpoints
from corpus.sound.clip_audio import ClipMeasures
from corpus.sound.clip_rejection_rules import HeardClip, clip_rules, judge
from corpus.speech.builtin_voice import require_speakers, tts_model
from corpus.speech.builtin_voice import speak as speak_builtin
from corpus.speech.clip_requests import QUERY, Clip, ClipRequest, ClipSlot, clip_request
from corpus.speech.served_voice import ServedVoice
from schemas.audio import SAMPLE_RATE
from schemas.prompts import Speaker
from schemas.recipe import Speech

SPEAK_SECONDS = 120.0
"""For one of these clips; a server that takes longer for a sentence is not well."""

COMPANY = 4
"""Clips asked for together, where the recipe's batches are not smaller."""

SENTENCE = "The ladder is in the shed behind the house."
SHORTEST = "Yes."
_OTHERS = (
    "We could take the early train and be there before noon.",
    "Nobody has told me what the new doctor is called.",
    "It may rain tonight, so take the washing in.",
    "There is soup left for tomorrow.",
    "He sings in the kitchen whenever the kettle is on.",
    "The library closes at six, and I still have two books.",
    "She has painted the fence green.",
)
"""Spoken in company with the sentence; as many as fill a batch."""

Say = Callable[[ClipRequest, str], Awaitable[Clip]]
_WRONG_RATE = "wrong_rate"


@dataclass(frozen=True, slots=True)
class HeardVoice:
    """What was heard of a voice.

    Attributes:
        speech: the recipe's section.
        clips: what it said, by the name of the request: first, again, styled, short, company and
            other_voice.
        trouble: why there are no more clips; None if all came.
    """

    speech: Speech
    clips: Mapping[str, Clip] = field(default_factory=dict)
    trouble: SympatheiaError | None = None


async def heard(blueprint: Blueprint, url: str) -> HeardVoice:
    """The voice of a server."""
    speech = blueprint.recipe.speech
    clips: dict[str, Clip] = {}
    try:
        pool = Endpoints(
            [url],
            api_key_env=speech.api_key_env,
            timeout_seconds=min(speech.timeout_seconds, SPEAK_SECONDS),
            patience_seconds=0.0,
            section="speech",
        )
        async with pool:

            async def opened() -> Endpoints:
                return pool

            alone = ServedVoice(speech.model, opened, 1)
            first = await _listen(blueprint, alone.speak, clips)
            if not _refused(clips["first"], SENTENCE):
                batched = ServedVoice(speech.model, opened, COMPANY, speech.batch)
                clips["company"] = await _in_company(batched.speak, first, speech.batch)
    except SympatheiaError as error:
        return HeardVoice(speech, clips, error)
    return HeardVoice(speech, clips)


async def builtin(blueprint: Blueprint) -> HeardVoice:
    """The builtin voice, in this process."""
    speech = blueprint.recipe.speech
    clips: dict[str, Clip] = {}

    async def say(request: ClipRequest, _: str) -> Clip:
        return await asyncio.to_thread(speak_builtin, request)

    try:
        require_speakers(speech)
        await _listen(blueprint, say, clips)
    except SympatheiaError as error:
        return HeardVoice(speech, clips, error)
    return HeardVoice(speech, clips)


async def _listen(blueprint: Blueprint, say: Say, clips: dict[str, Clip]) -> ClipRequest:
    """Has a voice say this and that alone, each noted when it is there; gives the first request."""
    speech, plan = blueprint.recipe.speech, blueprint.plan
    anchors = sorted(plan.anchors.values(), key=lambda anchor: anchor.arousal)
    calm, stirred = (Manner(one.query_style, one.point) for one in (anchors[0], anchors[-1]))
    speakers = plan.cast.leading() if plan.cast else (None, None)
    query, response = (
        voice_name(speech, speaker) if speaker else voice
        for speaker, voice in zip(
            speakers, (speech.query_voice, speech.response_voice), strict=True
        )
    )

    def asking(voice: str, speaker: Speaker | None, manner: Manner) -> ClipRequest:
        slot = ClipSlot("doctor", QUERY, "", SENTENCE, voice, manner, speaker)
        points, model = speech.backend == "builtin", tts_model(speech)
        made = clip_request(blueprint, model, slot, 0, takes_points=points)
        return replace(made, seed=1, loudness=speech.loudness)

    first = asking(query, speakers[0], stirred)
    asked = {
        "first": first,
        "again": first,
        "styled": asking(query, speakers[0], calm),
        "short": replace(first, text=SHORTEST),
    }
    if response != query:
        asked["other_voice"] = asking(response, speakers[1], stirred)
    for name, request in asked.items():
        clips[name] = await say(request, f"a clip of '{request.voice}'")
        if name == "first" and _refused(clips[name], SENTENCE):
            break  # the others would be no better
    return first


def _refused(clip: Clip, text: str) -> str | None:
    """The rule that refuses a clip of a text, but for its rate, which has a check of its own."""
    heard = HeardClip(clip.measures, len(text.split()))
    reason = judge(clip_rules({}), heard).reason
    return None if reason == _WRONG_RATE else reason


async def _in_company(say: Say, first: ClipRequest, batch: int) -> Clip:
    """The first clip once more, asked for together with others."""
    others = _OTHERS[: max(COMPANY, batch) - 1]
    # The others go first: a server may treat the first of a batch as if it were alone.
    requests = [replace(first, text=text) for text in others] + [first]
    said_together = await asyncio.gather(*(say(one, "a clip among others") for one in requests))
    return said_together[-1]


# What the clips tell


def _speaks(voice: HeardVoice) -> Seen | None:
    if voice.trouble is not None:
        return said(voice.trouble)
    for name in ("first", "styled", "other_voice"):
        if name not in voice.clips:
            continue
        if reason := _refused(voice.clips[name], SENTENCE):
            return failed(
                f"Its sentence is refused as {reason}{_measured(voice.clips[name].measures)}.",
                "Listen to what the server sends and look at its log; speech.model and the voices "
                "have to be ones that it has.",
            )
    seconds = voice.clips["first"].measures.speech_seconds
    return passed(f"It says a sentence of {len(SENTENCE.split())} words in {seconds:.1f} s.")


def _measured(measures: ClipMeasures) -> str:
    if measures.problem:
        return f" ({measures.problem.rstrip('.')})"
    return f" ({measures.seconds:.1f} s, {measures.level:.0f} dBFS)"


def _sampling_rate(voice: HeardVoice) -> Seen | None:
    first = voice.clips.get("first")
    if first is None or not first.measures.sample_rate:
        return None
    rate = first.measures.sample_rate
    if rate != SAMPLE_RATE:
        return failed(
            f"Its clips have {rate:,} samples a second, and the corpus has {SAMPLE_RATE:,}.",
            f"Have the server send {SAMPLE_RATE:,}, or take a model that has them.",
        )
    return passed(f"Its clips have {SAMPLE_RATE:,} samples a second.")


def _same(voice: HeardVoice, one: str, other: str) -> bool | None:
    """Whether two clips are alike to the last sample; None if one is missing."""
    found = [voice.clips[name].flac for name in (one, other) if name in voice.clips]
    return found[0] == found[1] if len(found) == 2 and None not in found else None


def _seed_repeats(voice: HeardVoice) -> Seen | None:
    match _same(voice, "first", "again"):
        case None:
            return None
        case True:
            return passed("The same seed gives the same clip.")
    return warning(
        "The same request with the same seed gives another clip the second time.",
        "A run goes on all the same, for clips are kept; only a second run from nothing will have "
        "others. Where that matters, 'sympatheia serve qwen-tts --batch 1' repeats itself.",
    )


def _style_heard(voice: HeardVoice) -> Seen | None:
    alike = _same(voice, "first", "styled")
    if alike is None:
        return None
    if alike:
        return failed(
            "Two styles give the same clip: it does not hear instructions.",
            "Take a model that follows them, such as Qwen3-TTS-12Hz-1.7B-CustomVoice (the 0.6B "
            "does not).",
        )
    if not _same(voice, "first", "again"):
        return warning(
            "Whether it hears styles cannot be told, because it never says a thing twice alike.",
            "Listen to a calm and a loud clip of a pilot; 'sympatheia report' plays them.",
        )
    return passed("Another style gives another clip.")


def _voices_differ(voice: HeardVoice) -> Seen | None:
    match _same(voice, "first", "other_voice"):
        case None:
            return None
        case True:
            return failed(
                f"'{voice.speech.query_voice}' and '{voice.speech.response_voice}' give the same "
                "clip: it does not hear which voice is asked for.",
                "Set speech.query_voice and speech.response_voice to names that the server knows.",
            )
    return passed("The two voices differ.")


def _alone_as_in_company(voice: HeardVoice) -> Seen | None:
    alike = _same(voice, "first", "company")
    if alike is None or not _same(voice, "first", "again"):
        return None
    how = "in a batch" if voice.speech.batch > 1 else "while others are asked for"
    if not alike:
        return warning(
            f"A clip {how} is not the one that the same request gives alone.",
            "Clips are kept, so a run goes on all the same; only a second run from nothing will "
            "have others. Listen whether those of a batch are of one person.",
        )
    return passed(f"A clip {how} is the one that the same request gives alone.")


def _shortest(voice: HeardVoice) -> Seen | None:
    short = voice.clips.get("short")
    if short is None:
        return None
    if reason := _refused(short, SHORTEST):
        return warning(
            f"'{SHORTEST}' is refused as {reason}{_measured(short.measures)}.",
            "Texts as short will be spoken several times over, or run out of attempts; see whether "
            "a newer release of the server ends them.",
        )
    return passed(f"'{SHORTEST}' takes {short.measures.speech_seconds:.1f} s.")


VOICES: tuple[Check[HeardVoice], ...] = (
    Check("speaks", "Each voice says a sentence that the rules of clips let through.", _speaks),
    Check("sampling_rate", "Its clips are at 24 kHz.", _sampling_rate),
    Check("voice_seed", "The same seed gives the same clip.", _seed_repeats),
    Check("style", "Another style gives another clip.", _style_heard),
    Check("two_voices", "The voices of queries and of responses differ.", _voices_differ),
    Check(
        "company",
        "A clip is the same alone, in a batch, and while others are asked for.",
        _alone_as_in_company,
    ),
    Check("shortest", "The shortest text comes to an end.", _shortest),
)
"""What is looked at of a voice."""
