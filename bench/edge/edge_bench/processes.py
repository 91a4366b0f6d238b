"""What the kernel says of processes: how much CPU and memory they took. Linux' /proc."""
import os
import pathlib

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
PROC = pathlib.Path("/proc")


def tree(pid):
    """A process and its descendants."""
    found = [pid]
    for children in PROC.glob(f"{pid}/task/*/children"):
        for child in _text(children).split():
            found += tree(int(child))
    return found


def cpu_seconds(pid):
    """Of user and system, of the whole tree."""
    ticks = 0
    for member in tree(pid):
        # After the name, which may have anything in it, in parentheses.
        fields = _text(PROC / str(member) / "stat").rpartition(")")[2].split()
        if fields:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS_A_SECOND


def pss_bytes(pid):
    """Memory of the whole tree, what is shared counted once (proportional set size)."""
    return sum(_kib(PROC / str(member) / "smaps_rollup", "Pss:") for member in tree(pid))


def rss_bytes(pid):
    return _kib(PROC / str(pid) / "status", "VmRSS:")


def peak_rss_bytes(pid):
    return _kib(PROC / str(pid) / "status", "VmHWM:")


def machine_cpu_seconds():
    """What all CPUs together have been busy, and what they have been there."""
    user, nice, system, idle, wait, irq, softirq, steal = map(int, _text(PROC / "stat").split()[1:9])
    busy = user + nice + system + irq + softirq + steal
    return busy / TICKS_A_SECOND, (busy + idle + wait) / TICKS_A_SECOND


def _kib(file, field):
    for line in _text(file).splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    return 0


def _text(file):
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        # It has ended between being found and being read.
        return ""
