"""A Hugging Face Hub of a few lines on 127.0.0.1: create a repository, upload to it, download from it.

Tests may also make it fail, and read which requests it saw.
"""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


@dataclass
class Repository:
    """Files of each commit, and the names that point at commits."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    token: str | None = None  # without it nothing is shown
    gated: bool = False

    def commit(self, changes):
        files = self.commits.get(self.refs.get("main"), {}) | changes
        sha = hashlib.sha1(repr((len(self.commits), sorted(files.items()))).encode()).hexdigest()
        self.commits[sha] = files
        self.refs["main"] = sha
        return sha


@dataclass
class Fault:
    """What goes wrong when a file is sent."""

    status: int | None = None  # answered instead of the file
    body: str = ""  # of that answer
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes | None = None  # sent instead, under the hash of the right content
    cut_after: int | None = None  # bytes, then the connection closes
    stated_size: int | None = None  # of a body that ends early without a word
    hangs: bool = False
    methods: tuple[str, ...] = ("HEAD", "GET")
    times: int = 1_000_000


class Hub(BaseHTTPRequestHandler):
    """The endpoints that huggingface_hub calls to push a model and to load it."""

    protocol_version = "HTTP/1.1"
    repositories: dict[str, Repository] = {}
    blobs: dict[str, bytes] = {}
    faults: dict[str, Fault] = {}
    requests: list[tuple[str, str, str | None]] = []
    released = threading.Event()

    def log_message(self, *arguments):
        pass

    def reply(self, status, content=None, headers=(), sent=None):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **dict(headers)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:sent])
        if sent is not None:
            self.close_connection = True

    def body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def answer(self):
        path, body = urlsplit(self.path).path, self.body()
        self.requests.append((self.command, unquote(path), self.headers.get("Range")))
        for pattern, action in ROUTES.items():
            if match := re.fullmatch(pattern, path):
                return action(self, body, *map(unquote, match.groups()))
        return self.reply(404, {"error": path})

    do_GET = do_HEAD = do_POST = do_PUT = answer

    def create(self, body):
        request = json.loads(body)
        name = "/".join(filter(None, [request.get("organization"), request["name"]]))
        self.repositories.setdefault(name, Repository())
        self.reply(200, {"url": f"http://{self.headers['Host']}/{name}", "name": name, "id": name})

    def approve(self, body):
        self.reply(200, {"errors": [], "warnings": []})

    def sort_uploads(self, body, name):
        files = [
            {"path": file["path"], "uploadMode": "lfs" if is_large(file["path"]) else "regular"}
            for file in json.loads(body)["files"]
        ]
        self.reply(200, {"files": [file | {"shouldIgnore": False} for file in files]})

    def offer_blobs(self, body, name):
        url = f"http://{self.headers['Host']}/blobs/"
        objects = [o | {"actions": {"upload": {"href": url + o["oid"]}}} for o in json.loads(body)["objects"]]
        self.reply(200, {"transfer": "basic", "objects": objects})

    def take_blob(self, body, oid):
        matches = hashlib.sha256(body).hexdigest() == oid
        self.blobs[oid] = body
        self.reply(200 if matches else 400)

    def commit(self, body, name):
        changes = {}
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                changes[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                changes[value["path"]] = self.blobs[value["oid"]]
        sha = self.repositories[name].commit(changes)
        url = f"http://{self.headers['Host']}/{name}/commit/{sha}"
        self.reply(200, {"commitUrl": url, "commitOid": sha, "pullRequestUrl": None})

    def tell(self, body, name):
        repository = self.repositories.get(name, Repository())
        sha = repository.refs.get("main", "0" * 40)
        files = [{"rfilename": path} for path in repository.commits.get(sha, {})]
        self.reply(200, {"_id": "0", "id": name, "sha": sha, "private": False, "tags": [], "siblings": files})

    def send(self, body, name, revision, path):
        repository = self.repositories.get(name)
        if repository is None:
            return self.reply(404, {}, {"X-Error-Code": "RepoNotFound"})
        if repository.token and self.headers.get("Authorization") != f"Bearer {repository.token}":
            # To strangers a private repository looks like none.
            stranger = self.headers.get("Authorization") is None
            refusal = {"X-Error-Message": "Invalid credentials in Authorization header"}
            return self.reply(401, {}, {"X-Error-Code": "RepoNotFound"} if stranger else refusal)
        if repository.gated:
            return self.reply(403, {}, {"X-Error-Code": "GatedRepo"})
        commit = repository.refs.get(revision, revision)
        if commit not in repository.commits:
            return self.reply(404, {}, {"X-Error-Code": "RevisionNotFound"})
        headers = {"X-Repo-Commit": commit}
        content = repository.commits[commit].get(path)
        if content is None:
            return self.reply(404, {}, headers | {"X-Error-Code": "EntryNotFound"})
        return self.send_file(content, headers | {"ETag": f'"{etag(path, content)}"'}, self.fault_of(path))

    def fault_of(self, path):
        fault = self.faults.get(path)
        if fault is None or self.command not in fault.methods or not fault.times:
            return Fault()
        fault.times -= 1
        return fault

    def send_file(self, content, headers, fault):
        if fault.hangs:
            self.released.wait(5)
        if fault.status is not None:
            return self.reply(fault.status, fault.body.encode(), fault.headers)
        content = content if fault.content is None else fault.content
        status, sent = 200, fault.cut_after
        if wanted := self.headers.get("Range"):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            status, content = 206, content[start:]
        if fault.stated_size is not None:
            headers["Content-Length"] = fault.stated_size
        return self.reply(status, content, headers | fault.headers, sent)


def is_large(path):
    """Tell whether a file is stored by the SHA-256 of its content rather than as git does."""
    return path.endswith(".safetensors")


def etag(path, content):
    """Name a file's content as the Hub does."""
    if is_large(path):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


ROUTES = {
    r"/api/repos/create": Hub.create,
    r"/api/validate-yaml": Hub.approve,
    r"/api/models/(.+)/preupload/main": Hub.sort_uploads,
    r"/(.+)\.git/info/lfs/objects/batch": Hub.offer_blobs,
    r"/blobs/(\w+)": Hub.take_blob,
    r"/api/models/(.+)/commit/main": Hub.commit,
    r"/api/models/([^/]+/[^/]+)(?:/revision/.+)?": Hub.tell,
    r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)": Hub.send,
}


def start() -> ThreadingHTTPServer:
    """Start the Hub on a free port, in the background."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def address(server: ThreadingHTTPServer) -> str:
    """Name the Hub as HF_ENDPOINT wants it."""
    return f"http://127.0.0.1:{server.server_port}"
