"""A server of a model that hears: whether it answers, and has the model.

It is asked for its list alone: what a grade is worth is seen in grades.
"""

from dataclasses import dataclass

from corpus.errors import SympatheiaError
from corpus.preflight.findings import Check, Seen, failed, passed, said
from corpus.preflight.text_servers import lists
from corpus.servers.model_lists import ModelList
from corpus.servers.retry_and_failover import Endpoints
from schemas.recipe import HearingJudge


@dataclass(frozen=True, slots=True)
class JudgeServer:
    """What was found out about a judge's server.

    Attributes:
        judge: the recipe's section.
        listed: the models it lists.
        trouble: why it could not be asked; None if it could.
    """

    judge: HearingJudge
    listed: ModelList
    trouble: SympatheiaError | None = None


async def listed(judge: HearingJudge, url: str) -> JudgeServer:
    """A server that was asked for its models."""
    try:
        pool = Endpoints(
            [url],
            api_key_env=judge.api_key_env,
            timeout_seconds=judge.timeout_seconds,
            patience_seconds=0.0,
            section=judge.SECTION,
        )
        async with pool:
            (found,) = await lists(pool)
    except SympatheiaError as error:
        return JudgeServer(judge, ModelList(url, trouble="it was not asked"), error)
    return JudgeServer(judge, found)


def _judge_server(server: JudgeServer) -> Seen:
    section, trouble = server.judge.SECTION, server.listed.trouble
    if server.trouble is not None:
        return said(server.trouble)
    if trouble:
        return failed(
            f"The judge's server gives no list of models ({trouble}).",
            f"Start the server, or correct {section}.endpoints or {section}.api_key_env.",
        )
    if server.listed.serves(server.judge.model) is False:
        names = ", ".join(f"'{name}'" for name in list(server.listed.contexts or ())[:10])
        return failed(
            f"The judge's server does not serve '{server.judge.model}'; it serves {names}.",
            f"Correct {section}.model, or serve the model under this name.",
        )
    return passed(f"It answers, and serves {server.judge.model}.")


JUDGES: tuple[Check[JudgeServer], ...] = (
    Check(
        "judge_server",
        "Each server of a model that hears: it answers, takes the key and has the model.",
        _judge_server,
    ),
)
"""What is looked at of a judge's server."""
