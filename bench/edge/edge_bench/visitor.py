"""A visitor with one connection, who asks for one thing after another and looks at the clock. Start
with `Visitor`.
"""
import dataclasses
import re
import socket
import time

from . import sites

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
LAYER = re.compile(rb"\r\ncache-status: *gv-edge;[^\r]*detail=(\w+)", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Answer:
    status: int
    # Which layer it came from. None: the answer does not say.
    layer: str | None
    # From before the request was sent until its last byte was there.
    seconds: float
    body: bytes


class Visitor:
    def __init__(self, address, host, timeout_s=30):
        name, port = address.split(":")
        self._socket = socket.create_connection((name, int(port)), timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._host, self._room = host, bytearray(sites.KIB * sites.KIB)

    def ask(self, path):
        """No coding is taken: the bytes are the file's."""
        request = f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\nAccept: */*\r\n\r\n".encode()
        room, there, whole, head = memoryview(self._room), 0, None, 0
        begin = time.perf_counter()
        self._socket.sendall(request)
        while whole is None or there < whole:
            count = self._socket.recv_into(room[there:])
            if not count:
                raise SystemExit(f"{path}: the edge closed the connection")
            there += count
            if whole is None and (head := self._room.find(b"\r\n\r\n", 0, there)) >= 0:
                head += 4
                whole = head + int(LENGTH.search(self._room, 0, head)[1])
        seconds = time.perf_counter() - begin
        fields = bytes(room[:head])
        layer = LAYER.search(fields)
        return Answer(int(fields[9:12]), layer and layer[1].decode(), seconds, bytes(room[head:whole]))

    def close(self):
        self._socket.close()


def percentile(seconds, part):
    """Of measured times, in microseconds: the nearest rank."""
    ordered = sorted(seconds)
    return 1e6 * ordered[min(len(ordered) - 1, int(part * len(ordered)))]
