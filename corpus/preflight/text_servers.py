"""A text server: what it serves, and how it answers some short requests.

What is asked is asked with the recipe's own sampling. The answers are put together first, so that
each check is a plain function of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import httpx2
import openai
import orjson

from corpus.errors import SympatheiaError
from corpus.plan.blueprint import Blueprint
from corpus.preflight.findings import Check, Seen, failed, passed, said, warning
from corpus.servers.chat_requests import (
    IN_FIELD,
    TRUNCATED,
    ChatAnswer,
    ChatRequest,
    problem,
    read_answer,
)
from corpus.servers.model_lists import ModelList, read_models
from corpus.servers.retry_and_failover import Endpoints
from schemas.recipe import Llm, Sampling

PLAIN_TOKENS, THINKING_TOKENS, CUT_TOKENS = 64, 1024, 2
"""Most tokens of an answer without thoughts, with them, and of one that is to be cut short: enough
to see how a server answers, and over in seconds."""

ASK_SECONDS = 120.0
"""For one of these requests; a server that takes longer for so few tokens is not well."""

CHARS_PER_TOKEN = (5.0, 3.0)
"""English prompts have 4 to 4.5; with the first a need is surely not overstated, with the second
not understated."""

QUERY_CHARS = 200
"""Of the query in a prompt for a response: the bundled rules let 40 words through."""

REACHABLE = "text_server"
"""The check of whether a server answers at all."""

_ASKED = "Name three things that one can see from a window, in one short sentence."
_LONG = "Count from one to fifty in words."
_THOUGHTS = ("reasoning", "reasoning_content", "thinking")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, with what a run would not keep of it."""

    answer: ChatAnswer
    thought: bool
    says_how_it_ended: bool


@dataclass(frozen=True, slots=True)
class TextServer:
    """What was found out about a text server.

    Attributes:
        llm: the recipe's section.
        prompt_chars: most characters of a prompt, for each kind of text that is asked for.
        listed: the models it lists.
        replies: what it answered, by the name of the request: plain, again, other, cut, thinking.
        trouble: why there are no more replies; None if all came.
    """

    llm: Llm
    prompt_chars: Mapping[str, int]
    listed: ModelList
    replies: Mapping[str, Reply]
    trouble: SympatheiaError | None = None


def samplings(llm: Llm) -> dict[str, Sampling]:
    """How each kind of text is asked for, by the key that says so."""
    found: dict[str, Sampling] = {"llm.queries": llm.queries, "llm.responses": llm.responses}
    found |= {"llm.guard": llm.guard} if llm.guard.model else {}
    return found | ({"llm.judge": llm.judge} if llm.judge.model else {})


def prompt_chars(blueprint: Blueprint) -> dict[str, int]:
    """Most characters of a prompt for a query and for a response."""
    prompts, plan = blueprint.prompts, blueprint.plan
    anchors = plan.anchors.values()
    topic = max(prompts.topics, key=len)
    query = "x" * QUERY_CHARS
    asked = {
        "llm.queries": [prompts.emotional_query(anchor, topic) for anchor in anchors],
        "llm.responses": [
            *(prompts.emotional_response(anchor, query) for anchor in anchors),
            *(
                messages
                for room in plan.rooms.values()
                for messages in room.samples(prompts, plan.anchors)
            ),
        ],
    }
    return {
        key: max(sum(len(message["content"]) for message in messages) for messages in found)
        for key, found in asked.items()
    }


def of_list(blueprint: Blueprint, listed: ModelList) -> TextServer:
    """A server of which nothing but its list of models is known."""
    return TextServer(blueprint.recipe.llm, prompt_chars(blueprint), listed, {})


async def lists(pool: Endpoints) -> list[ModelList]:
    """What the servers of a pool list."""
    answers = await pool.models()
    states = pool.snapshot()
    return [read_models(s.url, a) for s, a in zip(states, answers, strict=True)]


async def probed(blueprint: Blueprint, url: str) -> TextServer:
    """A server that was asked for its models and for some short texts."""
    llm = blueprint.recipe.llm
    replies: dict[str, Reply] = {}
    found = of_list(blueprint, ModelList(url, trouble="it was not asked"))
    try:
        pool = Endpoints(
            [url],
            api_key_env=llm.api_key_env,
            timeout_seconds=min(llm.timeout_seconds, ASK_SECONDS),
            patience_seconds=0.0,
        )
        async with pool:
            (listed,) = await lists(pool)
            found = replace(found, listed=listed)
            if not listed.trouble:
                await _ask(pool, llm, replies)
    except SympatheiaError as error:
        return replace(found, replies=replies, trouble=error)
    return replace(found, replies=replies)


async def _ask(pool: Endpoints, llm: Llm, replies: dict[str, Reply]) -> None:
    """Asks for short texts; each reply is noted when it is there."""
    kinds = list(samplings(llm).values())
    plain = next((one for one in kinds if not one.thinking), kinds[0])
    thinking = next((one for one in kinds if one.thinking), None)

    async def ask(name: str, sampling: Sampling, seed: int, tokens: int = 0) -> None:
        most = tokens or (THINKING_TOKENS if sampling.thinking else PLAIN_TOKENS)
        asked = [{"role": "user", "content": _LONG if name == "cut" else _ASKED}]
        short = sampling.model_copy(update={"max_tokens": min(most, sampling.max_tokens)})
        request = ChatRequest.sampled(llm.model, asked, short, seed)
        replies[name] = await _reply(pool, request)

    # One after the other: alone, a server should repeat itself, if it ever does.
    await ask("plain", plain, seed=1)
    if _unusable(replies["plain"]):
        return
    await ask("again", plain, seed=1)
    await ask("other", plain, seed=2)
    await ask("cut", plain, seed=1, tokens=CUT_TOKENS)
    if thinking is not None and not plain.thinking:
        await ask("thinking", thinking, seed=1)
    elif thinking is not None:
        replies["thinking"] = replies["plain"]


def _unusable(reply: Reply) -> str | None:
    """Why an answer cannot be used, if not because so few tokens were allowed."""
    reason = problem(reply.answer)
    return None if reason == TRUNCATED else reason


async def _reply(pool: Endpoints, request: ChatRequest) -> Reply:
    async def send(client: openai.AsyncOpenAI) -> Reply:
        response = await client.post(
            "/chat/completions",
            content=request.body(),
            cast_to=httpx2.Response,
            options={"headers": {"Content-Type": "application/json"}},
        )
        answer = read_answer(response, request.max_tokens)
        choice = orjson.loads(response.content)["choices"][0]
        message = choice["message"]
        words = "".join(str(message.get(name) or "") for name in ("content", *_THOUGHTS))
        parted = any(str(message.get(name) or "").strip() for name in _THOUGHTS)
        return Reply(answer, parted or "</think" in words, bool(choice.get("finish_reason")))

    return await pool.call(send, "a short text")


# What the list tells


def _reachable(server: TextServer) -> Seen:
    if server.trouble is not None and server.listed.trouble:
        return said(server.trouble)
    if server.listed.trouble.startswith("HTTP 4"):
        return failed(
            f"It refuses access ({server.listed.trouble}).",
            "Put a valid key into the environment variable that llm.api_key_env names.",
        )
    if server.listed.trouble:
        return failed(
            f"It does not answer ({server.listed.trouble}).",
            "Start the server, or correct llm.endpoints (addresses as a rule end in /v1).",
        )
    return passed("It answers.")


def _model_served(server: TextServer) -> Seen | None:
    if server.listed.trouble or server.listed.contexts is None:
        return None
    missing = [name for name in _models(server.llm) if server.listed.serves(name) is False]
    if missing:
        listed = ", ".join(f"'{name}'" for name in list(server.listed.contexts)[:10])
        return failed(
            f"It does not serve '{missing[0]}'; it serves {listed}.",
            "Correct llm.model, or serve the model under this name.",
        )
    if not server.listed.contexts:
        return warning("It lists no model.", "See that the server has loaded one.")
    return passed(f"It serves {' and '.join(_models(server.llm))}.")


def _models(llm: Llm) -> list[str]:
    return list(dict.fromkeys(filter(None, (llm.model, llm.guard.model, llm.judge.model))))


def _context_length(server: TextServer) -> Seen | None:
    context = server.listed.context(server.llm.model)
    if context is None:
        return None
    for key, sampling in samplings(server.llm).items():
        least, most = (
            sampling.max_tokens + server.prompt_chars.get(key, 0) / chars
            for chars in CHARS_PER_TOKEN
        )
        remedy = f"Serve the model with a longer context, or lower {key}.max_tokens."
        asked = f"{key}.max_tokens is {sampling.max_tokens:,}"
        if context < least:
            return failed(
                f"It takes {context:,} tokens, prompt and answer together; {asked}, and prompts "
                f"have some {most - sampling.max_tokens:,.0f} more.",
                remedy,
            )
        if context < most:
            return warning(
                f"It takes {context:,} tokens, prompt and answer together; {asked}, which may "
                "leave too little for the longest prompts.",
                remedy,
            )
    return passed(f"It takes {context:,} tokens, which is enough.")


# What the answers tell


def _answers(server: TextServer) -> Seen | None:
    if server.trouble is not None and not server.listed.trouble:
        return said(server.trouble)
    plain = server.replies.get("plain")
    if plain is None:
        return None
    if reason := _unusable(plain):
        return failed(
            f"A short request is answered with nothing that can be used: {reason}.",
            _PARSER if reason.startswith(IN_FIELD) else "Look at the server's log.",
        )
    return passed(f"It says: {plain.answer.text[:60]}")


_PARSER = (
    "The server takes answers for thoughts: use its reasoning parser for this model, or none where "
    "the model does not think."
)


def _thinking_off(server: TextServer) -> Seen | None:
    plain = server.replies.get("plain")
    off = [key for key, sampling in samplings(server.llm).items() if not sampling.thinking]
    if plain is None or not off or _unusable(plain):
        return None
    if plain.thought:
        return failed(
            f"It thinks, although {off[0]}.thinking is false; thoughts would use up max_tokens.",
            "Serve the model with a chat template that knows enable_thinking, or set "
            f"{off[0]}.thinking to true and its max_tokens to some thousands.",
        )
    return passed("It does not think when it is told not to.")


def _thinking_on(server: TextServer) -> Seen | None:
    reply = server.replies.get("thinking")
    if reply is None:
        return None
    on = next(key for key, sampling in samplings(server.llm).items() if sampling.thinking)
    if reason := _unusable(reply):
        return failed(f"With thinking a request is answered with: {reason}.", _PARSER)
    if not reply.thought:
        return warning(
            f"It does not think, although {on}.thinking is true.",
            "Serve the model with a chat template that knows enable_thinking, or set "
            f"{on}.thinking to false.",
        )
    return passed("It thinks when it is told to.")


def _seed_repeats(server: TextServer) -> Seen | None:
    texts = _texts(server, "plain", "again")
    if texts is None:
        return None
    if texts[0] != texts[1]:
        return warning(
            "The same request with the same seed gives another text the second time.",
            "A run goes on all the same, for answers are kept; only a second run from nothing will "
            "have other texts. Where that matters, ask the server for reproducible sampling.",
        )
    return passed("The same seed gives the same text.")


def _seed_matters(server: TextServer) -> Seen | None:
    texts = _texts(server, "plain", "again", "other")
    if texts is None or server.llm.queries.temperature == 0.0:
        return None
    if len(set(texts)) == 1:
        return warning(
            "Another seed gives the same text, so that attempts may be repeated to no avail.",
            "See that the server samples: that no setting of its own fixes temperature or seed.",
        )
    return passed("Another seed gives another text.")


def _texts(server: TextServer, *names: str) -> list[str] | None:
    found = [server.replies[name].answer.text for name in names if name in server.replies]
    return found if len(found) == len(names) and any(found) else None


def _finish_reason(server: TextServer) -> Seen | None:
    cut, plain = server.replies.get("cut"), server.replies.get("plain")
    if cut is None or plain is None:
        return None
    if 0 < cut.answer.completion_tokens < CUT_TOKENS:
        return None  # it came to its end by itself
    if problem(cut.answer) != TRUNCATED:
        return failed(
            f"It does not tell that an answer was cut short at {CUT_TOKENS} tokens.",
            "Use a server that gives finish_reason 'length', or counts tokens in usage.",
        )
    if not plain.says_how_it_ended:
        return warning(
            "It does not say how an answer ended (finish_reason).",
            "Answers that use all of max_tokens are taken for cut short; raise max_tokens if many "
            "are refused as truncated.",
        )
    return passed("It says whether an answer was finished or cut short.")


def _token_counts(server: TextServer) -> Seen | None:
    plain = server.replies.get("plain")
    if plain is None or not plain.answer.text:
        return None
    if not plain.answer.completion_tokens or not plain.answer.prompt_tokens:
        return warning(
            "It does not count tokens (usage), so that rates and costs cannot be told.",
            "Turn the counting on, if the server can count.",
        )
    return passed("It counts tokens.")


LISTED: tuple[Check[TextServer], ...] = (
    Check(REACHABLE, "Each text server: it answers, and takes the key.", _reachable, True),
    Check("model_served", "The recipe's models are in the server's list.", _model_served, True),
    Check(
        "context_length",
        "The server's context takes the longest prompt and `max_tokens` together.",
        _context_length,
        True,
    ),
)
"""What is looked at of a server's list of models."""

ANSWERED: tuple[Check[TextServer], ...] = (
    Check("short_text", "A short request is answered with a text.", _answers),
    Check("thinking_off", "No thoughts where the recipe wants none.", _thinking_off),
    Check("thinking_on", "Thoughts where the recipe wants them.", _thinking_on),
    Check("text_seed", "The same seed gives the same text.", _seed_repeats),
    Check("text_sampling", "Another seed gives another text.", _seed_matters),
    Check("finish_reason", "It says how an answer ended, and which was cut short.", _finish_reason),
    Check("token_counts", "It counts tokens.", _token_counts),
)
"""What is looked at of its answers."""
