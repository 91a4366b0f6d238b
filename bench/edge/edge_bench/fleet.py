"""gv's roles as processes of their own, on the services that scripts/with-services started, and one
site deployed to them. Start with `Fleet`.
"""
import contextlib
import hashlib
import json
import os
import secrets
import signal
import subprocess
import time
import urllib.parse
import urllib.request

from . import deployment, sites
from lib.loopback import Client, git_server

ENDING_S = 30
# The largest file that these edges put into the shared cache, in KiB.
CACHED_KIB = 256
SERVICES = ("DATABASE", "QUEUE", "CACHE", "BLOBS")


class Role:
    """One process: where it serves (host:port), its folder, its log beside that."""

    def __init__(self, gv, role, folder, settings):
        folder.mkdir(parents=True, exist_ok=True)
        env = {"PATH": os.environ["PATH"], "HOME": str(folder), "GV_DATA_DIR": str(folder), "GV_LOG__LEVEL": "warn"}
        with open(folder.with_suffix(".log"), "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [gv, role], env=env | settings, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True)
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"gv {role} ended before it was ready: see {folder.with_suffix('.log')}")
        ready = json.loads(line)
        self.address, self.ops = (
            urllib.parse.urlsplit(ready.get(name, "")).netloc for name in (role if role == "edge" else "api", "ops"))

    @property
    def pid(self):
        return self.process.pid

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(ENDING_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdout.close()


class Fleet:
    """An api and a worker; edges are added as they are needed. To be used as a context: all of them end
    with it."""

    def __init__(self, settings, run):
        missing = [name for name in SERVICES if f"GV_TEST_{name}_URL" not in os.environ]
        if missing:
            raise SystemExit("run me by scripts/with-services")
        self.gv, self.run = settings.gv, run
        self._ending = contextlib.ExitStack()
        # Nothing of another run is in these.
        self.name = f"bench-{secrets.token_hex(4)}"
        key = subprocess.run([self.gv, "config", "keygen"], stdout=subprocess.PIPE, check=True, text=True).stdout
        sealing = subprocess.run([self.gv, "secrets", "keygen"], stdout=subprocess.PIPE, check=True, text=True).stdout
        self.settings = {
            "GV_DATABASE__URL": os.environ["GV_TEST_DATABASE_URL"],
            "GV_QUEUE__URL": with_query(os.environ["GV_TEST_QUEUE_URL"], queue=self.name),
            "GV_CACHE__URL": self.cache("shared"),
            "GV_BLOBS__URL": os.environ["GV_TEST_BLOBS_URL"].replace("?", f"/{self.name}?", 1),
            "GV_BLOBS__ACCESS_KEY": os.environ.get("AWS_ACCESS_KEY_ID", ""),
            "GV_BLOBS__SECRET_KEY": os.environ.get("AWS_SECRET_ACCESS_KEY", ""),
            "GV_AUTH__SIGNING_KEYS": key.strip(),
            "GV_SECRETS__KEYS": sealing.strip(),
            "GV_EDGE__PUBLIC_SCHEME": "http",
            "GV_EDGE__REDIS_MAX_KB": str(CACHED_KIB),
        } | {f"GV_{name}__LISTEN": "127.0.0.1:0" for name in ("API", "EDGE", "OPS")}

    def __enter__(self):
        env = {"PATH": os.environ["PATH"], "HOME": str(self.run)} | self.settings
        subprocess.run([self.gv, "migrate"], env=env, cwd=self.run, check=True, stdout=subprocess.DEVNULL)
        return self

    def __exit__(self, *_):
        self._ending.close()

    def cache(self, prefix):
        """The shared cache, or a part of it that nobody has put anything into."""
        return with_query(os.environ["GV_TEST_CACHE_URL"], prefix=f"{self.name}-{prefix}:")

    def start(self, name, role="edge", **settings):
        """Starts a process; `settings` go without GV_. Under the same name it has the same folder."""
        own = {f"GV_{key}": str(value) for key, value in settings.items()}
        started = Role(self.gv, role, self.run / name, self.settings | own)
        self._ending.callback(started.stop)
        return started

    def deploy(self, name, files):
        """Deploys a site by a repository of its own; api and worker are ended with it."""
        deployment.repository(self.run / "repositories" / f"{name}.git", files)
        server = git_server(self.run / "repositories")
        try:
            address = f"127.0.0.1:{server.server_address[1]}"
            roles = [self.start(role, role, SOURCE__ALLOW=address) for role in ("api", "worker")]
            client = Client(roles[0].address, register(roles[0].address))
            client.deploy({"repo_url": f"http://{address}/{name}.git", "project": name}, every_s=0.05)
            for role in roles:
                role.stop()
        finally:
            server.shutdown()
        return sites.host(name)


def register(api):
    """A new account's token."""
    body = {"email": f"{secrets.token_hex(4)}@bench.example", "password": secrets.token_hex(16), "name": "bench"}
    request = urllib.request.Request(
        f"http://{api}/api/v1/auth/register", json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.loads(response.read())["access_token"]


def with_query(url, **more):
    return f"{url}{'&' if '?' in url else '?'}{urllib.parse.urlencode(more)}"


def run_folder(settings, name):
    """A new folder for one run of a bench."""
    run = settings.work / time.strftime(f"runs/%Y%m%d-%H%M%S-{name}")
    run.mkdir(parents=True)
    return run


def version(gv):
    """Which build it is: the same words for the same bytes."""
    return hashlib.sha256(gv.read_bytes()).hexdigest()[:16]
