"""What services and processes have done between two moments, by their own account: PostgreSQL's log of
statements and its counts of rows, Redis' counts of commands, and gv's metrics of object storage and queue.

Start with `Counters`: `now()` before and after, then the difference of the two. What goes on by itself
(heartbeats, sweepers, health checks) is to be taken off: `a_second` of a time when nothing was asked.
"""
import collections
import os
import re
import subprocess
import time
import urllib.request

# PostgreSQL's counts of rows come with so much delay.
SETTLING_S = 1.6


class Counters:
    def __init__(self, place):
        self._place = place
        self._database = os.environ["GV_TEST_DATABASE_URL"]
        parts = re.match(r"redis://([^:/]+):(\d+)", os.environ["GV_TEST_CACHE_URL"])
        self._redis = ["redis-cli", "-h", parts[1], "-p", parts[2]]
        self._ask("ALTER SYSTEM SET log_statement = 'all'")
        self._ask("ALTER SYSTEM SET log_line_prefix = '%d %a '")
        self._ask("SELECT pg_reload_conf()")
        self._name = self._database.rsplit("/", 1)[1]
        self._read = self._log_size()

    def now(self):
        time.sleep(SETTLING_S)
        counts = collections.Counter()
        self._count_statements(counts)
        rows = self._ask("SELECT sum(n_tup_ins), sum(n_tup_upd), sum(n_tup_del) FROM pg_stat_user_tables")
        for name, count in zip(("rows inserted", "rows updated", "rows deleted"), rows.split("|")):
            counts[name] = int(count or 0)
        self._count_commands(counts)
        for ops in self._place.ops:
            self._count_metrics(ops, counts)
        counts["at"] = time.monotonic()
        return counts

    def stop(self):
        self._ask("ALTER SYSTEM RESET log_statement")
        self._ask("ALTER SYSTEM RESET log_line_prefix")
        self._ask("SELECT pg_reload_conf()")

    def _ask(self, statement):
        command = ["psql", "-qXtA", self._database, "-c", statement]
        env = dict(os.environ, PGAPPNAME="bench")
        return subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True, text=True).stdout.strip()

    def _log_size(self):
        return int(self._ask("SELECT size FROM pg_stat_file('../postgres.log')"))

    def _count_statements(self, counts):
        # Of this database, by gv: what it was told is in lines of their own.
        end = self._log_size()
        text = self._ask(f"SELECT pg_read_file('../postgres.log', {self._read}, {max(0, end - self._read)})")
        self._read = end
        self.statements = re.findall(rf"^{self._name} gv LOG:  (?:execute [^:]*|statement): (.*)", text, re.MULTILINE)
        self._total = getattr(self, "_total", 0) + len(self.statements)
        counts["statements"] = self._total

    def _count_commands(self, counts):
        stats = subprocess.run([*self._redis, "INFO", "commandstats"], stdout=subprocess.PIPE, check=True, text=True).stdout
        for name, calls in re.findall(r"cmdstat_(\S+?):calls=(\d+)", stats):
            if name not in ("info", "client|setinfo", "hello", "command|docs"):
                counts["redis commands"] += int(calls)

    @staticmethod
    def _count_metrics(ops, counts):
        with urllib.request.urlopen(f"http://{ops}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        for name, labels, value in re.findall(r"^(gv_\w+?)(?:\{(.*)\})? ([\d.e+]+)$", text, re.MULTILINE):
            labels = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            if name == "gv_s3_requests_total":
                counts[f"S3 {labels['method']}"] += float(value)
            elif name == "gv_blobs_bytes_total":
                counts[f"bytes {labels['direction']}"] += float(value)
            elif name == "gv_queue_announcements_total":
                counts["queue messages"] += float(value)


def between(before, after, a_second=None):
    """What was counted between two moments, without what goes on by itself."""
    seconds = after["at"] - before["at"]
    names = [name for name in after if name != "at"]
    return {name: after[name] - before[name] - (a_second or {}).get(name, 0) * seconds for name in names}
