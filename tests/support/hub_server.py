"""A loopback double of the Hugging Face Hub: what its own client needs to create, fill, tag, list
and fetch a repository, with real state, real hashes, and failures on demand.

It stores what it is sent as the Hub does: LFS objects by their SHA-256, whose bytes must have it;
small files in commits; every commit a whole list of files with the ids git would give them. Point
HF_ENDPOINT at `Hub().url`, and set HF_HUB_DISABLE_XET=1: of Xet it knows only how to refuse.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote

import orjson
from aiohttp import web

from tests.support.fake_servers import _serve
from tests.support.hub_repository import Entry, Repository
from tests.support.hub_transfers import Downloads, Uploads, refusal, repo_id_of

TOKEN = "hf_secretOfTheTests0123456789"
READER = "hf_readerWhoMayNotWrite01234567"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Failure:
    """What is to go wrong with requests of a kind, after the first `skip`, so many `times`."""

    call: str
    how: int | str
    skip: int
    times: int
    body: Any
    headers: dict[str, str]


class Hub:
    """The server, in a thread of this process; a context manager.

    `requests` has the kind of every call, in order; `received` the bytes that were put, `given`
    those of LFS objects that were fetched.
    """

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.namespaces = {"someone", "others"}
        self.requests: list[str] = []
        self.received = 0
        self.given = 0
        self.page = 1000
        self.keyed_puts = 0
        self.keyed_gets = 0
        self._failures: list[Failure] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def storage(self) -> str:
        """Where LFS objects are fetched, which is another host to a client."""
        return f"http://localhost:{self.port}"

    def __enter__(self) -> Self:
        ready = threading.Event()

        def note(port: int) -> None:
            self.port = port
            ready.set()

        async def main() -> None:
            self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
            await _serve(self, self.port, note, self._stopping)  # type: ignore[arg-type]

        self._thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
        self._thread.start()
        assert ready.wait(10), "the Hub did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)

    def fail(
        self,
        call: str,
        how: int | str,
        *,
        skip: int = 0,
        times: int = 1,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Has a kind of call fail.

        Args:
            call: create, info, revision, refs, tag, validate, preupload, batch, put, verify,
                commit, tree, head, resolve, get, xet.
            how: a status; "drop", the connection ends in mid-request; "lose", it ends after the
                request was done; "cut", in the middle of the answer; "hang", there is none.
            skip: so many calls of the kind pass first.
            times: so many fail then.
            body: of the answer, JSON or a string; an error message if not given.
            headers: of the answer.
        """
        body = {"error": f"Failed on purpose ({how})"} if body is None else body
        self._failures.append(Failure(call, how, skip, times, body, headers or {}))

    def recover(self) -> None:
        """Forgets every failure that is still to come."""
        self._failures.clear()

    def count(self, call: str) -> int:
        return self.requests.count(call)

    def repository(self, repo_id: str, kind: str = "datasets") -> Repository:
        return self.repositories[kind, repo_id]

    # What the client calls

    def application(self) -> web.Application:
        app = web.Application(client_max_size=2**28, middlewares=[self._misbehave, self._guard])
        api = "/api/{kind:models|datasets}/{space}/{name}"
        lfs = "/{space}/{name:[^/]+}.git/info/lfs/objects"
        storage = "/storage/{kind}/{space}/{name}/{oid}"
        file = "/{kind:datasets}/{space}/{name}/resolve/{revision}/{path:.+}"
        uploads, downloads = Uploads(self), Downloads(self)
        for method, path, handler, call in (
            ("POST", "/api/repos/create", self._create, "create"),
            ("GET", "/api/whoami-v2", self._whoami, "whoami"),
            ("POST", "/api/validate-yaml", self._validate, "validate"),
            ("GET", api, self._info, "info"),
            ("GET", api + "/revision/{revision}", self._info, "revision"),
            ("GET", api + "/refs", self._refs, "refs"),
            ("POST", api + "/tag/{revision}", self._tag, "tag"),
            ("POST", api + "/preupload/{revision}", uploads.preupload, "preupload"),
            ("POST", "/{kind:datasets}" + lfs + "/batch", uploads.batch, "batch"),
            ("POST", "/{kind:datasets}" + lfs + "/verify", uploads.verify, "verify"),
            ("POST", lfs + "/batch", uploads.batch, "model-batch"),
            ("POST", lfs + "/verify", uploads.verify, "model-verify"),
            ("PUT", storage, uploads.put, "put"),
            ("POST", api + "/commit/{revision}", uploads.commit, "commit"),
            ("GET", api + "/tree/{revision}", self._tree, "tree"),
            ("GET", api + "/xet-write-token/{revision}", uploads.xet, "xet"),
            ("HEAD", file, downloads.resolve, "head"),
            ("GET", file, downloads.resolve, "resolve"),
            ("GET", storage, downloads.get, "get"),
        ):
            app.router.add_route(method, path, handler, name=call)
        return app

    @web.middleware
    async def _misbehave(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        call = (request.match_info.route.name or "unknown").removeprefix("model-")
        self.requests.append(call)
        failure = self._next_failure(call)
        if failure is None:
            return await handler(request)
        if failure.how == "hang":
            await self._stopping.wait()
        elif failure.how == "lose":
            await handler(request)
        elif failure.how == "drop":
            await request.content.read(1000)
        elif failure.how == "cut":
            await _half(request, await handler(request))
        else:
            await request.read()
            assert isinstance(failure.how, int)
            text = isinstance(failure.body, str)
            return web.Response(
                status=failure.how,
                body=failure.body.encode() if text else orjson.dumps(failure.body),
                content_type="text/html" if text else "application/json",
                headers=failure.headers,
            )
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    def _next_failure(self, call: str) -> Failure | None:
        for failure in self._failures:
            if failure.call != call or not failure.times:
                continue
            if failure.skip:
                failure.skip -= 1
                continue
            failure.times -= 1
            return failure
        return None

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if request.path.startswith("/storage/"):  # one elsewhere must not be shown the token
            self.keyed_puts += bool(key) and request.method == "PUT"
            self.keyed_gets += bool(key) and request.method == "GET"
            return await handler(request)
        if not key and request.method in ("GET", "HEAD"):
            there = "space" in request.match_info and self.repositories.get(_key(request))
            if there and not there.private:
                return await handler(request)
            return refusal(401, "Invalid username or password.", "RepoNotFound")
        if key not in (TOKEN, READER):
            return refusal(401, "Invalid credentials in Authorization header")
        if key == READER and request.method == "POST" and "validate" not in request.path:
            return refusal(403, "You don't have the rights to do that under this namespace")
        return await handler(request)

    async def _whoami(self, request: web.Request) -> web.Response:
        role = "read" if READER in request.headers["Authorization"] else "write"
        return web.json_response({"name": "tester", "auth": {"accessToken": {"role": role}}})

    async def _create(self, request: web.Request) -> web.Response:
        order = await request.json()
        kind = f"{order['type']}s" if "type" in order else "models"
        if order["organization"] not in self.namespaces:
            return refusal(404, f"Namespace {order['organization']} not found")
        repo_id = f"{order['organization']}/{order['name']}"
        url = self.address(kind, repo_id)
        if (kind, repo_id) in self.repositories:
            return web.json_response({"error": "You already created it", "url": url}, status=409)
        made = Repository(order.get("visibility") == "private")
        made.commits.append(
            ("initial commit", {".gitattributes": Entry(b"*.parquet lfs\n", False)})
        )
        self.repositories[kind, repo_id] = made
        return web.json_response({"url": url, "name": repo_id})

    async def _validate(self, request: web.Request) -> web.Response:
        content = (await request.json())["content"]
        if not content.startswith("---\n"):
            return web.json_response(
                {"errors": [{"message": '"license" is missing'}], "warnings": []}, status=400
            )
        return web.json_response({"errors": [], "warnings": []})

    def address(self, kind: str, repo_id: str) -> str:
        return f"{self.url}/{'datasets/' if kind == 'datasets' else ''}{repo_id}"

    def found(self, request: web.Request) -> Repository:
        found = self.repositories.get(_key(request))
        if found is None:
            headers = {"X-Error-Code": "RepoNotFound"}
            raise web.HTTPNotFound(headers=headers, text='{"error": "Repository not found"}')
        return found

    async def _info(self, request: web.Request) -> web.Response:
        found = self.found(request)
        commit = found.resolve(request.match_info.get("revision", "main"))
        if commit is None:
            return refusal(404, "Invalid rev id", "RevisionNotFound")
        return web.json_response(
            {
                "id": repo_id_of(request),
                "sha": commit,
                "private": found.private,
                "siblings": [{"rfilename": path} for path in found.at(commit) or {}],
            }
        )

    async def _refs(self, request: web.Request) -> web.Response:
        found = self.found(request)
        main = {"name": "main", "ref": "refs/heads/main", "targetCommit": found.oid()}
        tags = [
            {"name": name, "ref": f"refs/tags/{name}", "targetCommit": commit}
            for name, commit in found.tags.items()
        ]
        return web.json_response({"branches": [main], "converts": [], "tags": tags})

    async def _tag(self, request: web.Request) -> web.Response:
        found, name = self.found(request), (await request.json())["tag"]
        commit = found.resolve(request.match_info["revision"])
        if commit is None:
            return refusal(404, "Invalid rev id", "RevisionNotFound")
        if name in found.tags:
            return refusal(409, "Tag reference exists already")
        found.tags[name] = commit
        return web.json_response({})

    async def _tree(self, request: web.Request) -> web.Response:
        files = self.found(request).at(request.match_info["revision"])
        if files is None:
            return refusal(404, "Invalid rev id", "RevisionNotFound")
        folders = {path.rpartition("/")[0] for path in files} - {""}
        entries = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": f} for f in folders]
        entries += [files[path].listed(path) for path in sorted(files)]
        start = int(request.query.get("cursor", 0))
        headers = {}
        if start + self.page < len(entries):
            query = f"?recursive=true&cursor={start + self.page}"
            headers["Link"] = f'<{self.url}{quote(request.path)}{query}>; rel="next"'
        return web.json_response(entries[start : start + self.page], headers=headers)

    # What tests do with it

    def held(self, repo_id: str, kind: str = "datasets") -> dict[str, bytes]:
        """What was published into a repository."""
        files = self.repository(repo_id, kind).files
        return {name: files[name].content for name in files if name != ".gitattributes"}


def _key(request: web.Request) -> tuple[str, str]:
    return request.match_info.get("kind", "models"), repo_id_of(request)


async def _half(request: web.Request, whole: web.StreamResponse) -> None:
    """Sends half of what was announced."""
    assert isinstance(whole, web.Response) and isinstance(whole.body, bytes)
    half = web.StreamResponse(status=whole.status, headers=whole.headers)
    half.content_length = len(whole.body)
    await half.prepare(request)
    await half.write(whole.body[: len(whole.body) // 2])
