"""How the double of the Hub takes files and gives them: commits and LFS objects, each by its hash.

Of Xet it knows only how to refuse.
"""

import base64
import hashlib
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from tests.support.hub_repository import Entry, Repository, blob_id

if TYPE_CHECKING:
    from tests.support.hub_server import Hub


def repo_id_of(request: web.Request) -> str:
    return f"{request.match_info['space']}/{request.match_info['name']}"


def refusal(status: int, message: str, code: str = "") -> web.Response:
    """What the Hub answers that says no; `code` tells its client why."""
    headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
    return web.json_response({"error": message}, status=status, headers=headers)


class Uploads:
    """What a client calls to commit files."""

    def __init__(self, hub: "Hub") -> None:
        self.hub = hub

    async def preupload(self, request: web.Request) -> web.Response:
        files = self.hub.found(request).files
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

    async def batch(self, request: web.Request) -> web.Response:
        found, kind = self.hub.found(request), request.match_info.get("kind", "models")
        objects = []
        for asked in (await request.json())["objects"]:
            if asked["oid"] not in found.objects:
                place = f"{kind}/{repo_id_of(request)}/{asked['oid']}"
                put = f"{self.hub.url}/storage/{place}?signature=signed"
                home = self.hub.address(kind, repo_id_of(request))
                verify = f"{home}.git/info/lfs/objects/verify"
                asked["actions"] = {"upload": {"href": put}, "verify": {"href": verify}}
            objects.append(asked)
        return web.json_response({"transfer": "basic", "objects": objects})

    async def put(self, request: web.Request) -> web.Response:
        if request.query.get("signature") != "signed":
            return refusal(403, "SignatureDoesNotMatch")
        content = await request.read()
        self.hub.received += len(content)
        if hashlib.sha256(content).hexdigest() != request.match_info["oid"]:
            return refusal(400, "The bytes do not have the SHA-256 that was announced")
        self.hub.found(request).objects[request.match_info["oid"]] = content
        return web.Response(headers={"ETag": '"put"'})

    async def verify(self, request: web.Request) -> web.Response:
        asked = await request.json()
        content = self.hub.found(request).objects.get(asked["oid"])
        if content is None or len(content) != asked["size"]:
            return refusal(404, "The object has not arrived")
        return web.json_response({})

    async def commit(self, request: web.Request) -> web.Response:
        found = self.hub.found(request)
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
                        return refusal(400, f"The LFS object of {value['path']} has not arrived")
                    files[value["path"]] = Entry(content, lfs=True)
                case "deletedFile":
                    if files.pop(value["path"], None) is None:
                        return refusal(404, "A file with this name doesn't exist")
                case _:
                    return refusal(400, f"Unknown operation {key}")
        found.commits.append((message, files))
        home = self.hub.address(request.match_info["kind"], repo_id_of(request))
        url = f"{home}/commit/{found.oid()}"
        return web.json_response({"commitUrl": url, "commitOid": found.oid()})

    async def xet(self, _: web.Request) -> web.Response:
        return refusal(404, "There is no Xet storage here")


class Downloads:
    """What a client calls to fetch files; LFS objects come from a storage at another address."""

    def __init__(self, hub: "Hub") -> None:
        self.hub = hub

    async def resolve(self, request: web.Request) -> web.Response:
        """A file of a commit, or where its LFS object is; HEAD for what there is to know of it."""
        found = self.hub.found(request)
        commit = found.resolve(request.match_info["revision"])
        if commit is None:
            return refusal(404, "Invalid rev id", "RevisionNotFound")
        entry = (found.at(commit) or {}).get(request.match_info["path"])
        if entry is None:
            return refusal(404, "Entry not found", "EntryNotFound")
        headers = {"X-Repo-Commit": commit}
        if not entry.lfs:
            headers["ETag"] = f'"{blob_id(entry.content)}"'
            return web.Response(body=entry.content, headers=headers)
        return web.Response(
            status=302,
            headers=headers
            | {
                "X-Linked-Etag": f'"{entry.sha256}"',
                "X-Linked-Size": str(len(entry.content)),
                "Location": f"{self._place(found, entry)}?signature=signed",
            },
        )

    def _place(self, found: Repository, entry: Entry) -> str:
        key = next(key for key, one in self.hub.repositories.items() if one is found)
        return f"{self.hub.storage}/storage/{'/'.join(key)}/{entry.sha256}"

    async def get(self, request: web.Request) -> web.Response:
        """An LFS object, or what of it comes after the bytes that the client has."""
        if request.query.get("signature") != "signed":
            return refusal(403, "SignatureDoesNotMatch")
        entries = {
            entry.sha256: entry
            for _, files in self.hub.found(request).commits
            for entry in files.values()
        }
        content = entries[request.match_info["oid"]].content
        start = request.http_range.start or 0
        self.hub.given += len(content) - start
        if not start:
            return web.Response(body=content)
        headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        return web.Response(status=206, body=content[start:], headers=headers)
