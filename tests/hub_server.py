"""A Hugging Face Hub on loopback that huggingface_hub's real client accepts: models only, state in memory.

`LoopbackHub` is two servers: the Hub, and the storage host that it sends clients to for LFS files, as a second
origin, since the client treats that differently (no token goes there). `hub.store` holds the repositories,
`hub.log` every request, `hub.faults` what is to go wrong. `hub.environment` makes a child process use it;
the fixture `loopback` in conftest.py does the same for this process.

Not here: Xet (HF_HUB_DISABLE_XET=1), datasets and spaces, gating, multi-part uploads.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from hub_faults import Fault, Faults, Log, Request
from hub_store import HubError, Repo, Store, User
from hub_writes import WRITES, Writes

READ_TOKEN = "hf_readreadreadreadreadreadreadread"  # noqa: S105 - of nobody
WRITE_TOKEN = "hf_writewritewritewritewritewrite"  # noqa: S105
PIECE = 64 * 1024
SIGNATURE = "signature=of-the-storage-host"

# Path -> method of Handler; a segment in braces becomes an argument, {path} takes the rest.
READS = {
    "/api/whoami-v2": "whoami",
    "/api/agent-harnesses": "agent_harnesses",
    "/api/models/{owner}/{name}": "model_info",
    "/api/models/{owner}/{name}/revision/{revision}": "model_info",
    "/api/models/{owner}/{name}/tree/{revision}": "tree",
    "/api/models/{owner}/{name}/tree/{revision}/{path}": "tree",
    "/api/models/{owner}/{name}/refs": "refs",
    "/api/models/{owner}/{name}/commits/{revision}": "commits",
    "/api/models/{owner}/{name}/auth-check": "auth_check",
    "/api/resolve-cache/models/{owner}/{name}/{revision}/{path}": "file",
    "/{owner}/{name}/resolve/{revision}/{path}": "resolve",
    "/objects/{owner}/{name}/{sha256}": "download_object",
}


def _compiled(routes: Mapping[str, str]) -> list[tuple[re.Pattern[str], str]]:
    compiled = []
    for route, name in routes.items():
        pattern = re.sub(r"\{(\w+)\}", lambda m: f"(?P<{m[1]}>{'.+' if m[1] == 'path' else '[^/]+'})", route)
        compiled.append((re.compile(pattern), name))
    return compiled


ROUTES = {
    "GET": _compiled(READS),
    "HEAD": _compiled({route: READS[route] for route in READS if READS[route] in ("resolve", "file")}),
    **{method: _compiled(routes) for method, routes in WRITES.items()},
}


class LoopbackHub:
    """The running servers; one user who writes as `someone` and to `onnxzoo`, one who only reads."""

    def __init__(self) -> None:
        self.store, self.faults, self.log = Store(), Faults(), Log()
        self.store.add_user(WRITE_TOKEN, "someone", "someone", "onnxzoo")
        self.store.add_user(READ_TOKEN, "reader")
        self._servers = [_Server(self, cdn=False), _Server(self, cdn=True)]
        self.url, self.cdn_url = (server.url for server in self._servers)
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def environment(self) -> dict[str, str]:
        """Variables that make huggingface_hub in a child process use this Hub, without Xet."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    def fail(self, pattern: str, times: int = 1, **what: Any) -> None:
        """Let the next `times` requests whose 'METHOD path' matches go wrong: see `Fault`."""
        self.faults.add(Fault(pattern, times, **what))

    def close(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, hub: LoopbackHub, *, cdn: bool) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.hub, self.cdn = hub, cdn
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that leave early are part of the tests."""


class Handler(Writes, http.server.BaseHTTPRequestHandler):
    """Answers one connection's requests; `Writes` has what changes repositories."""

    protocol_version = "HTTP/1.1"
    server: _Server
    # The client waits for headers and body in two packets otherwise: 40 ms a request.
    disable_nagle_algorithm = True

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - http.server's names

    @property
    def hub(self) -> LoopbackHub:
        return self.server.hub

    def _answer(self) -> None:
        split = urlsplit(self.path)
        self.query = {key: values[-1] for key, values in parse_qs(split.query).items()}
        token = self.headers.get("Authorization")
        self.record = Request(self.command, self.path, token is not None, self.server.cdn, self.headers.get("Range"))
        self.hub.log.add(self.record)
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.record.received = len(self.body)
        self.fault = self.hub.faults.take(self.command, self.path)
        try:
            if self.fault is not None:
                time.sleep(self.fault.delay_s)
                if self.fault.html:
                    page = f"<html>{self.fault.message}</html>".encode()
                    self.send_body(page, {"Content-Type": "text/html"}, self.fault.status or 200)
                    return
                if self.fault.answer is not None:
                    self.send_body(self.fault.answer, {"Content-Type": "application/json"})
                    return
                if self.fault.status is not None:
                    headers = {"X-Error-Message": self.fault.message, **self.fault.headers}
                    self.send_json({"error": self.fault.message}, self.fault.status, headers)
                    return
            self._route(split.path)
        except HubError as error:
            headers = {"X-Error-Message": error.message} | ({"X-Error-Code": error.code} if error.code else {})
            self.send_json({"error": error.message}, error.status, headers)
        except OSError:
            self.close_connection = True

    def _route(self, path: str) -> None:
        for pattern, name in ROUTES.get(self.command, []):
            if match := pattern.fullmatch(path):
                storage = name.endswith("_object")
                if storage != self.server.cdn:
                    break
                if storage and (self.headers.get("Authorization") or self.query.get("signature") is None):
                    # As object stores do: a signed address and a token exclude each other.
                    raise HubError(400, "", "Only one authentication mechanism is allowed")
                getattr(self, name)(**{key: unquote(value) for key, value in match.groupdict().items()})
                return
        raise HubError(404, "", "Sorry, we can't find the page you are looking for.")

    @property
    def user(self) -> User | None:
        """Who asks; raises HubError for a token that the Hub does not know."""
        header = self.headers.get("Authorization")
        if header is None:
            return None
        user = self.hub.store.users.get(header.removeprefix("Bearer "))
        if user is None:
            raise HubError(401, "", "Invalid credentials in Authorization header")
        return user

    def repo(self, owner: str, name: str) -> Repo:
        return self.hub.store.visible(f"{owner}/{name}", self.user)

    # Reading

    def whoami(self) -> None:
        user = self.hub.store.require_user(self.user)
        role = "write" if user.namespaces else "read"
        organizations = [{"name": name, "type": "org"} for name in user.namespaces if name != user.name]
        token = {"type": "access_token", "accessToken": {"displayName": "test", "role": role}}
        self.send_json({"type": "user", "name": user.name, "orgs": organizations, "auth": token})

    def agent_harnesses(self) -> None:
        self.send_json({"standardEnvVars": [], "harnesses": {}})

    def auth_check(self, owner: str, name: str) -> None:
        self.repo(owner, name)
        self.send_json({})

    def model_info(self, owner: str, name: str, revision: str = "main") -> None:
        repo = self.repo(owner, name)
        commit = repo.resolve(revision)
        siblings: list[dict[str, Any]] = [{"rfilename": path} for path in commit.files]
        if self.query.get("blobs"):
            for sibling in siblings:
                blob = commit.files[sibling["rfilename"]]
                sibling |= {"size": len(blob.content), "blobId": blob.oid}
                if blob.lfs:
                    pointer = len(blob.pointer)
                    sibling["lfs"] = {"sha256": blob.sha256, "size": len(blob.content), "pointerSize": pointer}
        about = {"id": repo.repo_id, "modelId": repo.repo_id, "author": owner, "private": repo.private}
        self.send_json(about | {"sha": commit.sha, "lastModified": commit.date, "tags": [], "siblings": siblings})

    def tree(self, owner: str, name: str, revision: str, path: str = "") -> None:
        commit = self.repo(owner, name).resolve(revision)
        recursive = self.query.get("recursive", "").lower() in ("1", "true")
        prefix = f"{path}/" if path else ""
        inside = {one: blob for one, blob in commit.files.items() if one.startswith(prefix)}
        if path and not inside:
            raise HubError(404, "EntryNotFound", f"{path} does not exist on {revision!r}")
        folders = {prefix + rest for one in inside for rest in _folders(one.removeprefix(prefix))}
        entries = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": folder} for folder in folders]
        entries += [_file_entry(commit, one) for one in inside]
        if not recursive:
            entries = [entry for entry in entries if "/" not in entry["path"].removeprefix(prefix)]
        self.send_json(sorted(entries, key=lambda entry: entry["path"]))

    def paths_info(self, owner: str, name: str, revision: str) -> None:
        commit = self.repo(owner, name).resolve(revision)
        paths = parse_qs(self.body.decode()).get("paths", [])
        self.send_json([_file_entry(commit, path) for path in paths if path in commit.files])

    def refs(self, owner: str, name: str) -> None:
        repo = self.repo(owner, name)

        def listed(kind: str, refs: Mapping[Any, Any]) -> list[dict[str, str]]:
            return [{"name": str(n), "ref": f"refs/{kind}/{n}", "targetCommit": c.sha} for n, c in refs.items()]

        document = {"branches": listed("heads", repo.branches), "tags": listed("tags", repo.tags), "converts": []}
        if self.query.get("include_prs"):
            document["pullRequests"] = listed("pr", repo.pull_requests)
        self.send_json(document)

    def commits(self, owner: str, name: str, revision: str) -> None:
        commit, listed = self.repo(owner, name).resolve(revision), []
        while commit is not None:
            about = {"id": commit.sha, "title": commit.title, "message": commit.message, "date": commit.date}
            listed.append(about | {"authors": [{"user": commit.author}]})
            commit = commit.parent
        self.send_json(listed)

    def resolve(self, owner: str, name: str, revision: str, path: str) -> None:
        """Send the client on: to the storage host for LFS files, else to the Hub's own cache of the commit's files."""
        repo = self.repo(owner, name)
        commit = repo.resolve(revision)
        headers = {"X-Repo-Commit": commit.sha}
        blob = commit.files.get(path)
        if blob is None:
            raise_headers = {**headers, "X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
            self.send_json({"error": "Entry not found"}, 404, raise_headers)
        elif blob.lfs:
            headers |= {"X-Linked-Size": str(len(blob.content)), "X-Linked-ETag": f'"{blob.etag}"'}
            headers["Location"] = self.object_url(repo, blob.sha256)
            self.send_json({}, 302, headers)
        else:
            headers["Location"] = f"/api/resolve-cache/models/{repo.repo_id}/{commit.sha}/{quote(path)}"
            self.send_json({}, 307, headers)

    def file(self, owner: str, name: str, revision: str, path: str) -> None:
        commit = self.repo(owner, name).resolve(revision)
        blob = commit.files[path]
        self.send_body(blob.content, {"ETag": f'"{blob.etag}"', "X-Repo-Commit": commit.sha})

    def object_url(self, repo: Repo, sha256: str) -> str:
        return f"{self.hub.cdn_url}/objects/{repo.repo_id}/{sha256}?{SIGNATURE}"

    def download_object(self, owner: str, name: str, sha256: str) -> None:
        content = self.hub.store.repos[f"{owner}/{name}"].objects.get(sha256)
        if content is None:
            raise HubError(403, "", "Access denied")
        self.send_body(content, {"ETag": f'"{sha256}"'})

    # Sending

    def send_json(self, document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        self.send_body(json.dumps(document).encode(), {"Content-Type": "application/json", **(headers or {})}, status)

    def send_body(self, body: bytes, headers: Mapping[str, str], status: int = 200) -> None:
        """Send an answer, whole or the range asked for, with what the fault of this request does to it."""
        fault = self.fault or Fault("")
        headers = dict(headers)
        if status == 200 and (match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")):
            start, end = int(match[1]), min(int(match[2] or len(body)), len(body) - 1)
            if start > end:
                status, headers["Content-Range"], body = 416, f"bytes */{len(body)}", b""
            else:
                status, headers["Content-Range"] = 206, f"bytes {start}-{end}/{len(body)}"
                body = body[start : end + 1]
        if fault.wrong_at is not None and fault.wrong_at < len(body):
            at = fault.wrong_at
            body = body[:at] + bytes([body[at] ^ 0xFF]) + body[at + 1 :]
        body = body[: len(body) - fault.short_by] if fault.short_by else body
        self.record.status = status
        self.send_response(status)
        for key, value in {"Accept-Ranges": "bytes", **headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        end = len(body) if fault.cut_after is None else min(fault.cut_after, len(body))
        size = fault.chunk or PIECE
        for start in range(0, end, size):
            piece = body[start : min(start + size, end)]
            self.record.sent += len(piece)
            self.wfile.write(piece)
            if fault.chunk:
                time.sleep(fault.delay_s)
        if end < len(body):
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)


def _folders(path: str) -> Iterator[str]:
    parts = path.split("/")
    yield from ("/".join(parts[:count]) for count in range(1, len(parts)))


def _file_entry(commit: Any, path: str) -> dict[str, Any]:
    blob = commit.files[path]
    entry: dict[str, Any] = {"type": "file", "oid": blob.oid, "size": len(blob.content), "path": path}
    if blob.lfs:
        entry["lfs"] = {"oid": blob.sha256, "size": len(blob.content), "pointerSize": len(blob.pointer)}
    return entry
