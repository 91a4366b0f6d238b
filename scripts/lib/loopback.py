"""A Git server and a gv of one's own on free loopback ports, for the benches.

Start with `git_server` and `Gv`; who starts them stops them.
"""
import http.client
import http.server
import json
import os
import signal
import socketserver
import subprocess
import threading
import time
import urllib.parse


def git_server(root, host="127.0.0.1"):
    """Serves every repository below `root` by `git http-backend` until its `shutdown()`."""
    backend = os.path.join(subprocess.check_output(["git", "--exec-path"], text=True).strip(), "git-http-backend")

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def answer(self):
            parts = urllib.parse.urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            if self.headers.get("transfer-encoding") == "chunked":
                while size := int(self.rfile.readline().strip() or b"0", 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
            env = {
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": urllib.parse.unquote(parts.path),
                "QUERY_STRING": parts.query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("content-type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("content-encoding", ""),
                "GIT_PROTOCOL": self.headers.get("git-protocol", ""),
            }
            output = subprocess.run([backend], input=body, env=env, stdout=subprocess.PIPE, check=False).stdout
            head, _, content = output.partition(b"\r\n\r\n")
            fields = [line.split(": ", 1) for line in head.decode().splitlines()]
            status = next((int(value.split()[0]) for name, value in fields if name == "Status"), 200)
            self.send_response(status)
            for name, value in fields:
                if name != "Status":
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = answer

    class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
        daemon_threads = True

    server = Server((host, 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class Gv:
    """`gv up` in the data folder `folder`/gv, with `settings` (GV_... variables) over its defaults.
    `before` goes before the command: `taskset`, say."""

    def __init__(self, binary, folder, settings, before=(), log=None):
        env = {"PATH": os.environ["PATH"], "HOME": str(folder), "GV_LOG__LEVEL": "warn"}
        env |= {f"GV_{name}__LISTEN": "127.0.0.1:0" for name in ("API", "EDGE", "OPS")}
        command = [*before, str(binary), "up", "--data-dir", str(folder / "gv")]
        # Not in the caller's folder, which may have a configuration.
        self.process = subprocess.Popen(
            command, env=env | settings, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True)
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"gv ended before it was ready, with {self.process.wait()}")
        ready = json.loads(line)
        self.api, self.edge, self.ops = (
            urllib.parse.urlsplit(ready[name]).netloc for name in ("api", "edge", "ops"))
        session = json.loads((folder / "gv" / "owner-token.json").read_text(encoding="utf-8"))
        self.client = Client(self.api, session["token"])

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.process.stdout.close()


class Client:
    """One connection to the API. Threads want one each."""

    def __init__(self, api, token):
        self.api, self.token = api, token
        self.connection = http.client.HTTPConnection(api)

    def another(self):
        return Client(self.api, self.token)

    def call(self, method, path, body=None):
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        text = json.dumps(body) if body is not None else None
        try:
            self.connection.request(method, f"/api/v1{path}", text, headers)
            response = self.connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionError):
            # The server gave up a connection that had long lain idle; what changes something is not sent twice.
            if method != "GET":
                raise
            self.connection = http.client.HTTPConnection(self.api)
            self.connection.request(method, f"/api/v1{path}", text, headers)
            response = self.connection.getresponse()
        answer = json.loads(response.read())
        if response.status >= 300:
            raise SystemExit(f"{method} {path}: {answer}")
        return answer

    def deploy(self, body, every_s=0.002):
        """Deploys, and asks `every_s` whether it is ready."""
        deployment = self.call("POST", "/deployments", body)
        while deployment["state"] not in ("ready", "failed", "canceled"):
            time.sleep(every_s)
            deployment = self.call("GET", f"/deployments/{deployment['id']}")
        if deployment["state"] != "ready":
            raise SystemExit(f"the deployment is {deployment}")
        return deployment
