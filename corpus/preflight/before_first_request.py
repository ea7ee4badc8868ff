"""What every build looks at before its first request: whatever costs neither tokens nor time."""

from itertools import chain

from corpus.errors import SympatheiaError
from corpus.preflight.disk import DISK
from corpus.preflight.environment import ENVIRONMENT
from corpus.preflight.findings import RunAhead, in_one_line, look
from corpus.preflight.text_servers import LISTED, REACHABLE, lists, of_list
from corpus.servers.retry_and_failover import Endpoints


async def require_ready(ahead: RunAhead, pool: Endpoints | None = None) -> None:
    """Passes if the cheap half finds nothing that would stop a run.

    Args:
        ahead: what is about to be done.
        pool: its text servers, if they are about to be asked.

    Raises:
        SympatheiaError: something would; a sentence for each.
    """
    findings = list(look((*ENVIRONMENT, *DISK), ahead, cheap=True))
    if pool is not None and ahead.blueprint is not None:
        servers = [of_list(ahead.blueprint, listed) for listed in await lists(pool)]
        findings += chain.from_iterable(look(LISTED, s, s.listed.url) for s in servers)
    # A server that is away may come back, and the pool waits for it.
    failures = [f for f in findings if f.verdict == "failed" and f.name != REACHABLE]
    if failures:
        raise SympatheiaError(" ".join(map(in_one_line, failures)))
