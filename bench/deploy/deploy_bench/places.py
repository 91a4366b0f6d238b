"""gv as it is run: `alone` (gv up, SQLite and a folder) or as a `fleet` on PostgreSQL, RabbitMQ, Redis and
S3, which scripts/with-services starts. Both have the same few words: an api's address, tokens, processes.
"""
import contextlib
import os
import pathlib
import secrets
import socket
import subprocess
import threading
import urllib.parse

from edge_bench.fleet import Fleet, register
from lib.loopback import Client, Gv

# Accounts are made by the dozen here, of one address.
MANY = {"GV_AUTH__ATTEMPTS_PER_MIN": "1000000"}


class Place:
    """Where deployments are submitted to. `processes`: a name and a process id each."""

    def __init__(self, api, processes, first_token, ops, edges=()):
        self.api, self.processes, self._first, self.ops, self.edges = api, processes, first_token, ops, list(edges)

    def tokens(self, count):
        """So many accounts' tokens, personal ones: they do not expire while it is measured."""
        tokens = []
        for _ in range(count):
            client = Client(self.api, register(self.api))
            tokens.append(client.call("POST", "/tokens", {"name": "bench"})["token"])
            client.connection.close()
        return tokens

    def client(self, token=None):
        return Client(self.api, token or self._first)


@contextlib.contextmanager
def alone(gv, folder, settings):
    """A `gv up`."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "gv.log", "w", encoding="utf-8") as log:
        process = Gv(gv, folder, MANY | settings, log=log)
        try:
            yield Place(process.api, [("up", process.process.pid)], process.client.token, [process.ops], [process.edge])
        finally:
            process.stop()


@contextlib.contextmanager
def fleet(settings, run, workers, own, edges=0):
    """One api, and so many workers and edges."""
    run.mkdir(parents=True, exist_ok=True)
    names = {key.removeprefix("GV_"): value for key, value in (MANY | own | {"GV_OPS__WITHDRAW_S": "0"}).items()}
    with fresh_database(), Fleet(settings, run) as roles:
        api = roles.start("api", "api", **names)
        others = [(f"worker-{n}", roles.start(f"worker-{n}", "worker", **names)) for n in range(workers)]
        others += [(f"edge-{n}", roles.start(f"edge-{n}", "edge", **names)) for n in range(edges)]
        processes = [("api", api.pid), *((name, role.pid) for name, role in others)]
        at_edge = [role.address for name, role in others if name.startswith("edge")]
        ops = [api.ops, *(role.ops for _, role in others)]
        yield Place(api.address, processes, register(api.address), ops, at_edge)


@contextlib.contextmanager
def fresh_database():
    """Each fleet has a database of its own: nothing of another waits in it."""
    url = os.environ.get("GV_TEST_DATABASE_URL")
    if url is None:
        raise SystemExit("run me by scripts/with-services")
    name = f"bench_{secrets.token_hex(4)}"
    subprocess.run(["psql", "-qX", url, "-c", f"CREATE DATABASE {name} TEMPLATE template0"], check=True)
    os.environ["GV_TEST_DATABASE_URL"] = urllib.parse.urlsplit(url)._replace(path=f"/{name}").geturl()
    try:
        yield
    finally:
        os.environ["GV_TEST_DATABASE_URL"] = url
        subprocess.run(["psql", "-qX", url, "-c", f"DROP DATABASE {name} WITH (FORCE)"], check=False)


GROWN = """
INSERT INTO users (id, email, created_at)
    SELECT 'usr_grown' || g, 'grown' || g || '@bench.example', 0 FROM generate_series(1, {sites}) g;
INSERT INTO projects (id, account, name, host, settings, created_at)
    SELECT 'prj_grown' || g, 'usr_grown' || g, 'site', 'grown-' || g || '.localhost', '{{}}', 0 FROM generate_series(1, {sites}) g;
INSERT INTO deployments (id, account, project, project_name, target, repo_url, created_at, revision, attempt, losses,
        settings, env, state, state_at, files, bytes, reused, steps)
    SELECT 'dpl_grown' || g || '_' || n, 'usr_grown' || g, 'prj_grown' || g, 'site', 'production',
        'https://git.example.com/team/site.git', 0, 4, 1, 0, '{{}}', '{{}}', 'ready', 0, 100, 1000000, false, '[]'
    FROM generate_series(1, {sites}) g, generate_series(1, {each}) n;
INSERT INTO hosts (host, kind, project, account, deployment, revision, as_of, published, moved_at)
    SELECT 'grown-' || g || '.localhost', 'production', 'prj_grown' || g, 'usr_grown' || g, 'dpl_grown' || g || '_1', 1, 1, 1, 0
    FROM generate_series(1, {sites}) g;
ANALYZE;
"""


def grow(sites, each=3):
    """Rows of so many sites in a fleet's database, each with an account and a few deployments that have ended."""
    script = GROWN.format(sites=sites, each=each)
    subprocess.run(["psql", "-qX", "-v", "ON_ERROR_STOP=1", os.environ["GV_TEST_DATABASE_URL"]], input=script, text=True, check=True)


class SilentHost:
    """A Git host that takes connections and never answers: what is submitted waits."""

    def __init__(self):
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._held = []
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self):
        while True:
            try:
                self._held.append(self._socket.accept()[0])
            except OSError:
                return

    def close(self):
        for held in [self._socket, *self._held]:
            held.close()


def folder_of(run, name):
    folder = pathlib.Path(run) / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
