"""The loopback Hub's answers to requests that change something: repositories, branches, uploads, commits."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

import yaml
from hub_store import Blob, HubError, Repo, Store

WRITES = {
    "POST": {
        "/api/repos/create": "create_repo",
        "/api/validate-yaml": "validate_yaml",
        "/api/models/{owner}/{name}/paths-info/{revision}": "paths_info",
        "/api/models/{owner}/{name}/branch/{branch}": "create_branch",
        "/api/models/{owner}/{name}/tag/{revision}": "create_tag",
        "/api/models/{owner}/{name}/preupload/{revision}": "preupload",
        "/api/models/{owner}/{name}/commit/{revision}": "commit",
        "/{owner}/{name}.git/info/lfs/objects/batch": "lfs_batch",
        "/{owner}/{name}.git/info/lfs/verify": "lfs_verify",
    },
    "PUT": {"/objects/{owner}/{name}/{sha256}": "upload_object"},
    "DELETE": {"/api/models/{owner}/{name}/branch/{branch}": "delete_branch"},
}

# The Hub's list is longer; these are the licences that models here have or that tests try.
LICENSES = {"apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc0-1.0", "other", "unknown"}
PIPELINE_TAGS = {"image-classification", "image-feature-extraction", "object-detection", "text-generation", "other"}
REPO_ID = re.compile(r"[\w.-]{1,96}(/[\w.-]{1,96})?")
FRONT_MATTER = re.compile(r"^(\s*---(?:\r\n|\r|\n))([\S\s]*?)((?:\r\n|\r|\n)---[ \t]*(\r\n|\n|$))")


class Writes:
    """Part of the request handler, which has `body`, `query`, `user`, `hub`, `repo` and `send_json`."""

    body: bytes
    query: dict[str, str]

    def create_repo(self: Any) -> None:
        wanted = json.loads(self.body)
        user = Store.require_user(self.user)
        namespace = wanted.get("organization") or user.name
        store, repo_id = self.hub.store, f"{namespace}/{wanted['name']}"
        with store.lock:
            Store.require_write(namespace, user)
            url = {"url": f"{self.hub.url}/{repo_id}", "name": repo_id}
            if repo_id in store.repos:
                self.send_json({"error": "You already created this model repo", **url}, 409)
                return
            private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
            store.add_repo(repo_id, private=private)
        self.send_json(url)

    def create_branch(self: Any, owner: str, name: str, branch: str) -> None:
        repo = self.writable(owner, name)
        start = repo.resolve(json.loads(self.body or b"{}").get("startingPoint") or "main")
        if branch in repo.branches:
            raise HubError(409, "", f"Reference already exists: refs/heads/{branch}")
        repo.branches[branch] = start
        self.send_json({})

    def delete_branch(self: Any, owner: str, name: str, branch: str) -> None:
        if self.writable(owner, name).branches.pop(branch, None) is None:
            raise HubError(404, "RevisionNotFound", f"Invalid rev id: {branch}")
        self.send_json({})

    def create_tag(self: Any, owner: str, name: str, revision: str) -> None:
        repo, tag = self.writable(owner, name), json.loads(self.body)["tag"]
        if tag in repo.tags:
            raise HubError(409, "", f"Tag already exists: {tag}")
        repo.tags[tag] = repo.resolve(revision)
        self.send_json({})

    def preupload(self: Any, owner: str, name: str, revision: str) -> None:
        """Say for each file whether it goes to LFS, and what the revision has under that name."""
        repo = self.repo(owner, name) if self.query.get("create_pr") else self.writable(owner, name)
        files, answers = repo.resolve(revision).files, []
        for file in json.loads(self.body)["files"]:
            path = file["path"]
            mode = "lfs" if repo.is_lfs(path, file["size"]) else "regular"
            answer = {"path": path, "uploadMode": mode, "shouldIgnore": False}
            if path in files:
                answer["oid"] = files[path].etag
            answers.append(answer)
        self.send_json({"files": answers})

    def lfs_batch(self: Any, owner: str, name: str) -> None:
        repo = self.repo(owner, name)
        Store.require_user(self.user)
        objects = []
        for wanted in json.loads(self.body)["objects"]:
            answer = {"oid": wanted["oid"], "size": wanted["size"]}
            if wanted["oid"] not in repo.objects:
                verify = f"{self.hub.url}/{repo.repo_id}.git/info/lfs/verify"
                answer["actions"] = {
                    "upload": {"href": self.object_url(repo, wanted["oid"])},
                    "verify": {"href": verify},
                }
            objects.append(answer)
        self.send_json({"transfer": "basic", "objects": objects})

    def lfs_verify(self: Any, owner: str, name: str) -> None:
        wanted, repo = json.loads(self.body), self.repo(owner, name)
        if len(repo.objects.get(wanted["oid"], b"")) != wanted["size"]:
            raise HubError(404, "", f"Object {wanted['oid']} was not uploaded")
        self.send_json({})

    def upload_object(self: Any, owner: str, name: str, sha256: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != sha256:
            raise HubError(400, "", "The content does not match the checksum")
        self.hub.store.repos[f"{owner}/{name}"].objects[sha256] = self.body
        self.send_json({})

    def commit(self: Any, owner: str, name: str, revision: str) -> None:
        """Apply a commit's operations, one JSON document a line, to a branch, or open a pull request with them."""
        as_pull_request = bool(self.query.get("create_pr"))
        repo = self.repo(owner, name) if as_pull_request else self.writable(owner, name)
        user = Store.require_user(self.user)
        operations = [json.loads(line) for line in self.body.splitlines() if line.strip()]
        header = operations.pop(0)["value"]
        with self.hub.store.lock:
            if not as_pull_request and revision not in repo.branches:
                raise HubError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            parent = repo.resolve(revision)
            expected = header.get("parentCommit")
            if expected and not parent.sha.startswith(expected):
                raise HubError(412, "", "A commit has happened since. Please refresh and try again.")
            files = dict(parent.files)
            for operation in operations:
                _apply(repo, files, operation["key"], operation["value"])
            commit = repo.new_commit(parent, files, header["summary"], header.get("description", ""), user.name)
            document = {"commitUrl": f"{self.hub.url}/{repo.repo_id}/commit/{commit.sha}", "commitOid": commit.sha}
            if as_pull_request:
                number = len(repo.pull_requests) + 1
                repo.pull_requests[number] = commit
                document["pullRequestUrl"] = f"{self.hub.url}/{repo.repo_id}/discussions/{number}"
            else:
                repo.branches[revision] = commit
        self.send_json(document)

    def validate_yaml(self: Any) -> None:
        """Judge a card's front matter; asked by the client before it commits a README.md."""
        errors, warnings = judge_card(json.loads(self.body)["content"])
        document = {"errors": [{"message": one} for one in errors], "warnings": [{"message": one} for one in warnings]}
        self.send_json(document, 400 if errors else 200)

    def writable(self: Any, owner: str, name: str) -> Repo:
        repo: Repo = self.repo(owner, name)
        Store.require_write(owner, self.user)
        return repo


def _apply(repo: Repo, files: dict[str, Blob], key: str, value: dict[str, Any]) -> None:
    path = value["path"]
    if key == "file":
        content = base64.b64decode(value["content"])
        if repo.is_lfs(path, len(content)):
            raise HubError(400, "", f"{path} belongs in LFS")
        if path == "README.md":
            errors, _ = judge_card(content.decode())
            if errors:
                raise HubError(400, "", f"Invalid metadata in README.md: {errors[0]}")
        files[path] = Blob(content, lfs=False)
    elif key == "lfsFile":
        if value["oid"] not in repo.objects:
            raise HubError(
                400, "", f"Your push was rejected because an LFS pointer pointed to a file that does not exist: {path}"
            )
        files[path] = Blob(repo.objects[value["oid"]], lfs=True)
    elif key == "deletedFile":
        if path not in files:
            raise HubError(404, "EntryNotFound", "A file with this name doesn't exist")
        del files[path]
    else:
        raise HubError(400, "", f"unknown operation {key!r}")


def judge_card(content: str) -> tuple[list[str], list[str]]:
    """Errors and warnings about a model card's front matter, by the Hub's documented rules."""
    match = FRONT_MATTER.search(content)
    if match is None:
        return [], ["empty or missing yaml metadata in repo card"]
    try:
        data = yaml.safe_load(match[2])
    except yaml.YAMLError as error:
        return [f"the front matter is not YAML: {' '.join(str(error).split())}"], []
    if not isinstance(data, dict):
        return ["the front matter is not a mapping"], []
    texts, lists = ("license", "library_name", "pipeline_tag"), ("tags", "datasets", "metrics", "base_model")
    errors = [f'"{key}" must be a string' for key in texts if key in data and not isinstance(data[key], str)]
    values = {key: [value] if isinstance(value := data.get(key, []), str) else list(value) for key in lists}
    errors += [f'"{key}" must be strings' for key in lists if not all(isinstance(one, str) for one in values[key])]
    for key in ("datasets", "base_model"):
        wrong = [one for one in values[key] if isinstance(one, str) and not REPO_ID.fullmatch(one)]
        errors += [f'"{key}" with value "{one}" is not valid, it is no repository id' for one in wrong]
    if isinstance(data.get("license"), str) and data["license"] not in LICENSES:
        errors.append(f'"license" must be one of {sorted(LICENSES)}')
    if isinstance(data.get("pipeline_tag"), str) and data["pipeline_tag"] not in PIPELINE_TAGS:
        errors.append(f'"pipeline_tag" must be one of {sorted(PIPELINE_TAGS)}')
    if "model-index" in data:
        errors += _judge_model_index(data["model-index"])
    return errors, [] if "license" in data else ["no license"]


def _judge_model_index(index: Any) -> list[str]:
    try:
        for model in index:
            if not isinstance(model["name"], str) or not model["results"]:
                return ['"model-index" needs a name and results']
            for result in model["results"]:
                texts = [result["task"]["type"], result["dataset"]["type"], result["dataset"]["name"]]
                texts += [metric["type"] for metric in result["metrics"]]
                if not all(isinstance(text, str) for text in texts):
                    return ['"model-index": types and names must be strings']
                if not all(isinstance(metric["value"], int | float | str) for metric in result["metrics"]):
                    return ['"model-index": a metric needs a value']
    except (KeyError, TypeError) as error:
        return [f'"model-index" is malformed: {type(error).__name__} {error}']
    return []
