"""The ways in which the chart deploy/helm/gv is used, and what Helm's own engine makes of each.

Start with `RENDERINGS`. The checks are in the other files; each is a function whose docstring says
what holds, and is printed.
"""

import copy
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import helm_python as helm
import yaml

CHART = Path("deploy/helm/gv")
# A gv binary, or a path without one.
GV = Path(sys.argv[1]).absolute()
ROLES = ["api", "worker", "edge"]
KEY = "gvk1.example.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


def merged(*layers):
    """Values over values, as Helm lays them: maps are joined, all else is replaced."""
    result = {}
    for layer in layers:
        for key, value in layer.items():
            both = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if both else copy.deepcopy(value)
    return result


def values_file(name):
    return yaml.safe_load((CHART / name).read_text())


REQUIRED = {"image": {"repository": "registry.example.com/gv"}, "config": {"domain": "sites.example.com"}}
ADDRESSES = {
    "networkPolicy": {
        "egress": {name: {"to": [{"ipBlock": {"cidr": cidr}}]} for name, cidr in
                   [("database", "10.20.0.0/24"), ("queue", "10.20.1.0/24"), ("cache", "10.20.2.0/24")]}
    }
}
DEFAULT = merged(REQUIRED, ADDRESSES, {
    "config": {"blobs": {"url": "s3://gv-sites?region=eu-central-1"}},
    "secret": {"values": {
        "databaseUrl": "postgres://gv:pw@db.internal:5432/gv?sslmode=require",
        "queueUrl": "amqps://gv:pw@queue.internal:5671/gv",
        "cacheUrl": "rediss://:pw@cache.internal:6379/0",
        "blobsAccessKey": "access", "blobsSecretKey": "secret",
    }},
})
SMALL = merged(values_file("values-small.yaml"), REQUIRED)
MANAGED = merged(values_file("values-managed.yaml"), {"image": REQUIRED["image"]})
ACME = {"enabled": True, "terms_agreed": True, "email": "operator@example.com", "directory": "letsencrypt-staging",
        "challenges": ["http-01", "tls-alpn-01"], "orders_per_hour": 100}
OPTIONS = {
    "existing secret": {"secret": {"existingSecret": "mine", "values": {
        key: "" for key in ["databaseUrl", "queueUrl", "cacheUrl", "blobsAccessKey", "blobsSecretKey"]}}},
    "signing keys": {"secret": {"values": {
        "signingKeys": [KEY, KEY.replace("example", "older")], "secretKeys": [KEY.replace("gvk1", "gvs1")]}}},
    "names": {"fullnameOverride": "sites", "nameOverride": "pages", "commonLabels": {"team": "web"}},
    "digest": {"image": {"digest": "sha256:" + "0" * 64}, "imagePullSecrets": [{"name": "registry"}]},
    "ingress": {"ingress": {"enabled": True, "className": "nginx", "customDomains": True,
                            "annotations": {"cert-manager.io/cluster-issuer": "le"}, "tls": {
                                "apiSecretName": "api-tls",
                                "customDomains": [{"hosts": ["www.example.org"], "secretName": "www"}]}}},
    "ingress without TLS": {"ingress": {"enabled": True, "tls": {"enabled": False}}},
    "gateway": {"gateway": {"enabled": True, "parentRefs": [{"name": "public"}], "customDomains": True}},
    "own gateway": {"gateway": {"enabled": True, "create": {"enabled": True, "className": "cilium"}}},
    "load balancers": {role: {"service": {"type": "LoadBalancer", "loadBalancerClass": "example.com/nlb",
                                          "loadBalancerSourceRanges": ["0.0.0.0/0"]}} for role in ["api", "edge"]},
    "autoscaling by cpu": merged({role: {"autoscaling": {"enabled": True, "memoryPercent": 80}} for role in ROLES},
                                 {"worker": {"autoscaling": {"kind": "cpu"}}}),
    "autoscaling by an external metric": {"worker": {"autoscaling": {"enabled": True, "kind": "external"}}},
    "KEDA by Prometheus": {"worker": {"autoscaling": {"enabled": True, "minReplicas": 0, "keda": {
        "prometheus": {"serverAddress": "http://prometheus.monitoring:9090"}}}}},
    "KEDA by RabbitMQ": {"worker": {"autoscaling": {"enabled": True, "keda": {
        "trigger": "rabbitmq"}}}},
    "monitoring": {"serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
                   "dashboard": {"enabled": True}},
    "no network policies": {"networkPolicy": {"enabled": False}},
    "closed network": {"networkPolicy": {
        "ingressFrom": [{"namespaceSelector": {}}], "metricsFrom": [], "egress": {
            "blobs": {"to": [{"ipBlock": {"cidr": "10.20.3.0/24"}}], "ports": [9000]},
            "public": {"clusterCidrs": ["203.0.113.0/24", "2001:db8::/32"]}},
        "extraEgress": {"worker": [{"to": [{"ipBlock": {"cidr": "10.9.8.7/32"}}]}]}}},
    "TLS by files": {"edge": {"tls": {"enabled": True, "secretName": "wildcard", "hstsMaxAgeSeconds": 3600},
                              "service": {"type": "LoadBalancer"}},
                     "networkPolicy": {"ingressFrom": [{"podSelector": {}}]}},
    "TLS by ACME": {"edge": {"tls": {"enabled": True}, "service": {"type": "LoadBalancer"}},
                    "ingress": {"enabled": True}, "config": {"acme": ACME}},
    "TLS by ACME and DNS": {
        "edge": {"tls": {"enabled": True, "secretName": "others", "redirectHttp": False}, "service": {"tlsPort": 8443}},
        "gateway": {"enabled": True, "parentRefs": [{"name": "public"}]},
        "config": {"acme": ACME | {
            "directory": "https://ca.internal:14000/dir", "root_ca": "/etc/ssl/extra/ca.pem", "eab_key_id": "me",
            "on_demand": "none", "dns_provider": "rfc2136", "dns_server": "ns1.internal:5353", "dns_zone": "example.com",
            "dns_key_name": "gv", "dns_algorithm": "hmac-sha512", "dns_wait_s": 0}},
        "secret": {"values": {"acmeDnsKey": "c2VjcmV0", "acmeEabKey": "c2VjcmV0"}},
        "networkPolicy": {"egress": {
            "authority": {"to": [{"ipBlock": {"cidr": "10.20.4.0/24"}}], "ports": [14000]},
            "dnsServer": {"to": [{"ipBlock": {"cidr": "10.20.5.0/24"}}], "ports": [5353]}}}},
    "TLS everywhere": {role: {"tls": {"enabled": True}, "service": {"type": "LoadBalancer"}} for role in ["api", "edge"]}
    | {"config": {"acme": ACME | {"on_demand": "all", "dns_provider": "exec", "dns_exec": ["/opt/dns hook", "--zone"]}}},
    "a disk for edges": {"config": {"edge": {"disk_dir": "/var/lib/gv/pages", "disk_mb": 1536}},
                         "edge": {"dataVolume": {"size": "2Gi"}}},
    "no disruption budgets": {role: {"podDisruptionBudget": {"enabled": False}} for role in ROLES},
    "migration by a job": {"migrate": {"mode": "job"}},
    "migration by hand": {"migrate": {"mode": "off"}},
    "everything of a pod": {role: {
        "priorityClassName": "high", "runtimeClassName": "gvisor", "hostUsers": False,
        "nodeSelector": {"pool": "gv"}, "tolerations": [{"operator": "Exists"}],
        "affinity": {"nodeAffinity": {}}, "dnsConfig": {"options": [{"name": "ndots", "value": "2"}]},
        "podLabels": {"a": "b"}, "podAnnotations": {"c": "d"}, "serviceAccountAnnotations": {"e": "f"},
        "dataVolume": {"size": "30Gi", "storageClassName": "fast"},
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
        "extraEnvFrom": [{"secretRef": {"name": "more"}}],
        "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ssl/extra", "readOnly": True}],
    } for role in ROLES},
}
RENDERINGS = {"default": DEFAULT, "small": SMALL, "managed": MANAGED}
RENDERINGS |= {f"default, {name}": merged(DEFAULT, option) for name, option in OPTIONS.items()}
RENDERINGS |= {f"small, {name}": merged(SMALL, OPTIONS[name])
               for name in ["names", "KEDA by RabbitMQ", "no network policies", "everything of a pod", "TLS by ACME"]}


class Rendering:
    """What one release would consist of."""

    def __init__(self, name, values, upgrade=False, files=None, path=CHART):
        self.name, self.values = name, values
        if files is None:
            with helm.Chart.load(path) as chart:
                files = chart.render(values, name="gv", namespace="sites", is_install=not upgrade, is_upgrade=upgrade)
        self.files = dict(files)
        self.notes = self.files.pop("gv/templates/NOTES.txt")
        self.objects = [one for text in self.files.values() for one in yaml.safe_load_all(text) if one]

    def of(self, kind, component=None):
        return [one for one in self.objects if one["kind"] == kind and component in (None, component_of(one))]

    def one(self, kind, component):
        found = self.of(kind, component)
        assert len(found) == 1, f"{self.name}: {len(found)} objects {kind} of {component}"
        return found[0]

    def pods(self):
        for kind in ["Deployment", "StatefulSet", "Job"]:
            for owner in self.of(kind):
                yield owner, owner["spec"]["template"]


def component_of(one):
    return one["metadata"]["labels"].get("app.kubernetes.io/component")


def label_of(one):
    return f"{one['kind']} {one['metadata']['name']}"


def speaks_tls(rendering, role):
    return rendering.values.get(role, {}).get("tls", {}).get("enabled", False)


def gets_certificates(rendering, role):
    return speaks_tls(rendering, role) and rendering.values["config"].get("acme", {}).get("enabled", False)


def selects(selector, labels):
    return all(labels.get(key) == value for key, value in selector.items())


def env_of(pod):
    return {entry["name"]: entry for container in pod["spec"]["containers"] for entry in container.get("env", [])}


CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def check_with_gv(function):
    """A check that needs a gv binary, and is left out where there is none."""
    return check(function) if os.access(GV, os.X_OK) else function


def rendered_for(version, values):
    """As on a cluster of that version, which the engine cannot be told but in the chart's own text."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gv"
        shutil.copytree(CHART, path)
        asking = [text for text in path.rglob("*.tpl") if "Capabilities.KubeVersion.Version" in text.read_text()]
        assert asking, "the chart asks for no version"
        for text in asking:
            text.write_text(re.sub(r"\S*Capabilities\.KubeVersion\.Version", f'"v{version}.0"', text.read_text()))
        return Rendering(f"on {version}", values, path=path)
