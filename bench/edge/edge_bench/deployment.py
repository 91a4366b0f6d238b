"""Deploying sites to gv by the ordinary way: a repository for each, a Git server on loopback, and a
`gv up` that clones from it and is stopped again.

The data folder is kept between runs: a thousand deployments take minutes.
"""
import concurrent.futures
import hashlib
import pathlib
import shutil
import subprocess
import threading
import time

from lib.loopback import Gv, git_server

# Deployments under way at once. gv builds two at a time; the others wait.
AT_ONCE = 6
AUTHOR = b"bench <bench@localhost> 1700000000 +0000"


def repository(folder, files):
    """A bare repository with one commit of `files`, in one pack."""
    for name in ("objects", "refs"):
        (folder / name).mkdir(parents=True)
    (folder / "HEAD").write_text("ref: refs/heads/main\n", encoding="utf-8")
    (folder / "config").write_text("[core]\nrepositoryformatversion = 0\nbare = true\n", encoding="utf-8")
    stream = [b"commit refs/heads/main\ncommitter %s\ndata 6\na site\n" % AUTHOR]
    for path, content in files.items():
        stream.append(b"M 100644 inline %s\ndata %d\n%s\n" % (path.encode(), len(content), content))
    command = ["git", "-c", "fastimport.unpackLimit=0", "-c", "core.compression=1", "fast-import", "--quiet"]
    subprocess.run(command, cwd=folder, input=b"".join(stream), check=True)


def deploy_all(binary, folder, stamp, all_sites, say):
    """Makes `folder` the data of a gv that has `all_sites`, unless it is as `stamp` says. Returns
    the bytes of their files."""
    mark, data = folder / "deployed", folder / "gv"
    version = hashlib.sha256(pathlib.Path(binary).read_bytes()).hexdigest()[:16]
    if mark.exists():
        kept, by, size = mark.read_text(encoding="utf-8").split("\n")
        if kept == stamp:
            if by != version:
                say("the sites were deployed by another build of gv: REDEPLOY=1 deploys them anew")
            return int(size)
        mark.unlink()
    shutil.rmtree(data, ignore_errors=True)
    repositories = folder / "repositories"
    shutil.rmtree(repositories, ignore_errors=True)
    names, size, begin = [], 0, time.monotonic()
    for name, files in all_sites:
        repository(repositories / f"{name}.git", files)
        names.append(name)
        size += sum(map(len, files.values()))
    say(f"{len(names)} repositories of {size / 1e6:.0f} MB made in {time.monotonic() - begin:.0f} s")
    seconds = _deploy(binary, folder, names, say)
    say(f"{len(names)} sites deployed in {seconds:.0f} s, {seconds / len(names):.2f} s each")
    # gv has its own copies.
    shutil.rmtree(repositories)
    mark.write_text(f"{stamp}\n{version}\n{size}", encoding="utf-8")
    return size


def _deploy(binary, folder, names, say):
    server = git_server(folder / "repositories")
    address = f"127.0.0.1:{server.server_address[1]}"
    local = threading.local()
    begin = time.monotonic()
    with open(folder / "deploying.log", "w", encoding="utf-8") as log:
        gv = Gv(binary, folder, {"GV_SOURCE__ALLOW": address}, log=log)

        def deploy(name):
            if not hasattr(local, "client"):
                local.client = gv.client.another()
            url = f"http://{address}/{name}.git"
            local.client.deploy({"repo_url": url, "project": name}, every_s=0.05)

        pool = concurrent.futures.ThreadPoolExecutor(AT_ONCE)
        try:
            for done, _ in enumerate(pool.map(deploy, names), 1):
                if done % 100 == 0:
                    say(f"{done} of {len(names)} deployed")
        finally:
            # The first failure ends it; those that wait are not begun.
            pool.shutdown(cancel_futures=True)
            gv.stop()
            server.shutdown()
    return time.monotonic() - begin
