"""Asking: as fast as the server answers (wrk, and h2load for HTTP/2), and at a fixed rate (oha).

A sample is only one when nothing went wrong in it: `Dropped` says what did.
"""
import dataclasses
import json
import os
import pathlib
import re
import resource
import subprocess
import tempfile
import time

from . import processes

SCRIPT = pathlib.Path(__file__).resolve().parent.parent / "conf" / "wrk.lua"
# An access log is written behind the answers: how long it has for it.
LOG_S = 3
# Requests under way on a connection of HTTP/2, as of a browser that loads a page.
STREAMS = 8


# Of what h2load says at its end.
HTTP2_FIGURES = {
    "done": r" (\d+) done",
    "broken": r" (\d+) errored",
    "refused": r" (\d+) 4xx",
    "sent": r"traffic: \S+ \((\d+)\) total",
}


class Dropped(Exception):
    pass


@dataclasses.dataclass(frozen=True)
class Sample:
    round: int
    case: str
    server: str
    requests_a_second: float
    # Of the server's processes, for one request.
    cpu_us: float
    # What of its CPUs the server used: well below 100, the load was the limit.
    server_busy_percent: float
    # What of the machine neither the server nor the load used.
    other_percent: float
    p50_us: float
    p99_us: float
    bytes_a_request: float
    # Of the answers, those that have a line in the server's access log.
    logged_percent: float | None


def ask(settings, prepared, seconds, seed):
    """Runs wrk or h2load. The same `seed` asks for many targets in the same order. Returns its figures: requests,
    microseconds, bytes, socket errors, error statuses, p50 and p99 in microseconds."""
    if prepared.case.is_http2:
        return _ask_by_http2(settings, prepared, seconds)
    threads = settings.load_cpu_count()
    command = [*settings.on_load(), "wrk", f"-t{threads}", f"-c{settings.connections}", f"-d{seconds}s", "-s", SCRIPT]
    for name, value in prepared.fields.items():
        command += ["-H", f"{name}: {value}"]
    env = os.environ | {"SEED": str(seed)}
    env.pop("TARGETS", None)
    if prepared.targets:
        env["TARGETS"] = str(prepared.targets)
    ran = subprocess.run(
        [*command, prepared.url], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    for line in ran.stdout.splitlines():
        if line.startswith("RESULT "):
            return [int(word) for word in line.split()[1:]]
    raise Dropped(f"wrk failed: {ran.stdout.strip()}")


def _ask_by_http2(settings, prepared, seconds):
    threads = settings.load_cpu_count()
    with tempfile.NamedTemporaryFile() as log:
        command = [
            *settings.on_load(), "h2load", f"--threads={threads}", f"--clients={settings.connections}",
            f"--max-concurrent-streams={STREAMS}", f"--duration={seconds}", f"--log-file={log.name}"]
        for name, value in prepared.fields.items():
            command.append(f"--header={':authority' if name == 'Host' else name}: {value}")
        ran = subprocess.run(
            [*command, prepared.url], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        # A line for each request: when it began, its status, and how long it took, in microseconds.
        took = sorted(int(line.split()[2]) for line in log)
    found = {name: re.search(pattern, ran.stdout) for name, pattern in HTTP2_FIGURES.items()}
    if ran.returncode or not took or not all(found.values()):
        raise Dropped(f"h2load failed: {ran.stdout.strip()}")
    done, broken, refused, sent = (int(found[name][1]) for name in ("done", "broken", "refused", "sent"))
    return [done, seconds * 1_000_000, sent, broken, refused, took[len(took) // 2], took[len(took) * 99 // 100]]


def measure(settings, server, prepared, round_):
    """One sample, or `Dropped`."""
    server.expect_alive()
    if server.access_log:
        # Bounded: a run of all cases would write gigabytes.
        os.truncate(server.access_log, 0)
    cpu, load_cpu, (busy, _) = processes.cpu_seconds(server.pid), _children_cpu(), processes.machine_cpu_seconds()
    requests, duration_us, sent, broken, refused, p50_us, p99_us = ask(settings, prepared, settings.duration_s, round_)
    cpu = processes.cpu_seconds(server.pid) - cpu
    load_cpu = _children_cpu() - load_cpu
    busy = processes.machine_cpu_seconds()[0] - busy
    server.expect_alive()
    _expect_right(prepared, settings.connections, requests, sent, broken, refused)
    seconds = duration_us / 1e6
    return Sample(
        round_, prepared.name, server.name,
        requests_a_second=requests / seconds,
        cpu_us=cpu * 1e6 / requests,
        server_busy_percent=100 * cpu / seconds / settings.server_cpu_count(),
        other_percent=max(0, 100 * (busy - cpu - load_cpu) / seconds / os.cpu_count()),
        p50_us=p50_us, p99_us=p99_us, bytes_a_request=sent / requests,
        logged_percent=_logged_percent(server, requests))


def _expect_right(prepared, connections, requests, sent, broken, refused):
    if requests == 0:
        raise Dropped("no answers")
    if broken:
        raise Dropped(f"{broken} socket errors")
    expected = requests if prepared.case.status >= 400 else 0
    if refused != expected:
        raise Dropped(f"{refused} of {requests} were error statuses, not {expected}")
    least = prepared.least_bytes * requests
    # Each connection may have been cut within an answer, at the end, or within as many as were under way.
    most = prepared.most_bytes * (requests + connections * (STREAMS if prepared.case.is_http2 else 1))
    if not least <= sent <= most:
        raise Dropped(f"{sent / requests:.0f} bytes an answer, not {prepared.least_bytes} to {prepared.most_bytes}")


def _logged_percent(server, requests):
    """Of the answers, how many have a line in the access log."""
    if not server.access_log:
        return None
    deadline = time.monotonic() + LOG_S
    while (lines := _lines(server.access_log)) < requests and time.monotonic() < deadline:
        time.sleep(0.1)
    return min(100, 100 * lines / requests)


def _lines(file):
    lines = 0
    with open(file, "rb") as log:
        while piece := log.read(1 << 20):
            lines += piece.count(b"\n")
    return lines


@dataclasses.dataclass(frozen=True)
class Latency:
    case: str
    server: str
    p50_us: float
    p99_us: float
    p999_us: float
    requests_a_second: float


def at_rate(settings, server, prepared):
    """Latencies at a fixed rate, from when each request was due, not from when it was sent: a
    server that stalls is not asked less for that (coordinated omission)."""
    server.expect_alive()
    if server.access_log:
        os.truncate(server.access_log, 0)
    command = [
        *settings.on_load(), "oha", "--no-tui", "--output-format", "json", "-z", f"{settings.duration_s}s",
        "-q", str(settings.rate), "-c", str(settings.rate_connections), "--latency-correction", "--insecure"]
    for name, value in prepared.fields.items():
        command += ["-H", f"{name}: {value}"]
    ran = subprocess.run([*command, prepared.url], capture_output=True, text=True, check=False)
    if ran.returncode:
        raise Dropped(f"oha failed: {ran.stderr.strip()}")
    found = json.loads(ran.stdout)
    statuses = {int(status): count for status, count in found["statusCodeDistribution"].items()}
    if set(statuses) != {prepared.case.status}:
        raise Dropped(f"statuses {statuses}")
    rate = found["summary"]["requestsPerSec"]
    if rate < 0.98 * settings.rate:
        raise Dropped(f"{rate:.0f} requests a second were answered, not {settings.rate}")
    percentiles = found["latencyPercentiles"]
    p50, p99, p999 = (percentiles[name] * 1e6 for name in ("p50", "p99", "p99.9"))
    return Latency(prepared.name, server.name, p50, p99, p999, rate)


def _children_cpu():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
