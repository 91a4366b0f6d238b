"""Ways for a service to be away: frozen, as a machine that hangs, or answering 503 to everything.

Start with `Storage`, which stands before an S3, and `frozen`.
"""
import contextlib
import http.client
import http.server
import os
import pathlib
import signal
import socket
import threading
import urllib.parse

# What belongs to a connection, not to what is carried over it.
HOP_FIELDS = {"connection", "keep-alive", "transfer-encoding", "content-length"}
SILENCE_S = 60


class Storage:
    """A proxy before an S3 that is read through it. `state` says what it does with a request: `well`
    carries it on, `refusing` answers 503 and `silent` nothing."""

    def __init__(self, endpoint):
        self.state = "well"
        self._target = urllib.parse.urlsplit(endpoint).netloc
        storage = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *args):
                pass

            def do_GET(self):
                if storage.state == "silent":
                    storage._ended.wait(SILENCE_S)
                    self.close_connection = True
                elif storage.state == "refusing":
                    self._answer(503, [("Content-Type", "application/xml")], b"<Error><Code>SlowDown</Code></Error>")
                else:
                    self._carry()

            def _carry(self):
                # The signature covers the Host that was asked for: it stays.
                connection = http.client.HTTPConnection(storage._target, timeout=SILENCE_S)
                with contextlib.closing(connection):
                    connection.putrequest("GET", self.path, skip_host=True, skip_accept_encoding=True)
                    for name, value in self.headers.items():
                        connection.putheader(name, value)
                    connection.endheaders()
                    response = connection.getresponse()
                    body = response.read()
                fields = [(name, value) for name, value in response.getheaders() if name.lower() not in HOP_FIELDS]
                self._answer(response.status, fields, body)

            def _answer(self, status, fields, body):
                self.send_response_only(status)
                for name, value in fields:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, request, client_address):
                # Whoever waited in vain has hung up.
                pass

        self._ended = threading.Event()
        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self):
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()


def behind(blobs_url, endpoint):
    """The same bucket by another endpoint."""
    head, _, query = blobs_url.partition("?")
    pairs = dict(urllib.parse.parse_qsl(query)) | {"endpoint": endpoint}
    return f"{head}?{urllib.parse.urlencode(pairs)}"


def endpoint_of(blobs_url):
    pairs = dict(urllib.parse.parse_qsl(blobs_url.partition("?")[2]))
    if "endpoint" not in pairs:
        raise SystemExit("GV_TEST_BLOBS_URL names no endpoint: run me by scripts/with-services")
    return pairs["endpoint"]


def redis_pid(cache_url):
    """The process of a Redis on this machine's loopback; no other is ever frozen."""
    parts = urllib.parse.urlsplit(cache_url)
    with socket.create_connection((parts.hostname, parts.port or 6379), 5) as connection:
        connection.sendall(b"INFO server\r\n")
        said = connection.recv(1 << 16).decode()
    pid = next((int(line[11:]) for line in said.splitlines() if line.startswith("process_id:")), None)
    name = pathlib.Path(f"/proc/{pid}/comm")
    if parts.hostname != "127.0.0.1" or not name.exists() or "redis" not in name.read_text(encoding="utf-8"):
        raise SystemExit("GV_TEST_CACHE_URL is no Redis of this machine: run me by scripts/with-services")
    return pid


@contextlib.contextmanager
def frozen(pid):
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
