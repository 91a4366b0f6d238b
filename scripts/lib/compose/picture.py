"""compose.yaml as its user handles it: `docker compose`, an account, deployments, pages.

Start with `Picture`.
"""
import http.client
import json
import os
import shlex
import subprocess
import time

from lib.loopback import Client

PERSON = {"email": "ada@example.com", "password": "correct horse battery"}
DOCKER = shlex.split(os.environ["GV_TEST_DOCKER"])


def docker(*arguments, check=True, **settings):
    """What it prints. Where it fails, what it says of that is ours to say."""
    done = subprocess.run([*DOCKER, *arguments], env=os.environ | settings, check=False, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    if check and done.returncode:
        raise SystemExit(f"docker {' '.join(arguments)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def containers(*filters):
    """What `docker inspect` says of each, of those that are there."""
    ids = docker("ps", "-aq", *(word for one in filters for word in ("--filter", one))).split()
    return json.loads(docker("inspect", *ids)) if ids else []


class Picture:
    """One installation of compose.yaml, in the checkout that is the working folder, with `settings`
    in its user's environment. With `profile=False` without Docker's profile for workers, as old kernels need it."""

    def __init__(self, project="gv", port=8000, profile=True, **settings):
        self.project, self.port, self.profile = project, port, profile
        self.settings = {"GV_PORT": str(port)} | settings
        folder = os.getcwd()
        files = ["compose.yaml"] if profile else ["compose.yaml", "deploy/compose/bubblewrap.yaml"]
        self.words = ["compose", "--project-directory", folder, "--project-name", project,
                      *(word for file in files for word in ("--file", f"{folder}/{file}"))]

    def compose(self, *arguments, **more):
        return docker(*self.words, *arguments, **(self.settings | more))

    def up(self, *arguments, before=()):
        """Until everything is healthy, or it is said that it will not be."""
        began = time.monotonic()
        self.compose(*before, "up", "--detach", "--no-build", "--wait", "--wait-timeout", "300", *arguments)
        return time.monotonic() - began

    def down(self, *arguments):
        self.compose("down", *arguments)

    def inside(self, service, *command):
        return self.compose("exec", "-T", service, *command)

    def of(self, service):
        """Its containers."""
        labels = (f"label=com.docker.compose.project={self.project}", f"label=com.docker.compose.service={service}")
        return containers(*labels)

    def sandbox(self):
        """What holds the builds of its worker."""
        return json.loads(self.inside("worker", "gv", "health", "worker", "--ready"))["checks"]["sandbox"]["detail"]

    def doctor(self, service, role):
        """Each check's verdict."""
        said = json.loads(self.compose("exec", "-T", service, "gv", "doctor", "--json", "--role", role, check=False))
        return {one["check"]: one["verdict"] for one in said}

    def volumes(self):
        """Of all projects, those without a name of their own included."""
        return set(docker("volume", "ls", "-q").split())

    def bytes_of(self, volume):
        place = docker("volume", "inspect", "--format", "{{.Mountpoint}}", f"{self.project}_{volume}").strip()
        return int(subprocess.check_output(["du", "-sB1", place], text=True).split()[0])

    def page(self, host, path="/"):
        """Status and text, by the load balancer: names below localhost need no resolver."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path, headers={"Host": f"{host}:{self.port}"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            return 0, str(error)
        finally:
            connection.close()

    def client(self, enter="login"):
        """The API's, by the machine's own name, with Ada's session."""
        client = Client(f"localhost:{self.port}", "")
        client.token = client.call("POST", f"/auth/{enter}", PERSON)["access_token"]
        return client

    def deploys(self, url, within_s, **more):
        """Deploys as its user: again where that is refused, until it is done."""
        deadline = time.monotonic() + within_s
        while True:
            try:
                return self.client().deploy({"repo_url": url} | more, every_s=0.1)
            except (SystemExit, OSError, http.client.HTTPException):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
