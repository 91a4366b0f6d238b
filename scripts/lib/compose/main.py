"""Tries compose.yaml: everything up, services alone, each service away and back, down and up again.

Run by scripts/test-compose within its engine, with a gv binary. Start with `main`.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from lib.loopback import Gv, git_server
from picture import Picture, containers, docker

SERVICES = ("postgres", "rabbitmq", "redis", "seaweedfs")
ROLES = ("api", "worker", "edge")
# By which containers find this machine: see scripts/lib/compose/engine.
MACHINE = "192.0.2.1"
PAGE = "<!doctype html><title>from compose</title>"
# Names what a build must not see, and says so where it does.
BUILD = 'mkdir -p out && echo built > out/index.html && (cat /secrets/gv.toml > out/stolen.txt || true)'
held, failed = [], []


def expect(promise, holds, seen=""):
    (held if holds else failed).append(promise)
    print(f"{'ok  ' if holds else 'FAIL'} {promise}{f': {seen}' if seen else ''}", flush=True)


def repositories(folder):
    """site.git is a page; built.git makes one."""
    files = {
        "site": {"index.html": PAGE},
        "built": {"gv.toml": f"[build]\nframework = \"none\"\nbuild_command = '''{BUILD}'''\noutput_dir = \"out\"\n"},
    }
    for name, contents in files.items():
        work = folder / name
        work.mkdir(parents=True)
        for file, text in contents.items():
            (work / file).write_text(text, encoding="utf-8")
        git = ["git", "-C", str(work), "-c", "user.name=gv", "-c", "user.email=gv@example.com"]
        for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "A page"]):
            subprocess.run([*git, *command], check=True)
        subprocess.run(["git", "clone", "-q", "--bare", str(work), str(folder / f"{name}.git")], check=True)


def comes_up(picture):
    took = picture.up()
    expect("docker compose up brings everything, healthy", True, f"{took:.0f} s")
    # Times of one form, in one zone: their text is their order.
    started = {name: picture.of(name)[0]["State"]["StartedAt"] for name in (*SERVICES, "migrate", *ROLES, "load-balancer")}
    ended = {name: picture.of(name)[0]["State"]["FinishedAt"] for name in ("secrets", "migrate")}
    expect("services start once their secrets are made", all(started[name] > ended["secrets"] for name in SERVICES))
    expect("the database is migrated before api and worker start",
           started["migrate"] > started["postgres"] and ended["migrate"] < min(started["api"], started["worker"]))
    expect("the load balancer comes last", started["load-balancer"] == max(started.values()))
    again = picture.up()
    expect("up again changes nothing", picture.of("api")[0]["State"]["StartedAt"] == started["api"], f"{again:.0f} s")


def keeps_secrets_apart(picture):
    for role in ROLES:
        verdicts = picture.doctor(role, role)
        ill = {check: verdict for check, verdict in verdicts.items() if verdict in ("broken", "doubtful")}
        expect(f"gv doctor finds the {role} well", verdicts and not ill, f"{len(verdicts)} checks {ill or ''}".strip())
    edge = picture.inside("edge", "cat", "/secrets/gv.toml")
    expect("an edge knows neither database nor queue nor a key that seals or signs",
           not any(word in edge for word in ("postgres", "amqp", "gvs1", "gvk1")))
    expect("a worker knows no key that signs", "gvk1" not in picture.inside("worker", "cat", "/secrets/gv.toml"))
    # A worker has to write there: with an edge's keys that is refused.
    expect("an edge's keys of the storage only read", picture.doctor("edge", "worker").get("storage") == "broken")
    said = picture.compose("logs", "--no-color")
    values = dict(line.split("=") for line in kept(picture).split())
    expect("no log shows a secret", not any(value in said for value in values.values()), f"{len(values)} of them")
    listening = {binding["HostIp"] for one in containers(f"label=com.docker.compose.project={picture.project}")
                 for bindings in one["NetworkSettings"]["Ports"].values() for binding in bindings or []}
    expect("ports are open to this machine alone", listening == {"127.0.0.1"}, ", ".join(listening))


def kept(picture):
    return picture.compose("run", "--rm", "-T", "--entrypoint", "cat", "secrets", "/secrets/kept/values")


def serves(picture, git):
    picture.client("register")
    expect("an account is made at localhost", True)
    status, text = picture.page("api.localhost", "/api/v1/openapi.json")
    expect("api.localhost is the API", status == 200 and json.loads(text)["openapi"], f"status {status}")
    site = picture.deploys(f"{git}/site.git", 30)
    expect("a site is deployed", picture.page("site.localhost") == (200, PAGE), site["url"])
    host, _, port = site["url"].removeprefix("http://").partition(":")
    expect("and has an address of its own", picture.page(host) == (200, PAGE) and port == str(picture.port))
    picture.deploys(f"{git}/built.git", 60)
    built, stolen = picture.page("built.localhost"), picture.page("built.localhost", "/stolen.txt")
    expect("a build runs, and sees no secret of its worker", built == (200, "built\n") and stolen == (200, ""))
    expect("a name that nothing goes by is not found", picture.page("nobody.localhost")[0] == 404)
    expect("nor one beyond localhost", picture.page("www.example.com")[0] == 404)
    room = picture.bytes_of("blobs")
    expect("storage takes the room of what is in it", room < 50_000_000, f"{room / 1e6:.1f} MB")


def scales(picture, git):
    picture.up("--scale", "worker=2", "--scale", "edge=2")
    expect("two workers and two edges come up", all(len(picture.of(role)) == 2 for role in ("worker", "edge")))
    for at in (0, 1):
        docker("stop", picture.of("edge")[at]["Id"])
        pages = {picture.page("site.localhost")[0] for _ in range(20)}
        expect(f"without edge {at + 1} the site is served by the other", pages == {200}, f"{pages}")
        docker("start", picture.of("edge")[at]["Id"])
        picture.up("--scale", "worker=2", "--scale", "edge=2")
    for at in (0, 1):
        docker("stop", picture.of("worker")[at]["Id"])
        picture.deploys(f"{git}/site.git", 30)
        docker("start", picture.of("worker")[at]["Id"])
    expect("without one worker the other builds", True)
    picture.up()
    expect("and down to one of each", all(len(picture.of(role)) == 1 for role in ("worker", "edge")))


def recovers(picture, git):
    for service in (*SERVICES, "load-balancer"):
        before = [picture.of(role)[0]["State"]["StartedAt"] for role in ROLES]
        began = time.monotonic()
        picture.compose("restart", service)
        picture.deploys(f"{git}/site.git", 90, force=True)
        took = time.monotonic() - began
        untouched = before == [picture.of(role)[0]["State"]["StartedAt"] for role in ROLES]
        expect(f"after a restart of {service} deployments go on, and gv was not restarted",
               picture.page("site.localhost") == (200, PAGE) and untouched, f"{took:.1f} s")


def holds_builds(picture, git):
    """Without Docker's profile, as hosts of older kernels have it; where users may make namespaces."""
    restricted = pathlib.Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
    if restricted.exists() and restricted.read_text(encoding="utf-8").strip() == "1":
        print("     this machine keeps namespaces from users: bubblewrap is not tried")
        return
    free = Picture(profile=False, GV_SOURCE__ALLOW=picture.settings["GV_SOURCE__ALLOW"])
    free.up()
    free.deploys(f"{git}/built.git", 60, force=True)
    expect("without Docker's profile bubblewrap holds builds", free.sandbox() == "bubblewrap")
    picture.up()


def survives(picture, git):
    mine, volumes = kept(picture), picture.volumes()
    picture.down()
    expect("down leaves no container, and no volume without a name",
           not containers(f"label=com.docker.compose.project={picture.project}")
           and all(name.startswith(f"{picture.project}_") for name in volumes), f"{len(volumes)} volumes")
    moved = Picture(port=8088, profile=picture.profile, GV_SOURCE__ALLOW=picture.settings["GV_SOURCE__ALLOW"])
    moved.up()
    expect("after down and up the secrets are the same", kept(moved) == mine)
    expect("and so are accounts and sites, on another port", moved.client() and moved.page("site.localhost") == (200, PAGE))
    url = moved.deploys(f"{git}/site.git", 30, force=True)["url"]
    expect("GV_PORT is in the addresses of sites", url.endswith(".localhost:8088"), url)
    moved.down("--volumes")
    expect("down --volumes leaves nothing", not picture.volumes())
    return mine


def serves_alone(picture, gv, folder, mine):
    """Only what gv stands on, for a gv outside."""
    picture.up(before=("--profile", "services"))
    there = {one["Config"]["Labels"]["com.docker.compose.service"] for one in containers()}
    expect("--profile services brings what gv stands on alone", there == {"secrets", *SERVICES}, ", ".join(sorted(there)))
    others = kept(picture)
    values = [{line.split("=")[1] for line in text.split()} for text in (mine, others)]
    expect("another installation has other secrets, all of them", not values[0] & values[1])
    configuration = folder / "outside.toml"
    configuration.write_text(picture.compose("run", "--rm", "-T", "secrets", "outside"), encoding="utf-8")
    subprocess.run([gv, "--config", str(configuration), "migrate"], check=True, cwd=folder, stdout=subprocess.DEVNULL)
    outside = Gv(gv, folder, {"GV_CONFIG": str(configuration), "GV_SOURCE__ALLOW": picture.settings["GV_SOURCE__ALLOW"]})
    try:
        said = subprocess.run([gv, "doctor", "--json"], check=False, cwd=folder, text=True, stdout=subprocess.PIPE,
                              env=os.environ | {"GV_CONFIG": str(configuration)}).stdout
        verdicts = {one["check"]: one["verdict"] for one in json.loads(said)}
        well = all(verdicts.get(check) == "well" for check in ("database writes", "queue", "cache", "storage"))
        expect("a gv outside finds them, by the configuration that is printed", well)
        outside.client.deploy({"repo_url": f"http://{picture.settings['GV_SOURCE__ALLOW']}/site.git"}, every_s=0.1)
        expect("and deploys on them", True)
    finally:
        outside.stop()
    picture.down("--volumes")


def main(gv):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="gv-compose-test."))
    try:
        repositories(folder / "git")
        server = git_server(folder / "git", "0.0.0.0")
        address = f"{MACHINE}:{server.server_address[1]}"
        # Landlock needs it, within Docker's profile.
        new = tuple(int(part) for part in os.uname().release.split(".")[:2]) >= (6, 12)
        git, picture = f"http://{address}", Picture(profile=new, GV_SOURCE__ALLOW=address)
        comes_up(picture)
        serves(picture, git)
        keeps_secrets_apart(picture)
        scales(picture, git)
        recovers(picture, git)
        holds_builds(picture, git)
        mine = survives(picture, git)
        serves_alone(picture, gv, folder, mine)
        server.shutdown()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{len(held)} held, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
