"""A loopback double of the Hugging Face Hub: what its own client needs to create, fill and list a
repository, with real state, real hashes, and failures on demand.

It stores what it is sent as the Hub does: LFS objects by their SHA-256, whose bytes must have it;
small files in commits; every commit a whole list of files with the ids git would give them. Point
HF_ENDPOINT at `Hub().url`, and set HF_HUB_DISABLE_XET=1: of Xet it knows only how to refuse.
"""

import asyncio
import base64
import hashlib
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import quote

import orjson
from aiohttp import web

from tests.support.fake_servers import _serve

TOKEN = "hf_secretOfTheTests0123456789"
READER = "hf_readerWhoMayNotWrite01234567"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def blob_id(content: bytes) -> str:
    """What git calls a file of this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass(frozen=True)
class Entry:
    """A file of a commit: its content, and whether that is an LFS object."""

    content: bytes
    lfs: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def pointer(self) -> bytes:
        head = b"version https://git-lfs.github.com/spec/v1\n"
        return head + f"oid sha256:{self.sha256}\nsize {len(self.content)}\n".encode()

    def listed(self, path: str) -> dict[str, Any]:
        oid = blob_id(self.pointer if self.lfs else self.content)
        found: dict[str, Any] = {"type": "file", "oid": oid, "size": len(self.content)}
        if self.lfs:
            found["lfs"] = {
                "oid": self.sha256,
                "size": len(self.content),
                "pointerSize": len(self.pointer),
            }
        return found | {"path": path}


@dataclass
class Repository:
    """Its commits, the oldest first: message and files of each."""

    private: bool
    commits: list[tuple[str, dict[str, Entry]]] = field(default_factory=list)
    objects: dict[str, bytes] = field(default_factory=dict)
    """LFS objects that have arrived, referred to by a commit or not."""

    @property
    def files(self) -> dict[str, Entry]:
        return self.commits[-1][1]

    def oid(self, number: int = -1) -> str:
        number %= len(self.commits)
        message, files = self.commits[number]
        parts = [str(number), message, *(f"{path} {files[path].sha256}" for path in sorted(files))]
        return hashlib.sha1("\n".join(parts).encode()).hexdigest()

    def at(self, revision: str) -> dict[str, Entry] | None:
        for number in range(len(self.commits)):
            if revision == self.oid(number):
                return self.commits[number][1]
        return self.files if revision == "main" else None


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

    `requests` has the kind of every call, in order; `received` the bytes that were put.
    """

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.namespaces = {"someone", "others"}
        self.requests: list[str] = []
        self.received = 0
        self.page = 1000
        self.keyed_puts = 0
        self._failures: list[Failure] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

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
            call: create, info, validate, preupload, batch, put, verify, commit, tree, xet.
            how: a status; "drop", the connection ends in mid-request; "lose", it ends after the
                request was done; "hang", there is no answer.
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
        for method, path, handler, call in (
            ("POST", "/api/repos/create", self._create, "create"),
            ("GET", "/api/whoami-v2", self._whoami, "whoami"),
            ("POST", "/api/validate-yaml", self._validate, "validate"),
            ("GET", api, self._info, "info"),
            ("GET", api + "/revision/{revision}", self._info, "revision"),
            ("POST", api + "/preupload/{revision}", self._preupload, "preupload"),
            ("POST", "/{kind:datasets}" + lfs + "/batch", self._batch, "batch"),
            ("POST", "/{kind:datasets}" + lfs + "/verify", self._verify, "verify"),
            ("POST", lfs + "/batch", self._batch, "model-batch"),
            ("POST", lfs + "/verify", self._verify, "model-verify"),
            ("PUT", "/storage/{kind}/{space}/{name}/{oid}", self._put, "put"),
            ("POST", api + "/commit/{revision}", self._commit, "commit"),
            ("GET", api + "/tree/{revision}", self._tree, "tree"),
            ("GET", api + "/xet-write-token/{revision}", self._xet, "xet"),
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
        if request.path.startswith("/storage/"):
            self.keyed_puts += bool(key)  # a storage elsewhere must not be shown the token
            return await handler(request)
        if key not in (TOKEN, READER):
            return _no(401, "Invalid credentials in Authorization header")
        if key == READER and request.method == "POST" and "validate" not in request.path:
            return _no(403, "You don't have the rights to do that under this namespace")
        return await handler(request)

    async def _whoami(self, request: web.Request) -> web.Response:
        role = "read" if READER in request.headers["Authorization"] else "write"
        return web.json_response({"name": "tester", "auth": {"accessToken": {"role": role}}})

    async def _create(self, request: web.Request) -> web.Response:
        order = await request.json()
        kind = f"{order['type']}s" if "type" in order else "models"
        if order["organization"] not in self.namespaces:
            return _no(404, f"Namespace {order['organization']} not found")
        repo_id = f"{order['organization']}/{order['name']}"
        url = self._address(kind, repo_id)
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

    def _address(self, kind: str, repo_id: str) -> str:
        return f"{self.url}/{'datasets/' if kind == 'datasets' else ''}{repo_id}"

    def _found(self, request: web.Request) -> Repository:
        kind = request.match_info.get("kind", "models")
        found = self.repositories.get((kind, _repo_id(request)))
        if found is None:
            headers = {"X-Error-Code": "RepoNotFound"}
            raise web.HTTPNotFound(headers=headers, text='{"error": "Repository not found"}')
        return found

    async def _info(self, request: web.Request) -> web.Response:
        found = self._found(request)
        return web.json_response(
            {
                "id": _repo_id(request),
                "sha": found.oid(),
                "private": found.private,
                "siblings": [{"rfilename": path} for path in found.files],
            }
        )

    async def _preupload(self, request: web.Request) -> web.Response:
        files = self._found(request).files
        answers = []
        for asked in (await request.json())["files"]:
            path, there = asked["path"], files.get(asked["path"])
            answer = {
                "path": path,
                "uploadMode": "lfs" if path.endswith((".parquet", ".safetensors")) else "regular",
                "shouldIgnore": False,
            }
            if there:
                answer["oid"] = there.sha256 if there.lfs else blob_id(there.content)
            answers.append(answer)
        return web.json_response({"files": answers})

    async def _batch(self, request: web.Request) -> web.Response:
        found, kind = self._found(request), request.match_info.get("kind", "models")
        objects = []
        for asked in (await request.json())["objects"]:
            if asked["oid"] not in found.objects:
                place = f"{kind}/{_repo_id(request)}/{asked['oid']}"
                put = f"{self.url}/storage/{place}?signature=signed"
                home = self._address(kind, _repo_id(request))
                verify = f"{home}.git/info/lfs/objects/verify"
                asked["actions"] = {"upload": {"href": put}, "verify": {"href": verify}}
            objects.append(asked)
        return web.json_response({"transfer": "basic", "objects": objects})

    async def _put(self, request: web.Request) -> web.Response:
        if request.query.get("signature") != "signed":
            return _no(403, "SignatureDoesNotMatch")
        content = await request.read()
        self.received += len(content)
        if hashlib.sha256(content).hexdigest() != request.match_info["oid"]:
            return _no(400, "The bytes do not have the SHA-256 that was announced")
        self._found(request).objects[request.match_info["oid"]] = content
        return web.Response(headers={"ETag": '"put"'})

    async def _verify(self, request: web.Request) -> web.Response:
        asked = await request.json()
        content = self._found(request).objects.get(asked["oid"])
        if content is None or len(content) != asked["size"]:
            return _no(404, "The object has not arrived")
        return web.json_response({})

    async def _commit(self, request: web.Request) -> web.Response:
        found = self._found(request)
        lines = [orjson.loads(line) for line in (await request.read()).splitlines()]
        files, message = dict(found.files), ""
        for value, key in ((line["value"], line["key"]) for line in lines):
            match key:
                case "header":
                    message = value["summary"]
                case "file":
                    files[value["path"]] = Entry(base64.b64decode(value["content"]), lfs=False)
                case "lfsFile":
                    content = found.objects.get(value["oid"])
                    if content is None or len(content) != value["size"]:
                        return _no(400, f"The LFS object of {value['path']} has not arrived")
                    files[value["path"]] = Entry(content, lfs=True)
                case "deletedFile":
                    if files.pop(value["path"], None) is None:
                        return _no(404, "A file with this name doesn't exist")
                case _:
                    return _no(400, f"Unknown operation {key}")
        found.commits.append((message, files))
        home = self._address(request.match_info["kind"], _repo_id(request))
        url = f"{home}/commit/{found.oid()}"
        return web.json_response({"commitUrl": url, "commitOid": found.oid()})

    async def _tree(self, request: web.Request) -> web.Response:
        files = self._found(request).at(request.match_info["revision"])
        if files is None:
            return _no(404, "Invalid revision")
        folders = {path.rpartition("/")[0] for path in files} - {""}
        entries = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": f} for f in folders]
        entries += [files[path].listed(path) for path in sorted(files)]
        start = int(request.query.get("cursor", 0))
        headers = {}
        if start + self.page < len(entries):
            query = f"?recursive=true&cursor={start + self.page}"
            headers["Link"] = f'<{self.url}{quote(request.path)}{query}>; rel="next"'
        return web.json_response(entries[start : start + self.page], headers=headers)

    async def _xet(self, request: web.Request) -> web.Response:
        return _no(404, "There is no Xet storage here")

    # What tests do with it

    def held(self, repo_id: str, kind: str = "datasets") -> dict[str, bytes]:
        """What was published into a repository."""
        files = self.repository(repo_id, kind).files
        return {name: files[name].content for name in files if name != ".gitattributes"}


def _repo_id(request: web.Request) -> str:
    return f"{request.match_info['space']}/{request.match_info['name']}"


def _no(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)
