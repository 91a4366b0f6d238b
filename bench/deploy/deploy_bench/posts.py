"""Submits deployments over many connections, each as fast as it is answered, and keeps each answer. One
thread and epoll: a few percent of a processor at a thousand a second. Start with `post_for`.
"""
import collections
import dataclasses
import json
import re
import secrets
import select
import socket
import time

ID = re.compile(rb'"id":"(dpl_[0-9a-z]+)"')
# An answer that takes longer is none.
PATIENCE_S = 30


@dataclasses.dataclass
class Outcome:
    seconds: float
    statuses: collections.Counter
    # Of deployments that were accepted with 201, and of all answers the seconds.
    ids: list
    took: list
    # What was said instead, an example of each status.
    refusals: dict

    def percentile(self, part):
        ordered = sorted(self.took)
        return ordered[min(len(ordered) - 1, int(len(ordered) * part))] * 1000 if ordered else 0.0


class Connection:
    def __init__(self, address, number):
        host, port = address.split(":")
        self.socket = socket.create_connection((host, int(port)), PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.number, self.began, self.read = number, 0.0, b""

    def send(self, request):
        self.read, self.began = b"", time.perf_counter()
        self.socket.sendall(request)

    def answer(self):
        """Status and content, once all of it is there."""
        piece = self.socket.recv(1 << 16)
        if not piece:
            raise SystemExit("the api closed a connection")
        self.read += piece
        head, end, content = self.read.partition(b"\r\n\r\n")
        if not end:
            return None
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        if length is None or len(content) < int(length[1]):
            return None
        return int(head.split(b" ", 2)[1]), content


def post_for(seconds, address, body_of, connections):
    """`body_of(n)` is the token and the content of the n-th submission. Each has an Idempotency-Key."""
    run = secrets.token_hex(6)
    number = 0

    def request():
        nonlocal number
        token, body = body_of(number)
        content = json.dumps(body).encode()
        head = (
            f"POST /api/v1/deployments HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n"
            f"content-type: application/json\r\nidempotency-key: {run}-{number}\r\ncontent-length: {len(content)}\r\n\r\n")
        number += 1
        return head.encode() + content

    open_, waiting = {}, select.epoll()
    for each in range(connections):
        connection = Connection(address, each)
        open_[connection.socket.fileno()] = connection
        waiting.register(connection.socket.fileno(), select.EPOLLIN)
    outcome = Outcome(0.0, collections.Counter(), [], [], {})
    begin = time.perf_counter()
    for connection in open_.values():
        connection.send(request())
    under_way = len(open_)
    while under_way:
        ready = waiting.poll(PATIENCE_S)
        if not ready:
            raise SystemExit(f"{under_way} submissions were not answered within {PATIENCE_S} s")
        for file, _ in ready:
            connection = open_[file]
            answer = connection.answer()
            if answer is None:
                continue
            now, (status, content) = time.perf_counter(), answer
            outcome.statuses[status] += 1
            outcome.took.append(now - connection.began)
            if status == 201:
                outcome.ids.append(ID.search(content)[1].decode())
            else:
                outcome.refusals.setdefault(status, content.decode(errors="replace"))
            if now - begin < seconds:
                connection.send(request())
            else:
                under_way -= 1
    # Until the last answer: what was under way at the end counts, and so does its time.
    outcome.seconds = time.perf_counter() - begin
    for connection in open_.values():
        connection.socket.close()
    return outcome
