"""One project through `gv deploy`: how long its steps took, what was published, how it looks."""
import json
import os
import re
import subprocess
import time

FIELDS = ["name", "state", "recognised", "tools", "install_s", "build_s", "total_s", "files", "bytes", "loaded"]


def deploy(gv_binary, folder, gv, url, project, timeout_s):
    """Runs `gv deploy` as a person does, and returns the deployment and its log."""
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "GV_DATA_DIR": str(folder / "gv")}
    began = time.monotonic()
    command = [str(gv_binary), "deploy", url, *project.options]
    run = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=timeout_s, check=False)
    total = time.monotonic() - began
    # The one before may have been closed meanwhile: builds take their time.
    client = gv.client.another()
    deployment = client.call("GET", "/deployments?limit=1")["items"][0]
    deployment = client.call("GET", f"/deployments/{deployment['id']}")
    return deployment, run.stdout + run.stderr, total


def seconds(log):
    """Of installing and of building, as far as there was any. One "Done" a command, in their order:
    installing comes first."""
    done = [float(took) for took in re.findall(r"Done in ([0-9.]+) s\.", log)]
    installs = len(re.findall(r"Install: `", log))
    steps = {"install": done[0]} if installs and done else {}
    return steps | ({"build": done[-1]} if len(done) > installs else {})


def measured(project, deployment, log, total):
    steps = seconds(log)
    recognised = re.search(r"Recognised ([^\n]+?): ", log)
    tools = re.search(r"Builds with ([^\n]+?)\.(?:\n|$)", log)
    return {
        "name": project.name,
        "state": deployment["state"],
        "recognised": recognised.group(1) if recognised else "plain files",
        "tools": re.sub(r", downloaded now", "", tools.group(1)) if tools else "",
        "install_s": steps.get("install", ""),
        "build_s": steps.get("build", ""),
        "total_s": f"{total:.1f}",
        "files": deployment.get("files") or "",
        "bytes": deployment.get("bytes") or "",
        "loaded": "",
    }


def look(cache, chromium, url, project):
    """Loads the start page. Returns `yes`, or what went wrong."""
    script = os.path.join(os.path.dirname(__file__), "browser.mjs")
    command = ["node", script, str(cache.tools()), chromium, url]
    run = subprocess.run(command, env=dict(os.environ, PATH=cache.path()), capture_output=True, text=True,
                         timeout=180, check=False)
    try:
        seen = json.loads(run.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return f"no: the browser did not run: {run.stderr[-300:]}"
    if seen["problems"]:
        return f"no: {seen['problems'][0]}"
    if project.shows and project.shows not in seen["text"]:
        return f"no: the page shows {seen['text'][:100]!r}"
    return "yes" if seen["text"] else "no: the page is empty"
