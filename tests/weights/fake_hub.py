"""A Hub on the loopback interface: huggingface_hub's requests to fetch and to push, and their failures."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "c" * 40


class FakeHub:
    """Repositories in memory, served until `close`.

    Attributes:
        repositories: "user/name" -> file name -> bytes.
        commits: "user/name" -> commit, if it is not `COMMIT`.
        uploads: sha256 -> bytes.
        requests: "METHOD path" of every request, in order.
        status: status of every answer, if set.
        cut: number of downloads to break off half-way.
        false_sha256: announced for every large file, if set.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.commits: dict[str, str] = {}
        self.uploads: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.status: int | None = None
        self.cut = 0
        self.false_sha256: str | None = None
        hub = self

        class Handler(_Handler):
            fake = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def downloads(self) -> list[str]:
        """Names of the files whose bodies were requested."""
        return [line.rpartition("/")[2] for line in self.requests if line.startswith("GET") and "/resolve/" in line]


class _Handler(BaseHTTPRequestHandler):
    fake: FakeHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self._begin()
        if path is None:
            return
        if info := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
            self._info(info[1], info[2])
        elif tree := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", path):
            self._tree(tree[1], tree[2])
        elif file := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._file(file[1], file[2], file[3])
        else:
            self._json({"error": "unknown"}, 404)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self._begin()
        if path is None:
            return
        if path == "/api/repos/create":
            new = json.loads(body)
            name = f"{new.get('organization') or 'me'}/{new['name'].split('/')[-1]}"
            self.fake.repositories.setdefault(name, {})
            self._json({"url": f"{self.fake.url}/{name}", "name": name})
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif "/preupload/" in path:
            files = json.loads(body)["files"]
            kinds = {True: "lfs", False: "regular"}
            self._json(
                {
                    "files": [
                        {"path": f["path"], "uploadMode": kinds[f["size"] > 10_000], "shouldIgnore": False}
                        for f in files
                    ]
                }
            )
        elif path.endswith("/info/lfs/objects/batch"):
            self._json(
                {
                    "transfer": "basic",
                    "objects": [
                        {**o, "actions": {"upload": {"href": f"{self.fake.url}/lfs/{o['oid']}", "header": {}}}}
                        for o in json.loads(body)["objects"]
                    ],
                }
            )
        elif commit := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/.+", path):
            self._commit(commit[1], [json.loads(line) for line in body.splitlines()])
        else:
            self._json({"error": "unknown"}, 404)

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self._begin()
        if path is not None:
            self.fake.uploads[path.rpartition("/")[2]] = body
            self._json({})

    def log_message(self, *_: Any) -> None:
        """Log nothing."""

    def _begin(self) -> str | None:
        """Record the request and return its path; None if it was answered with an error."""
        path = unquote(urlsplit(self.path).path)
        self.fake.requests.append(f"{self.command} {path}")
        if self.fake.status is None:
            return path
        self._json({"error": "as set"}, self.fake.status)
        return None

    def _info(self, name: str, revision: str | None) -> None:
        files = self._files(name, revision)
        if files is None:
            return
        siblings = [{"rfilename": file} for file in files]
        self._json({"id": name, "sha": self._commit_of(name), "siblings": siblings, "tags": [], "private": False})

    def _tree(self, name: str, revision: str) -> None:
        files = self._files(name, revision) or {}
        self._json([{"type": "file", "path": p, "size": len(b), "oid": _git_sha1(b)} for p, b in files.items()])

    def _checksums(self, file: str, body: bytes) -> dict[str, str]:
        """As the Hub does it: git's SHA-1, and for large files the sha256 of what git links to."""
        if not file.endswith((".safetensors", ".pth")):
            return {"ETag": f'"{_git_sha1(body)}"'}
        return {"ETag": '"of-the-pointer"', "X-Linked-ETag": f'"{self.fake.false_sha256 or _sha256(body)}"'}

    def _file(self, name: str, revision: str, file: str) -> None:
        files = self._files(name, revision)
        if files is None:
            return
        if file not in files:
            self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
            return
        body = files[file]
        first = int(m[1]) if (m := re.match(r"bytes=(\d+)-", self.headers.get("Range") or "")) else 0
        part = body[first:]
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Accept-Ranges", "bytes")
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        for key, text in self._checksums(file, body).items():
            self.send_header(key, text)
        self.send_header("X-Repo-Commit", self._commit_of(name))
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.fake.cut > 0 and file.endswith(".safetensors"):
            self.fake.cut -= 1
            self.wfile.write(part[: len(part) // 2])
            self.close_connection = True
            self.wfile.flush()
            return
        self.wfile.write(part)

    def _files(self, name: str, revision: str | None) -> dict[str, bytes] | None:
        if name not in self.fake.repositories:
            self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
            return None
        if revision not in (None, "main", "v1", self._commit_of(name)):
            self._json({"error": "Invalid rev id"}, 404, {"X-Error-Code": "RevisionNotFound"})
            return None
        return self.fake.repositories[name]

    def _commit_of(self, name: str) -> str:
        return self.fake.commits.get(name, COMMIT)

    def _commit(self, name: str, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.fake.repositories[name][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.fake.repositories[name][value["path"]] = self.fake.uploads[value["oid"]]
        self._json({"commitOid": COMMIT, "commitUrl": f"{self.fake.url}/{name}/commit/{COMMIT}"})

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for key, text in (headers or {}).items():
            self.send_header(key, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _git_sha1(body: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
