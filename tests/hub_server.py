"""A Hugging Face Hub of a few lines on 127.0.0.1: create a repository, upload to it, download from it."""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0" * 40


class Hub(BaseHTTPRequestHandler):
    """The endpoints that huggingface_hub calls to push a model and to load it."""

    protocol_version = "HTTP/1.1"
    repositories: dict[str, dict[str, bytes]] = {}
    blobs: dict[str, bytes] = {}

    def log_message(self, *arguments):
        pass

    def reply(self, status, content=None, headers=()):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **dict(headers)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

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
        path, body = unquote(urlsplit(self.path).path), self.body()
        for pattern, action in ROUTES.items():
            if match := re.fullmatch(pattern, path):
                return action(self, body, *match.groups())
        return self.reply(404, {"error": path})

    do_GET = do_HEAD = do_POST = do_PUT = answer

    def create(self, body):
        request = json.loads(body)
        name = "/".join(filter(None, [request.get("organization"), request["name"]]))
        self.repositories.setdefault(name, {})
        self.reply(200, {"url": f"http://{self.headers['Host']}/{name}", "name": name, "id": name})

    def approve(self, body):
        self.reply(200, {"errors": [], "warnings": []})

    def sort_uploads(self, body, name):
        def mode(path):
            return "lfs" if path.endswith(".safetensors") else "regular"

        files = [{"path": f["path"], "uploadMode": mode(f["path"])} for f in json.loads(body)["files"]]
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
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                self.repositories[name][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.repositories[name][value["path"]] = self.blobs[value["oid"]]
        url = f"http://{self.headers['Host']}/{name}/commit/{COMMIT}"
        self.reply(200, {"commitUrl": url, "commitOid": COMMIT, "pullRequestUrl": None})

    def tell(self, body, name):
        files = [{"rfilename": path} for path in self.repositories.get(name, {})]
        self.reply(
            200, {"_id": "0", "id": name, "sha": COMMIT, "private": False, "tags": [], "siblings": files}
        )

    def send(self, body, name, path):
        if name not in self.repositories:
            return self.reply(404, {}, {"X-Error-Code": "RepoNotFound"})
        content = self.repositories[name].get(path)
        if content is None:
            return self.reply(404, {}, {"X-Error-Code": "EntryNotFound"})
        digest = hashlib.sha256(content).hexdigest()
        return self.reply(200, content, {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT})


ROUTES = {
    r"/api/repos/create": Hub.create,
    r"/api/validate-yaml": Hub.approve,
    r"/api/models/(.+)/preupload/main": Hub.sort_uploads,
    r"/(.+)\.git/info/lfs/objects/batch": Hub.offer_blobs,
    r"/blobs/(\w+)": Hub.take_blob,
    r"/api/models/(.+)/commit/main": Hub.commit,
    r"/api/models/([^/]+/[^/]+)(?:/revision/.+)?": Hub.tell,
    r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)": Hub.send,
}


def start() -> str:
    """Start the Hub on a free port, in the background, and return its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"
