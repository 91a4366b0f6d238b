"""Tries the image: what it promises about itself, `gv up` inside, and the roles inside on services outside.

Run by scripts/test-image, with the image's name. Start with `main`.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
import zlib

HERE = pathlib.Path(__file__).resolve().parent
SCRIPTS = HERE.parents[1]
sys.path.insert(0, str(SCRIPTS))

from lib.loopback import Client, Gv, git_server

MAX_BYTES = 120_000_000
USER = 65532
PAGE = "<!doctype html><title>from the image</title>"
held, failed = [], []


def expect(promise, holds, seen=""):
    (held if holds else failed).append(promise)
    print(f"{'ok  ' if holds else 'FAIL'} {promise}{f': {seen}' if seen else ''}", flush=True)


def output(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def the_image(name):
    described = json.loads(output("buildah", "inspect", "--type", "image", name))
    config = described["Docker"]["config"]
    size = image_bytes()
    expect(f"it has at most {MAX_BYTES / 1e6:.0f} MB", size <= MAX_BYTES, f"{size / 1e6:.1f} MB")
    expect("its user is a number and not root", config["User"].split(":")[0].isdigit() and config["User"][0] != "0",
           config["User"])
    expect("it says how it is asked for its health", "health" in " ".join(config["Healthcheck"]["Test"]))
    expect("it is labelled", config["Labels"].get("org.opencontainers.image.title") == "gv")
    root = pathlib.Path(os.environ["GV_IMAGE_ROOT"])
    expect("it has bubblewrap and the certificates of authorities",
           (root / "usr/bin/bwrap").exists() and (root / "etc/ssl/certs/ca-certificates.crt").exists())
    there = [tool for tool in ("curl", "wget", "node", "npm", "gcc", "git", "python3")
             if any((root / folder / tool).exists() for folder in ("usr/bin", "usr/local/bin"))]
    expect("it has nothing else to speak of", not there, ", ".join(there))
    parts = packages(root / "usr/local/bin/gv")
    expect("it lists what gv is made of", "actix-web" in parts and len(parts) > 100, f"{len(parts)} packages")


def packages(program):
    """The list that cargo auditable writes into a binary, as auditors read it."""
    with tempfile.TemporaryDirectory() as folder:
        section, copy = pathlib.Path(folder, "section"), pathlib.Path(folder, "copy")
        done = subprocess.run(["objcopy", "--dump-section", f".dep-v0={section}", program, copy], check=False)
        if done.returncode or not section.exists():
            return set()
        return {package["name"] for package in json.loads(zlib.decompress(section.read_bytes()))["packages"]}


def image_bytes():
    """Of all files in it, each counted once."""
    seen, total = set(), 0
    for folder, _, files in os.walk(os.environ["GV_IMAGE_ROOT"]):
        for file in files:
            status = os.lstat(os.path.join(folder, file))
            if status.st_ino not in seen:
                seen.add(status.st_ino)
                total += status.st_size
    return total


def repository(folder):
    work = folder / "site"
    work.mkdir(parents=True)
    (work / "index.html").write_text(PAGE, encoding="utf-8")
    git = ["git", "-C", str(work), "-c", "user.name=gv", "-c", "user.email=gv@example.com"]
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "A page"]):
        subprocess.run([*git, *command], check=True)
    subprocess.run(["git", "clone", "-q", "--bare", str(work), str(folder / "site.git")], check=True)


def fetched(edge, url):
    """A page, asked for at an edge: names below localhost need no resolver."""
    host = url.split("//")[1].split("/")[0].split(":")[0]
    request = urllib.request.Request(f"http://{edge}/", headers={"Host": host})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


def whole(folder, git):
    """`gv up` in a container."""
    settings = {
        "GV_IMAGE_ROOT": os.environ["GV_IMAGE_ROOT"],
        "GV_IMAGE_WRITABLE": str(folder),
        "GV_SOURCE__ALLOW": git,
    }
    gv = Gv(HERE / "gv", folder, settings)
    try:
        deployment = gv.client.deploy({"repo_url": f"http://{git}/site.git"}, every_s=0.05)
        expect("gv up inside deploys and serves a site", fetched(gv.edge, deployment["url"]) == PAGE, deployment["url"])
        with urllib.request.urlopen(f"http://{gv.ops}/readyz", timeout=10) as answer:
            checks = json.loads(answer.read())["checks"]
        expect("it says how builds are held inside", True, json.dumps(checks.get("sandbox") or checks.get("executor")))
        container = next(one["id"] for one in json.loads(output("runc", "list", "--format", "json"))
                         if one["bundle"].startswith(str(folder)))
        orphan(container)
        began = time.monotonic()
    finally:
        gv.stop()
    expect("it ends in order when it is told to", gv.process.returncode == 0 and time.monotonic() - began < 20,
           f"{time.monotonic() - began:.1f} s, exit code {gv.process.returncode}")


def orphan(container):
    """Leaves a process to the container's first one, which has to bury it."""
    subprocess.run(["runc", "exec", container, "sh", "-c", "sleep 0.3 & exit 0"], check=True)
    time.sleep(1)
    states = output("runc", "exec", container, "sh", "-c", "cat /proc/[0-9]*/stat")
    dead = [line for line in states.splitlines() if line.rpartition(")")[2].split()[0] == "Z"]
    expect("nothing that died lies about in it", not dead, " ".join(dead))


def roles(folder, git):
    """api, workers and edges in containers of their own, on services outside."""
    check = [sys.executable, "-B", str(HERE / "main.py"), "--fleet", git]
    env = os.environ | {"GV": str(HERE / "gv"), "GV_IMAGE_WRITABLE": str(folder), "GV_SOURCE__ALLOW": git,
                        "TMPDIR": str(folder)}
    done = subprocess.run([SCRIPTS / "with-services", SCRIPTS / "fleet", *check], env=env, check=False)
    expect("gv api, gv worker and gv edge inside work on services outside", done.returncode == 0)


def fleet(git):
    """Within the fleet: deploys once, and looks at both edges."""
    where = pathlib.Path(os.environ["GV_FLEET"])
    addresses = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in where.glob("*.json")}
    api = addresses["api"]["api"].removeprefix("http://")
    client = Client(api, "")
    person = {"email": "ada@example.com", "password": "correct horse battery"}
    client.token = client.call("POST", "/auth/register", person)["access_token"]
    deployment = client.deploy({"repo_url": f"http://{git}/site.git"}, every_s=0.1)
    for edge in ("edge-1", "edge-2"):
        page = fetched(addresses[edge]["edge"].removeprefix("http://"), deployment["url"])
        if page != PAGE:
            raise SystemExit(f"{edge} shows {page!r}")


def main(name):
    the_image(name)
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="gv-image-test."))
    # PostgreSQL, as its own user, goes through it.
    scratch.chmod(0o755)
    try:
        repository(scratch / "git")
        server = git_server(scratch / "git")
        git = f"127.0.0.1:{server.server_address[1]}"
        for part in (whole, roles):
            folder = scratch / part.__name__
            folder.mkdir()
            os.chown(folder, USER, USER)
            part(folder, git)
        server.shutdown()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(f"{len(held)} held, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1] == "--fleet":
        fleet(sys.argv[2])
    else:
        sys.exit(main(sys.argv[1]))
