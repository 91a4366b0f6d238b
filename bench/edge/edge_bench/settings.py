"""What a run can be told by its environment; ../README.md has the list for people."""
import os
import pathlib
import shutil
import subprocess

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
PACKAGES = "nginx-light libnginx-mod-http-brotli-static caddy wrk nghttp2-client brotli zstd openssl"


class Settings:
    def __init__(self, environment=os.environ):
        def number(name, default):
            return int(environment.get(name, default))

        def words(name, default):
            return environment.get(name, default).split()

        # Absolute, since servers are started in folders of their own.
        self.gv = pathlib.Path(environment.get("GV", REPOSITORY / "target/release/gv")).resolve()
        self.work = pathlib.Path(environment.get("WORK", REPOSITORY / "target/bench-edge")).resolve()
        self.redeploy = number("REDEPLOY", 0) == 1
        self.rounds = number("ROUNDS", 5)
        self.duration_s = number("DURATION", 10)
        self.warm_s = number("WARM", 1)
        self.connections = number("CONNS", 64)
        self.rate = number("RATE", 5000)
        self.rate_connections = number("RATE_CONNS", 32)
        self.pages = number("PAGES", 2000)
        self.hosts = number("HOSTS", 1000)
        self.servers = words("SERVERS", "nginx caddy gv")
        self.cases = words("CASES", "page js_br n304 n404 pages hosts image tls_page tls_image h2_page h2_image")
        self.rate_cases = words("RATE_CASES", "page js_br tls_page")
        cpus = sorted(os.sched_getaffinity(0))
        self.is_pinned = number("PIN", len(cpus) > 1) == 1
        self.server_cpus = environment.get("SERVER_CPUS", str(cpus[0]))
        self.load_cpus = environment.get("LOAD_CPUS", str(cpus[-1]))

        # Of ../many-sites alone.
        self.many_sites = number("SITES", 1000)
        self.many_files = number("FILES", 100)
        self.memory_mb = number("MEMORY_MB", 256)

    def on_server(self):
        """What goes before a server's command, to keep it on its CPUs."""
        return ["taskset", "-c", self.server_cpus] if self.is_pinned else []

    def on_load(self):
        return ["taskset", "-c", self.load_cpus] if self.is_pinned else []

    def server_cpu_count(self):
        return _cpu_count(self.on_server())

    def load_cpu_count(self):
        return _cpu_count(self.on_load())

    def places(self):
        """In words, where what runs."""
        if self.is_pinned:
            return f"servers on CPU {self.server_cpus}, load on CPU {self.load_cpus}"
        return f"not pinned, {os.cpu_count()} CPUs"

    def expect_programs(self, *names):
        missing = [name for name in names if not find(name)]
        if not self.gv.exists():
            missing.append(f"{self.gv} (cargo build --release, or GV=/path/to/gv)")
        if missing:
            raise SystemExit(f"missing: {', '.join(missing)}\non Debian: apt-get install {PACKAGES}")


def _cpu_count(before):
    counted = subprocess.run([*before, "nproc"], stdout=subprocess.PIPE, check=True).stdout
    return int(counted)


def find(program):
    # nginx is in a folder that is not on everybody's PATH.
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin:/usr/local/sbin")
