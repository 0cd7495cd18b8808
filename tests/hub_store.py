"""What the loopback Hub of the tests holds: users, repositories, commits, files. In memory, no HTTP here."""

from __future__ import annotations

import fnmatch
import hashlib
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

# The rules that the Hub writes into a new model repository, those that matter here.
LFS_PATTERNS = ("*.bin", "*.npy", "*.npz", "*.onnx", "*.pb", "*.pickle", "*.pkl", "*.pt", "*.safetensors", "*.zip")
GITATTRIBUTES = "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in LFS_PATTERNS).encode()
LFS_FROM_BYTES = 10_000_000


class HubError(Exception):
    """An answer that is no success: HTTP status, the Hub's error code (may be empty) and its message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclass(frozen=True, slots=True)
class User:
    """Who a token belongs to; `namespaces` are those that the token may write to."""

    name: str
    namespaces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Blob:
    """A file's content; large ones are in LFS, where git holds a pointer only."""

    content: bytes
    lfs: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def pointer(self) -> bytes:
        return (
            f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.content)}\n".encode()
        )

    @property
    def oid(self) -> str:
        """What git calls the file: the SHA-1 of a header and the content, or the pointer to it."""
        stored = self.pointer if self.lfs else self.content
        return hashlib.sha1(b"blob %d\0" % len(stored) + stored).hexdigest()  # noqa: S324 - as git does

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.oid


@dataclass(frozen=True, slots=True)
class Commit:
    """A state of the repository: path -> Blob, and how it came about."""

    sha: str
    files: Mapping[str, Blob]
    title: str
    message: str
    author: str
    seconds: float
    parent: Commit | None

    @property
    def date(self) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(self.seconds))


@dataclass
class Repo:
    """A model repository: branches, tags and pull requests name commits; `objects` is its LFS storage by SHA-256."""

    repo_id: str
    private: bool = False
    branches: dict[str, Commit] = field(default_factory=dict)
    tags: dict[str, Commit] = field(default_factory=dict)
    pull_requests: dict[int, Commit] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)

    def __post_init__(self) -> None:
        first = self.new_commit(
            None, {".gitattributes": Blob(GITATTRIBUTES, lfs=False)}, "initial commit", "", "system"
        )
        self.branches["main"] = first

    @property
    def namespace(self) -> str:
        return self.repo_id.partition("/")[0]

    def new_commit(
        self, parent: Commit | None, files: Mapping[str, Blob], title: str, message: str, author: str
    ) -> Commit:
        """A commit that no branch names yet."""
        listing = "".join(f"{path} {files[path].oid}\n" for path in sorted(files))
        story = f"{parent.sha if parent else ''}\n{title}\n{message}\n{author}\n{len(self.commits)}\n{listing}"
        sha = hashlib.sha1(story.encode()).hexdigest()  # noqa: S324 - as git does
        commit = Commit(sha, dict(files), title, message, author, time.time(), parent)
        self.commits[sha] = commit
        return commit

    def resolve(self, revision: str) -> Commit:
        """The commit of a branch, tag, `refs/pr/N`, or (at least 7 digits of) a commit's SHA-1."""
        kind, _, name = revision.partition("refs/pr/")
        if not kind and name.isdigit() and int(name) in self.pull_requests:
            return self.pull_requests[int(name)]
        found = self.branches.get(revision.removeprefix("refs/heads/")) or self.tags.get(revision)
        if found is None and len(revision) >= 7:
            found = next((commit for sha, commit in self.commits.items() if sha.startswith(revision)), None)
        if found is None:
            raise HubError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return found

    def is_lfs(self, path: str, size: int) -> bool:
        """Whether the Hub wants the file in LFS; empty files never are."""
        matches = any(fnmatch.fnmatchcase(path.rpartition("/")[2], pattern) for pattern in LFS_PATTERNS)
        return size > 0 and (matches or size >= LFS_FROM_BYTES)


class Store:
    """All repositories and users. `lock` guards every change; single reads need none."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.users: dict[str, User] = {}
        self.repos: dict[str, Repo] = {}

    def add_user(self, token: str, name: str, *namespaces: str) -> None:
        """A user who may write to `namespaces`; without any the token only reads."""
        self.users[token] = User(name, namespaces)

    def add_repo(self, repo_id: str, files: Mapping[str, bytes] | Path | None = None, *, private: bool = False) -> Repo:
        """A new repository; with `files` (a folder, or path -> content) as a second commit on main."""
        with self.lock:
            repo = self.repos[repo_id] = Repo(repo_id, private)
        if files is not None:
            self.change(repo_id, files)
        return repo

    def change(
        self,
        repo_id: str,
        files: Mapping[str, bytes | None] | Path,
        *,
        branch: str = "main",
        title: str = "Change",
    ) -> str:
        """Commit files to a branch, past all HTTP; None removes one. Returns the commit's SHA-1."""
        if isinstance(files, Path):
            root = files
            files = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        with self.lock:
            repo = self.repos[repo_id]
            parent = repo.branches.get(branch) or repo.branches["main"]
            state = dict(parent.files)
            for path, content in files.items():
                if content is None:
                    del state[path]
                else:
                    state[path] = Blob(content, lfs=repo.is_lfs(path, len(content)))
                    repo.objects[state[path].sha256] = content
            repo.branches[branch] = repo.new_commit(parent, state, title, "", "seed")
            return repo.branches[branch].sha

    def visible(self, repo_id: str, user: User | None) -> Repo:
        """The repository if the user may read it; to others a private one looks as if it were not there."""
        repo = self.repos.get(repo_id)
        if repo is None or (repo.private and (user is None or repo.namespace not in (user.name, *user.namespaces))):
            if user is None:
                raise HubError(401, "RepoNotFound", "Invalid username or password.")
            raise HubError(404, "RepoNotFound", "Repository not found")
        return repo

    @staticmethod
    def require_user(user: User | None) -> User:
        """Refuse who shows no token."""
        if user is None:
            raise HubError(401, "", "Invalid username or password.")
        return user

    @staticmethod
    def require_write(namespace: str, user: User | None) -> User:
        """Refuse a user who may not write to the namespace."""
        user = Store.require_user(user)
        if namespace not in user.namespaces:
            raise HubError(403, "", f"You don't have the rights to write to the namespace {namespace!r}")
        return user
