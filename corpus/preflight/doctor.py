"""Looks at all that a run needs before it starts."""

import asyncio
from itertools import chain

from corpus.plan.blueprint import Blueprint
from corpus.preflight.disk import DISK
from corpus.preflight.environment import ENVIRONMENT
from corpus.preflight.findings import Finding, RunAhead, look
from corpus.preflight.hearing_judges import JUDGES, listed
from corpus.preflight.remote_services import PLACES
from corpus.preflight.text_servers import ANSWERED, LISTED, probed
from corpus.preflight.voices import VOICES, builtin, heard

BUILTIN = "the builtin voice"


def examine(ahead: RunAhead) -> list[Finding]:
    """Everything, in the order of the registries; text servers and voices with short requests."""
    found = list(look((*ENVIRONMENT, *DISK, *PLACES), ahead))
    if ahead.blueprint is not None:
        found += asyncio.run(_servers(ahead.blueprint, speaks=ahead.speaks))
    return found


async def _servers(blueprint: Blueprint, *, speaks: bool) -> list[Finding]:
    """What is found at all servers, which are asked side by side."""
    recipe = blueprint.recipe

    async def text_server(url: str) -> list[Finding]:
        return list(look((*LISTED, *ANSWERED), await probed(blueprint, url), url))

    async def voice(url: str) -> list[Finding]:
        return list(look(VOICES, await heard(blueprint, url), url))

    async def own_voice() -> list[Finding]:
        return list(look(VOICES, await builtin(blueprint), BUILTIN))

    async def judge(url: str) -> list[Finding]:
        return list(look(JUDGES, await listed(recipe.speech.judge, url), url))

    looks = [text_server(url) for url in recipe.llm.endpoints]
    if speaks and recipe.speech.backend == "builtin":
        looks.append(own_voice())
    elif speaks:
        looks += [voice(url) for url in recipe.speech.endpoints]
    if speaks and recipe.speech.judge.model:
        looks += [judge(url) for url in recipe.speech.judge.endpoints]
    found = await asyncio.gather(*looks)
    return list(chain.from_iterable(found))
