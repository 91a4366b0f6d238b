"""Makes the projects once and keeps them, each as a Git repository, in a folder between runs.

The starters run with a Node.js of their own, from the package registry: they are pickier than the
projects that they make.
"""
import os
import pathlib
import shutil
import subprocess

NODE_MAJOR = 24


class Cache:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder).resolve()
        self.repositories = self.folder / "repositories"
        self.repositories.mkdir(parents=True, exist_ok=True)

    def tools(self):
        """A folder with what the starters and the browser need; its PATH is `path()`."""
        tools = self.folder / "tools"
        if not (tools / "done").exists():
            tools.mkdir(exist_ok=True)
            (tools / "package.json").write_text('{"private": true}')
            arch = {"x86_64": "x64", "aarch64": "arm64"}[os.uname().machine]
            subprocess.run(
                ["npm", "install", "--no-save", f"node-linux-{arch}@{NODE_MAJOR}", "npm@11", "playwright-core"],
                cwd=tools, check=True, env=dict(os.environ, PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD="1"))
            binaries = tools / "bin"
            shutil.rmtree(binaries, ignore_errors=True)
            binaries.mkdir()
            (binaries / "node").symlink_to(f"../node_modules/node-linux-{arch}/bin/node")
            for name in ("npm", "npx"):
                (binaries / name).symlink_to(f"../node_modules/npm/bin/{name}-cli.js")
            (tools / "done").write_text("")
        return tools

    def path(self):
        return f"{self.tools() / 'bin'}:{os.environ['PATH']}"

    def has(self, project):
        return (self.repositories / f"{project.name}.git" / "HEAD").exists()

    def make(self, project, log):
        """Makes a project's repository, unless it is there. Its output goes to `log`."""
        bare = self.repositories / f"{project.name}.git"
        if self.has(project):
            return bare
        made = self.folder / "making" / project.name
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        env = dict(os.environ, PATH=self.path(), CI="true", NG_CLI_ANALYTICS="false", NEXT_TELEMETRY_DISABLED="1")

        def run(line, cwd):
            subprocess.run(["sh", "-ec", line], cwd=cwd, env=env, check=True, stdin=subprocess.DEVNULL,
                           stdout=log, stderr=log)

        run(project.create, made)
        site = made / "site"
        if project.lock:
            run(project.lock, site)
        for left in site.rglob("node_modules"):
            shutil.rmtree(left, ignore_errors=True)
        shutil.rmtree(site / ".git", ignore_errors=True)
        who = "-c user.name=bench -c user.email=bench@localhost"
        run(f"git init -q -b main && git add -A && git {who} commit -qm 'A fresh project'", site)
        unfinished = bare.with_suffix(".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        run(f"git clone -q --bare . '{unfinished}'", site)
        unfinished.rename(bare)
        shutil.rmtree(made)
        return bare
