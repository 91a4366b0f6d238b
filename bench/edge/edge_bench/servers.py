"""The servers that are measured: how each is started on loopback, on its CPUs, and stopped by its
process id. Start with `start`.
"""
import contextlib
import json
import os
import pathlib
import socket
import string
import subprocess
import time

from . import sites
from .settings import find
from lib.loopback import Gv

CONFIGURATIONS = pathlib.Path(__file__).resolve().parent.parent / "conf"
STARTING_S = 20
ENDING_S = 20


class Server:
    def __init__(self, name, process, plain, tls=None, notes=()):
        self.name, self.process = name, process
        # host:port of each listener. `tls` is None where this server has none.
        self.plain, self.tls = plain, tls
        # What is to be known about it in the report.
        self.notes = list(notes)
        # gv's alone.
        self.access_log = self.ops = None

    @property
    def pid(self):
        return self.process.pid

    def expect_alive(self):
        if self.process.poll() is not None:
            raise SystemExit(f"{self.name} has ended by itself, with {self.process.returncode}")


class Place:
    """Where the servers of one run are: its folder, the sites and the certificate. `gv_settings` are
    GV_... variables of this run alone."""

    def __init__(self, settings, run, folder, gv_folder, gv_settings=None):
        self.settings, self.run, self.folder, self.gv_folder = settings, run, folder, gv_folder
        self.gv_settings = gv_settings or {}
        self.cert, self.key = certificate(settings.work)


def certificate(folder):
    """One self-signed ECDSA P-256 certificate for all servers."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    if not cert.exists() or not key.exists():
        names = f"subjectAltName=DNS:{sites.DOMAIN},DNS:*.{sites.DOMAIN},IP:127.0.0.1"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                   "-days", "3650", "-subj", f"/CN={sites.DOMAIN}", "-addext", names, "-keyout", key, "-out", cert]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return cert, key


@contextlib.contextmanager
def start(name, place):
    """A running server, until the end of the block. None, and a word why, where it is not
    installed."""
    make = {"nginx": _nginx, "caddy": _caddy, "gv": _gv}[name]
    if name != "gv" and not find(name):
        print(f"# {name} is not installed: it is left out", flush=True)
        yield None
        return
    with open(place.run / f"{name}.log", "w", encoding="utf-8") as log, make(place, log) as server:
        for address in filter(None, (server.plain, server.tls)):
            _wait_for(server, address)
        yield server


def _nginx(place, log):
    built = subprocess.run([find("nginx"), "-V"], stderr=subprocess.PIPE, text=True, check=True).stderr
    options = dict(word.split("=", 1) for word in built.split() if "=" in word)
    module = f"{options.get('--modules-path', '/usr/lib/nginx/modules')}/ngx_http_brotli_static_module.so"
    has_brotli = os.path.exists(module)
    config = _fill(
        "nginx.conf", place,
        modules=f"load_module {module};" if has_brotli else "",
        brotli="brotli_static on;" if has_brotli else "",
        # Started by root, its workers would not be, and could not read the sites.
        user="user root;" if os.geteuid() == 0 else "",
        workers=place.settings.server_cpu_count(),
        reuseport="reuseport" if place.settings.server_cpu_count() > 1 else "")
    command = [find("nginx"), "-p", place.run, "-e", place.run / "nginx.err", "-c", config.file, "-g", "daemon off;"]
    return _running("nginx", place, command, config, log, ["access log off, open files cached"])


def _caddy(place, log):
    config = _fill("Caddyfile", place)
    command = [find("caddy"), "run", "--adapter", "caddyfile", "--config", config.file]
    return _running("caddy", place, command, config, log, ["access log off"])


@contextlib.contextmanager
def _gv(place, log):
    """`gv up` on the data that the sites were deployed to. Its api and worker have nothing to do."""
    known = keys(place.settings.gv)
    settings, notes, tls, access_log = {}, [], None, None
    if {"edge.tls_listen", "edge.tls_cert", "edge.tls_key"} <= known:
        tls = f"127.0.0.1:{free_port()}"
        settings |= {"GV_EDGE__TLS_LISTEN": tls, "GV_EDGE__TLS_CERT": str(place.cert), "GV_EDGE__TLS_KEY": str(place.key)}
    else:
        notes.append("this gv has no edge.tls_listen: no TLS")
    if "edge.access_log" in known:
        access_log = place.run / "gv-access.log"
        settings["GV_EDGE__ACCESS_LOG"] = str(access_log)
        notes.append("access log on")
    else:
        notes.append("this gv has no edge.access_log: NO ACCESS LOG")
    gv = Gv(place.settings.gv, place.gv_folder, settings | place.gv_settings, before=place.settings.on_server(), log=log)
    try:
        server = Server("gv", gv.process, gv.edge, tls, notes)
        server.access_log, server.ops = access_log, gv.ops
        yield server
    finally:
        _end(gv.process)


def keys(gv):
    """The configuration keys that this gv knows."""
    env = {"PATH": os.environ["PATH"], "HOME": "/"}
    shown = subprocess.run([gv, "config", "show", "--json"], env=env, cwd="/", stdout=subprocess.PIPE, check=True).stdout
    return set(json.loads(shown))


class _Config:
    def __init__(self, file, plain, tls):
        self.file, self.plain, self.tls = file, plain, tls


def _fill(name, place, **more):
    """A configuration from ../conf, with this run's places and ports in it."""
    template = (CONFIGURATIONS / name).read_text(encoding="utf-8")
    plain, tls = free_port(), free_port()
    text = string.Template(template).substitute(
        run=place.run, sites=place.folder, cert=place.cert, key=place.key, plain=plain, tls=tls, **more)
    file = place.run / name
    file.write_text(text, encoding="utf-8")
    return _Config(file, f"127.0.0.1:{plain}", f"127.0.0.1:{tls}")


@contextlib.contextmanager
def _running(name, place, command, config, log, notes):
    env = os.environ | {"XDG_DATA_HOME": str(place.run), "XDG_CONFIG_HOME": str(place.run)}
    process = subprocess.Popen([*place.settings.on_server(), *command], cwd=place.run, env=env, stdout=log, stderr=log)
    try:
        yield Server(name, process, config.plain, config.tls, notes)
    finally:
        _end(process)


def _end(process):
    process.terminate()
    try:
        process.wait(ENDING_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_for(server, address):
    host, port = address.split(":")
    deadline = time.monotonic() + STARTING_S
    while True:
        server.expect_alive()
        try:
            socket.create_connection((host, int(port)), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise SystemExit(f"{server.name} does not listen on {address}") from None
            time.sleep(0.05)


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]
