"""A hub on this machine: as much of its HTTP interface as an upload and a download of small files need."""

import base64
import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlparse

COMMIT = "0" * 39 + "1"


class Hub(BaseHTTPRequestHandler):
    """Answers the requests of huggingface_hub; `store` has the files of every repository."""

    store: dict[str, dict[str, bytes]]
    asked: list[tuple[str, str, str | None]]

    def _reply(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, values, status=200):
        self._reply(status, json.dumps(values).encode(), Content_Type="application/json")

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urlparse(self.path).path
        self.asked.append((path, body.decode(errors="replace")[:200], self.headers.get("Authorization")))
        if self.headers.get("Authorization") != "Bearer hf_right":
            self._json({"error": "Invalid username or password."}, 401)
        elif path == "/api/repos/create":
            wanted = json.loads(body)
            name = f"{wanted.get('organization') or 'me'}/{wanted['name']}"
            self.store.setdefault(name, {})
            self._json({"url": f"{self.server.address}/{name}", "name": name, "id": name})
        elif "/preupload/" in path:
            files = json.loads(body)["files"]
            self._json({"files": [{**file, "uploadMode": "regular", "shouldIgnore": False} for file in files]})
        elif "/commit/" in path:
            name = path.removeprefix("/api/models/").partition("/commit/")[0]
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.store[name][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self._json(
                {
                    "success": True,
                    "commitUrl": f"{self.server.address}/{name}/commit/{COMMIT}",
                    "commitOid": COMMIT,
                }
            )
        else:
            self._json({}, 200)

    def do_GET(self):
        path = urlparse(self.path).path
        name, _, rest = path.lstrip("/").partition("/resolve/")
        file = self.store.get(name, {}).get(rest.partition("/")[2])
        if path.startswith("/api/models/"):
            files = self.store.get(path.removeprefix("/api/models/").partition("/revision/")[0], {})
            self._json({"sha": COMMIT, "id": name, "siblings": [{"rfilename": one} for one in files]})
        elif file is None:
            self._reply(404, b"", X_Error_Code="RepositoryNotFound" if name not in self.store else "EntryNotFound")
        else:
            tag = hashlib.sha1(file).hexdigest()
            self._reply(200, file, ETag=f'"{tag}"', X_Repo_Commit=COMMIT, Accept_Ranges="bytes")

    do_HEAD = do_GET

    def log_message(self, *words):
        pass


@contextmanager
def hub():
    """Run a hub, and return its server with `address`, `store` and `asked`."""
    kind = type("Own", (Hub,), {"store": {}, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    server.address, server.store, server.asked = f"http://127.0.0.1:{server.server_port}", kind.store, kind.asked
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
