"""What the chart finds in a cluster: a server that answers as Kubernetes' API does, as far as Helm asks."""

import base64
import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import helm_python as helm

from renderings import CHART, SMALL, Rendering, check

KINDS = [{"name": "secrets", "singularName": "secret", "kind": "Secret", "namespaced": True, "verbs": ["get"]}]


@contextlib.contextmanager
def cluster(secrets):
    """The configuration to reach a cluster in which there are these Secrets."""

    class Api(BaseHTTPRequestHandler):
        def do_GET(self):
            path = self.path.split("?")[0]
            secret = path.removeprefix("/api/v1/namespaces/sites/secrets/")
            answers = {
                "/version": {"major": "1", "minor": "34", "gitVersion": "v1.34.0"},
                "/api": {"kind": "APIVersions", "versions": ["v1"]},
                "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
                "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": KINDS},
            }
            answer = answers.get(path)
            if answer is None and secret in secrets:
                data = {key: base64.b64encode(value.encode()).decode() for key, value in secrets[secret].items()}
                answer = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret, "namespace": "sites"}, "data": data}
            status = 200 if answer else 404
            answer = answer or {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
            "users": [{"name": "me", "user": {}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me", "namespace": "sites"}}],
        })
    finally:
        server.shutdown()


def rendered_in(secrets, values, upgrade):
    with cluster(secrets) as kubeconfig, helm.Chart.load(CHART) as chart:
        with helm.Config(kubeconfig_content=kubeconfig, namespace="sites") as config:
            files = config.render(chart, values, name="gv", namespace="sites", is_install=not upgrade, is_upgrade=upgrade)
    return Rendering("in a cluster", values, files=files)


def secrets_of(rendering):
    return {one["metadata"]["name"]: one["stringData"] for one in rendering.of("Secret")}


@check
def kept(all_of):
    """what was drawn by lot at the installation is kept by each upgrade; what is given as a value goes over it"""
    first = rendered_in({}, SMALL, upgrade=False)
    before = secrets_of(first)
    after = secrets_of(rendered_in(before, SMALL, upgrade=True))
    assert {name: after[name] for name in before} == before
    assert after["gv-migrate"]["GV_DATABASE__URL"] == before["gv"]["GV_DATABASE__URL"]
    given = "given-by-the-operator"
    values = {**SMALL, "services": {**SMALL["services"], "redis": {"enabled": True, "password": given}}}
    changed = secrets_of(rendered_in(before, values, upgrade=True))
    assert changed["gv-redis"]["password"] == given and f":{given}@" in changed["gv"]["GV_CACHE__URL"]
    assert changed["gv-postgresql"] == before["gv-postgresql"]
