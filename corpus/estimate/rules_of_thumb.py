"""What is expected where a run has nothing on file yet: rough, and each with its source."""

from itertools import islice

from corpus.estimate.ranges import Range
from corpus.estimate.remaining_work import QUERY_CLIPS, SPOKEN, TEXTS, Part
from corpus.plan.blueprint import Blueprint
from corpus.plan.subsets.subset import Exchange
from corpus.servers.chat_requests import ChatRequest
from corpus.text.annotation.annotation_stage import STAGE as ANNOTATIONS
from corpus.text.annotation.empathy import annotation_request
from corpus.text.assessment.graders import graders
from corpus.text.queries import STAGE as QUERIES
from corpus.text.queries import query_request
from corpus.text.responses import STAGE as RESPONSES
from corpus.text.responses import response_request
from schemas.slots import QuerySlot

REQUESTS_A_SLOT = Range(1.0, 2.5)
"""From every first attempt kept to the worst of the published run, which wrote 1.5 to 2.5 times the
texts it kept."""

CHARS_A_TOKEN = Range(3.0, 5.0)
"""OpenAI's help pages count four characters of English a token; tokenizers and chat templates
differ by about a quarter."""

SECONDS = {QUERIES: 5.0, RESPONSES: 13.0}
"""Of sound in a query and in a response, by `benchmarks/speech_run.py`; voices and models differ,
so half as much and twice as much are counted with."""
SECONDS_SPREAD = (0.5, 2.0)

WORDS_A_SECOND = 2.5
"""150 words a minute, an ordinary rate of speech."""

ANNOTATION_WORDS = 20
"""In the least that an annotation may be: three short sentences and the names of three fields."""

TOKENS_A_WORD = 4 / 3
"""OpenAI's help pages count three words for four tokens of English."""

PUBLISHED_TEXT_MODEL = "Qwen/Qwen3-32B"
PUBLISHED_VOICE = "Qwen/Qwen3-TTS-12Hz-1.7B-CustomVoice"
PUBLISHED_HOURS = {QUERIES: 32.0 / 12_500, RESPONSES: 192.0 / 18_000}
"""GPU-hours the published run took for each text it kept, on NVIDIA L40: 8 h and 2 days on four."""
PUBLISHED_REQUESTS = (1.5, 2.5)
"""Texts it wrote for each it kept."""
PUBLISHED_CLIP_HOURS = 48.0 / 30_500
"""GPU-hours it took for a clip: 12 h on four L40."""
FASTEST_SOUND = 18.0
"""Seconds of sound a second on one L40S, which vLLM-Omni publishes for this voice."""

BUILTIN_SOUND = 10.1
"""Seconds of sound a second that one process of the builtin voice makes, by
`benchmarks/speech_run.py`: 20.2 with two."""
SLOWER_CORES = 2.5
"""How much longer the same took on another machine's cores."""

BYTES_A_SECOND = Range(24_000.0, 48_000.0)
"""Of FLAC at 24 kHz, 16 bits, one channel: from half of what it holds to all of it."""
BYTES_A_TEXT = 1_700.0
"""Of the store, with its embedding: 52 MB for 30,981 answers (`benchmarks/text_run.py`)."""

SAMPLED = 24
"""Prompts of each kind whose length is looked at, evenly over the plan."""

STAND_IN = "So here is what I would like to say to you about it, in a sentence or two. "
"""In the place of a text that is not written yet, repeated to its usual length."""


def requests(part: Part, rounds: int = 1) -> Range:
    """Requests until the slots left of a part are full; `rounds` is how many an attempt takes.

    Answers that only wait to be judged are not asked for again.
    """
    most = REQUESTS_A_SLOT.times(part.left * rounds)
    return Range(max(0.0, most.low - part.undecided), max(0.0, most.high - part.undecided))


def clip_seconds(part: Part) -> Range:
    """Seconds of sound until the clips left of a part are made."""
    seconds = SECONDS[QUERIES if part.kind == QUERY_CLIPS else RESPONSES]
    return REQUESTS_A_SLOT.times(part.left).times(
        seconds * SECONDS_SPREAD[0], seconds * SECONDS_SPREAD[1]
    )


def rounds(blueprint: Blueprint, kind: str) -> int:
    """Requests that one attempt at a slot takes: a response is shown to the guard and the judge."""
    return 1 + len(graders(blueprint)) if kind == RESPONSES else 1


def attempts(blueprint: Blueprint, kind: str) -> int:
    """Attempts at a slot that have to succeed: a response may be the best of several."""
    return blueprint.recipe.llm.responses.candidates if kind == RESPONSES else 1


def tokens(blueprint: Blueprint, kind: str) -> tuple[Range, Range]:
    """Prompt tokens and completion tokens of one attempt at a slot of a kind of text.

    Prompts are as long as they are; an answer has at least the words that are spoken, and at most
    what its request allows.
    """
    assert kind in TEXTS
    attempts = _attempts(blueprint, kind)
    chars = sum(len(m["content"]) for requests in attempts for r in requests for m in r.messages)
    most = sum(request.max_tokens for request in attempts[0])
    spoken = SECONDS.get(kind, 0.0) * SECONDS_SPREAD[0] * WORDS_A_SECOND
    least = (spoken or ANNOTATION_WORDS) * TOKENS_A_WORD
    mean = chars / len(attempts)
    prompt = Range(mean / CHARS_A_TOKEN.high, mean / CHARS_A_TOKEN.low)
    return prompt, Range(min(least, most), most)


def _attempts(blueprint: Blueprint, kind: str) -> list[list[ChatRequest]]:
    """The requests of the first attempts at some slots."""
    plan = blueprint.plan
    if kind == QUERIES:
        step = max(1, plan.query_count // SAMPLED)
        slots = islice(plan.queries(), 0, None, step)
        return [[query_request(blueprint, slot, 0, said=_said_before(slot))] for slot in slots]
    query, response = (_stand_in(SECONDS[spoken]) for spoken in SPOKEN)
    step = max(1, plan.pair_count // SAMPLED)
    found = []
    for pair in islice(plan.pairs(), 0, None, step):
        said = _said_before(pair.query)
        if kind == ANNOTATIONS:
            found.append([annotation_request(blueprint, pair, query, response, 0, said)])
            continue
        found.append([response_request(blueprint, pair, query, 0, said)])
        found[-1] += [one.request(pair, query, response, 0, said) for one in graders(blueprint)]
    return found


def _said_before(slot: QuerySlot) -> list[Exchange]:
    """As many exchanges as come before a turn of a dialogue."""
    exchange = Exchange(*(_stand_in(SECONDS[kind]) for kind in SPOKEN))
    return [exchange] * (slot.turn.number - 1 if slot.turn else 0)


def _stand_in(seconds: float) -> str:
    words = (STAND_IN * 9).split()
    return " ".join(words[: round(seconds * WORDS_A_SECOND)])
