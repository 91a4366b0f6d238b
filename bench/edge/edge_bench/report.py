"""From samples to tables: medians, and ratios within a round.

Servers run one after another, so that what a machine does meanwhile moves all of a round alike: the
median of the ratios within each round says more than the ratio of the medians.
"""
import shutil
import statistics

SUBJECT = "gv"


class Report:
    """What is said while a run goes on, and is kept after it."""

    def __init__(self):
        self._lines = []

    def say(self, line=""):
        print(line, flush=True)
        self._lines.append(line)

    def note(self, line):
        """Beside the tables."""
        self.say(f"# {line}")

    def keep(self, run, latest):
        """In the folder `run`, and as the file `latest`."""
        (run / "report.txt").write_text("\n".join(self._lines) + "\n", encoding="utf-8")
        shutil.copy(run / "report.txt", latest)
        print(f"# kept: {run}")


def throughput(samples, cases, servers):
    lines = [f"{'case':<10} {'server':<8} {'req/s':>9} {'cpu us/rq':>10} {'busy %':>7} {'p50 us':>8} {'p99 us':>8} "
             f"{'bytes/rq':>9}  min..max req/s"]
    for case in cases:
        for server in servers:
            of = [sample for sample in samples if (sample.case, sample.server) == (case, server)]
            if not of:
                continue
            rates = [sample.requests_a_second for sample in of]
            lines.append(
                f"{case:<10} {server:<8} {_median(rates):>9.0f} {_median(s.cpu_us for s in of):>10.2f} "
                f"{_median(s.server_busy_percent for s in of):>7.0f} {_median(s.p50_us for s in of):>8.0f} "
                f"{_median(s.p99_us for s in of):>8.0f} {_median(s.bytes_a_request for s in of):>9.0f}  "
                f"{min(rates):.0f}..{max(rates):.0f}")
    return lines


def ratios(samples, cases, servers):
    """Both ratios are above 1 where gv is the better one."""
    others = [server for server in servers if server != SUBJECT]
    if SUBJECT not in servers or not others:
        return []
    wide = "".join(f" {server:>20}" for server in others)
    lines = [f"gv beside the others: CPU time for a request, and requests a second. Above 1: gv is the better one. Median of "
             f"{max((sample.round for sample in samples), default=0)} rounds",
             f"{'case':<10}{wide}   other CPU %"]
    for case in cases:
        of = [sample for sample in samples if sample.case == case]
        if not of:
            continue
        columns = ""
        for other in others:
            pairs = _pairs(of, other)
            cpu = [theirs.cpu_us / ours.cpu_us for ours, theirs in pairs if ours.cpu_us and theirs.cpu_us]
            rate = [ours.requests_a_second / theirs.requests_a_second for ours, theirs in pairs]
            text = f"{_median(cpu):.2f} cpu, {_median(rate):.2f} r/s" if cpu else "-"
            columns += f" {text:>20}"
        lines.append(f"{case:<10}{columns}   {_median(sample.other_percent for sample in of):>11.0f}")
    return lines


def access_log(samples, servers):
    """Whether a server that keeps an access log did so: lines that are dropped are work not done."""
    lines = []
    for server in servers:
        logged = [sample.logged_percent for sample in samples if sample.server == server]
        if logged and None not in logged:
            mark = "!" if min(logged) < 99 else "#"
            lines.append(f"{mark} access log of {server}: {_median(logged):.1f} % of the answers have a line, at least {min(logged):.1f} %")
    return lines


def latencies(found, cases, servers):
    lines = [f"{'case':<10} {'server':<8} {'p50 us':>8} {'p99 us':>8} {'p99.9 us':>9} {'got req/s':>10}"]
    for case in cases:
        for server in servers:
            of = [latency for latency in found if (latency.case, latency.server) == (case, server)]
            if of:
                lines.append(
                    f"{case:<10} {server:<8} {_median(x.p50_us for x in of):>8.0f} {_median(x.p99_us for x in of):>8.0f} "
                    f"{_median(x.p999_us for x in of):>9.0f} {_median(x.requests_a_second for x in of):>10.0f}")
    return lines


def _pairs(samples, other):
    """Of each round that has both: gv's sample and the other's."""
    by_round = {(sample.round, sample.server): sample for sample in samples}
    rounds = sorted({sample.round for sample in samples})
    found = [(by_round.get((number, SUBJECT)), by_round.get((number, other))) for number in rounds]
    return [pair for pair in found if all(pair)]


def _median(values):
    return statistics.median(values)
