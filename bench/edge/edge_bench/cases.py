"""What is asked for, and whether the answers are right: before anything is timed, each server must
give each case's status, coding, length and bytes. Start with `CASES` and `prepare`.
"""
import contextlib
import dataclasses
import hashlib
import http.client
import ssl
import subprocess

from . import sites

# What the fields of an answer may take, beside its body.
MOST_FIELDS_BYTES = 1024
TIMEOUT_S = 10


@dataclasses.dataclass(frozen=True)
class Case:
    # Of the main site; None where there are many targets.
    path: str | None = None
    # Whose bytes the answer has.
    file: str = "index.html"
    status: int = 200
    accepted_coding: str | None = None
    is_tls: bool = False
    is_http2: bool = False


CASES = {
    "page": Case("/"),
    "js_br": Case("/app.js", "app.js", accepted_coding="br"),
    "n304": Case("/", status=304),
    "n404": Case("/no/such/page", "404.html", status=404),
    "pages": Case(),
    "hosts": Case(),
    "image": Case("/image.png", "image.png"),
    "tls_page": Case("/", is_tls=True),
    "tls_image": Case("/image.png", "image.png", is_tls=True),
    "h2_page": Case("/", is_tls=True, is_http2=True),
    "h2_image": Case("/image.png", "image.png", is_tls=True, is_http2=True),
}
DECODERS = {"br": ["brotli", "-dc"], "gzip": ["gzip", "-dc"], "zstd": ["zstd", "-dcq"]}


class Unfit(Exception):
    """A server does not answer a case as it must; in words."""


@dataclasses.dataclass
class Prepared:
    """A case that a server answers rightly, ready to be asked for many times."""
    name: str
    case: Case
    url: str
    fields: dict
    # A file of hosts and paths, where there are many.
    targets: object
    # What an answer takes at least and at most, fields included.
    least_bytes: int
    most_bytes: int


def prepare(name, server, folder, targets):
    """Checks a case on a server, or raises `Unfit`. `folder` has the sites, `targets` the files of
    many targets by the name of their case."""
    case = CASES[name]
    address = server.tls if case.is_tls else server.plain
    if address is None:
        raise Unfit("it has no TLS")
    fields = {"Host": sites.host(sites.MAIN), "Accept": "*/*"}
    if case.accepted_coding:
        fields["Accept-Encoding"] = case.accepted_coding
    with _connection(address, case.is_tls) as connection:
        if case.path is None:
            lines = targets[name].read_text(encoding="utf-8").splitlines()
            lengths = [_check_target(connection, folder, *line.split("\t")) for line in lines]
        else:
            if case.status == 304:
                fields |= _condition(connection, case.path, fields)
            file = folder / sites.host(sites.MAIN) / case.file
            lengths = [_check(connection, case, fields, file.read_bytes())]
    # Not the address: some TLS libraries refuse to be called by one.
    port = address.split(":")[1]
    url = (f"https://{sites.DOMAIN}:{port}" if case.is_tls else f"http://{address}") + (case.path or "/")
    if case.is_http2:
        _check_http2(url, fields, file.read_bytes())
    return Prepared(
        name, case, url, fields, targets[name] if case.path is None else None,
        min(lengths), max(lengths) + MOST_FIELDS_BYTES)


def _check_target(connection, folder, host, path):
    file = folder / host / path.lstrip("/") / "index.html"
    return _check(connection, Case(path), {"Host": host, "Accept": "*/*"}, file.read_bytes())


def check_pages(address, host, pages):
    """Checks `pages`, bytes by path, or raises `Unfit`."""
    with _connection(address, is_tls=False) as connection:
        for path, expected in pages.items():
            _check(connection, Case(path), {"Host": host, "Accept": "*/*"}, expected)


def _check(connection, case, fields, expected):
    """Returns the bytes of the body as sent."""
    response, sent = _get(connection, case.path, fields)
    where = f"{fields['Host']}{case.path}"
    if response.status != case.status:
        raise Unfit(f"{where} has status {response.status}, not {case.status}")
    if case.status == 304:
        if sent:
            raise Unfit(f"{where} has a body of {len(sent)} bytes with its 304")
        return 0
    coding = response.headers.get("content-encoding")
    if coding != case.accepted_coding:
        raise Unfit(f"{where} is {coding or 'not coded'}, not {case.accepted_coding or 'as it is'}")
    body = sent
    if coding:
        decoded = subprocess.run(DECODERS[coding], input=sent, stdout=subprocess.PIPE, check=False)
        body = decoded.stdout if decoded.returncode == 0 else b""
    if len(body) != len(expected) or hashlib.sha256(body).digest() != hashlib.sha256(expected).digest():
        raise Unfit(f"{where} has {len(body)} bytes that are not the file's {len(expected)}")
    return len(sent)


def _check_http2(url, fields, expected):
    """The same bytes by HTTP/2."""
    asked = {":authority": fields["Host"]} | {name: value for name, value in fields.items() if name != "Host"}
    command = ["nghttp", "--no-verify-peer", *(f"--header={name}: {value}" for name, value in asked.items()), url]
    got = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=TIMEOUT_S, check=False)
    if got.returncode or hashlib.sha256(got.stdout).digest() != hashlib.sha256(expected).digest():
        raise Unfit(f"by HTTP/2 {url} has {len(got.stdout)} bytes that are not the file's {len(expected)}")


def _condition(connection, path, fields):
    """The field that a browser which has the page sends."""
    response, _ = _get(connection, path, fields)
    for validator, condition in (("etag", "If-None-Match"), ("last-modified", "If-Modified-Since")):
        if value := response.headers.get(validator):
            return {condition: value}
    raise Unfit("it gives no validator")


def _get(connection, path, fields):
    try:
        connection.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
        for name, value in fields.items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        return response, response.read()
    except (OSError, http.client.HTTPException) as error:
        raise Unfit(f"{path}: {error}") from error


@contextlib.contextmanager
def _connection(address, is_tls):
    if is_tls:
        connection = http.client.HTTPSConnection(
            sites.DOMAIN, int(address.split(":")[1]), timeout=TIMEOUT_S, context=_tls())
    else:
        connection = http.client.HTTPConnection(address, timeout=TIMEOUT_S)
    with contextlib.closing(connection):
        yield connection


def negotiated(server):
    """Version and cipher of its TLS."""
    with _connection(server.tls, True) as connection:
        connection.connect()
        name, version, _ = connection.sock.cipher()
        return f"{version} {name}"


def _tls():
    # The certificate is signed by nobody.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def write_targets(work, pages, hosts):
    """Hosts and paths of the cases that have many."""
    lines = {
        "pages": [f"{sites.host(sites.MAIN)}\t/{sites.page_path(number)}" for number in range(pages)],
        "hosts": [f"{sites.host(sites.small_name(number))}\t/" for number in range(hosts)],
    }
    files = {}
    for name, targets in lines.items():
        files[name] = work / f"targets-{name}"
        files[name].write_text("\n".join(targets) + "\n", encoding="utf-8")
    return files
