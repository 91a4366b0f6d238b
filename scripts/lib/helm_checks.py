"""What the chart deploy/helm/gv promises, checked over what Helm's own engine renders.

Run by scripts/test-helm. Each check is a function below; what it is for is its docstring, which is
printed when it holds. Start with `RENDERINGS`, the ways in which the chart is used.
"""

import copy
import ipaddress
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import helm_python as helm
import kubernetes_validate
import yaml

CHART = Path("deploy/helm/gv")
GV = Path(sys.argv[1])
# The oldest that the chart supports, those about a change that it uses, and the newest known.
KUBERNETES = ["1.27", "1.30", "1.34", kubernetes_validate.latest_version()]
ROLES = ["api", "worker", "edge"]
CHART_SETS = {"data_dir", "api.listen", "edge.listen", "ops.listen", "worker.dir"}
SECRET_KEYS = {"database.url", "queue.url", "cache.url", "blobs.access_key", "blobs.secret_key", "auth.signing_keys"}
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
OPTIONS = {
    "existing secret": {"secret": {"existingSecret": "mine", "values": {
        key: "" for key in ["databaseUrl", "queueUrl", "cacheUrl", "blobsAccessKey", "blobsSecretKey"]}}},
    "signing keys": {"secret": {"values": {"signingKeys": [KEY, KEY.replace("example", "older")]}}},
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
    "KEDA by Prometheus": {"worker": {"autoscaling": {"enabled": True, "keda": {
        "prometheus": {"serverAddress": "http://prometheus.monitoring:9090"}}}}},
    "KEDA by RabbitMQ": {"worker": {"autoscaling": {"enabled": True, "minReplicas": 0, "keda": {
        "trigger": "rabbitmq"}}}},
    "monitoring": {"serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
                   "dashboard": {"enabled": True}},
    "no network policies": {"networkPolicy": {"enabled": False}},
    "closed network": {"networkPolicy": {
        "ingressFrom": [{"namespaceSelector": {}}], "metricsFrom": [], "egress": {
            "blobs": {"to": [{"ipBlock": {"cidr": "10.20.3.0/24"}}], "ports": [9000]},
            "public": {"clusterCidrs": ["203.0.113.0/24", "2001:db8::/32"]}},
        "extraEgress": {"worker": [{"to": [{"ipBlock": {"cidr": "10.9.8.7/32"}}]}]}}},
    "no disruption budgets": {role: {"podDisruptionBudget": {"enabled": False}} for role in ROLES},
    "migration by a job": {"migrate": {"mode": "job"}},
    "migration by hand": {"migrate": {"mode": "off"}},
    "everything of a pod": {role: {
        "priorityClassName": "high", "runtimeClassName": "gvisor", "hostUsers": False,
        "nodeSelector": {"pool": "gv"}, "tolerations": [{"operator": "Exists"}],
        "affinity": {"nodeAffinity": {}}, "dnsConfig": {"options": [{"name": "ndots", "value": "2"}]},
        "podLabels": {"a": "b"}, "podAnnotations": {"c": "d"}, "serviceAccountAnnotations": {"e": "f"},
        "dataVolume": {"size": "1Gi", "storageClassName": "fast"},
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
        "extraEnvFrom": [{"secretRef": {"name": "more"}}],
        "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ssl/extra", "readOnly": True}],
    } for role in ROLES},
}
RENDERINGS = {"default": DEFAULT, "small": SMALL, "managed": MANAGED}
RENDERINGS |= {f"default, {name}": merged(DEFAULT, option) for name, option in OPTIONS.items()}
RENDERINGS |= {f"small, {name}": merged(SMALL, OPTIONS[name])
               for name in ["names", "KEDA by RabbitMQ", "no network policies", "everything of a pod"]}


class Rendering:
    """What one release would consist of."""

    def __init__(self, name, values, upgrade=False):
        self.name, self.values = name, values
        with helm.Chart.load(CHART) as chart:
            self.files = chart.render(values, name="gv", namespace="sites", is_install=not upgrade, is_upgrade=upgrade)
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


def selects(selector, labels):
    return all(labels.get(key) == value for key, value in selector.items())


def env_of(pod):
    return {entry["name"]: entry for container in pod["spec"]["containers"] for entry in container.get("env", [])}


CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


# --- by Helm and Kubernetes ------------------------------------------------------------------------


@check
def linted(all_of):
    """Helm's linter has nothing to say, about any of the values"""
    for name, values in RENDERINGS.items():
        for version in ["v1.27.0", "v1.36.0"]:
            report = helm.lint(CHART, values, strict=True, namespace="sites", kube_version=version)
            # 1 is for information: an icon would be nice.
            bad = [m for m in report["messages"] if m["severity"] > 1]
            assert not bad and not report["errors"], f"{name}: {bad or report['errors']}"


@check
def valid(all_of):
    """each object is valid by Kubernetes' own schemas, of the oldest version supported to the newest"""
    seen = 0
    for rendering in all_of:
        for one in rendering.objects:
            if "." in one["apiVersion"].split("/")[0] and not one["apiVersion"].split("/")[0].endswith("k8s.io"):
                assert_custom(one)
                continue
            if one["apiVersion"].startswith("gateway."):
                assert_custom(one)
                continue
            for version in KUBERNETES:
                known = copy.deepcopy(one)
                if version == "1.27":
                    # Rendered for a newer cluster; see `stop_gently`.
                    known = json.loads(json.dumps(known).replace('"sleep": {"seconds": 10}', '"exec": {"command": []}'))
                try:
                    kubernetes_validate.validate(known, version, strict=True)
                except kubernetes_validate.ValidationError as error:
                    path = ".".join(map(str, error.path))
                    raise AssertionError(f"{rendering.name}: {label_of(one)} in {version}: {path}: {error.message}")
            seen += 1
    assert seen > 500


def assert_custom(one):
    """Objects whose schemas Kubernetes does not bring: that they have what their controllers ask for."""
    spec, kind = one["spec"], one["kind"]
    if kind == "ServiceMonitor":
        assert spec["selector"]["matchLabels"] and spec["endpoints"][0]["port"] == "ops"
    elif kind == "ScaledObject":
        assert spec["scaleTargetRef"]["name"].endswith("-worker") and spec["minReplicaCount"] <= spec["maxReplicaCount"]
        [trigger] = spec["triggers"]
        assert all(isinstance(value, str) and value for value in trigger["metadata"].values()), trigger
        needed = {"prometheus": ["serverAddress", "query", "threshold"],
                  "rabbitmq": ["protocol", "queueName", "mode", "value"]}[trigger["type"]]
        assert set(needed) == set(trigger["metadata"]), trigger
    elif kind == "TriggerAuthentication":
        assert spec["secretTargetRef"][0]["key"] == "GV_QUEUE__URL"
    elif kind == "Gateway":
        assert spec["gatewayClassName"] and {l["name"] for l in spec["listeners"]} >= {"domain", "sites"}
    elif kind == "HTTPRoute":
        assert spec["parentRefs"] and all(p["name"] for p in spec["parentRefs"])
        assert all(rule.get("backendRefs") or rule.get("filters") for rule in spec["rules"])
    else:
        raise AssertionError(f"what is {kind}?")


@check
def unique(all_of):
    """no two objects of a release have one name, and all are in its namespace"""
    for rendering in all_of:
        names = [label_of(one) for one in rendering.objects]
        assert len(names) == len(set(names)), f"{rendering.name}: {sorted(names)}"
        for one in rendering.objects:
            assert one["metadata"]["namespace"] == "sites", label_of(one)
            assert len(one["metadata"]["name"]) <= 63


def refused(values, *words):
    """Values that neither schema nor chart takes, and what the refusal must name."""
    try:
        Rendering("refused", values)
    except helm.HelmError as error:
        text = str(error)
        for word in words:
            assert word in text, f"{word} is not in: {text}"
        return
    raise AssertionError(f"taken, although {words} should be refused")


@check
def wrong_values(all_of):
    """wrong values are refused by the schema, which names the key"""
    for wrong, *words in [
        ({"edge": {"replica": 3}}, "/edge", "replica"),
        ({"replicas": 3}, "replicas"),
        ({"api": {"replicas": "three"}}, "/api/replicas", "integer"),
        ({"api": {"replicas": -1}}, "/api/replicas"),
        ({"config": {"worker": {"lease": 30}}}, "/config/worker", "'lease'"),
        ({"config": {"worker": {"lease_s": 1}}}, "/config/worker/lease_s"),
        ({"config": {"edge": {"memory_mb": "512"}}}, "/config/edge/memory_mb", "integer"),
        ({"config": {"edge": {"memory_mb": 0.5}}}, "/config/edge/memory_mb", "integer"),
        ({"config": {"auth": {"registration": "maybe"}}}, "/config/auth/registration"),
        ({"config": {"database": {"url": "postgres://x"}}}, "/config", "'database'"),
        ({"config": {"ops": {"listen": "0.0.0.0:1"}}}, "/config", "'ops'"),
        ({"config": {"domain": "https://example.com"}}, "/config/domain"),
        ({"config": {"domain": "Example.com"}}, "/config/domain"),
        ({"config": {"blobs": {"url": "https://s3.example.com/x"}}}, "/config/blobs/url"),
        ({"secret": {"values": {"databaseUrl": "mysql://x"}}}, "/secret/values/databaseUrl"),
        ({"secret": {"values": {"signingKeys": ["secret"]}}}, "/secret/values/signingKeys/0"),
        ({"secret": {"values": {"signingKeys": KEY}}}, "/secret/values/signingKeys", "array"),
        ({"image": {"digest": "latest"}}, "/image/digest"),
        ({"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy"),
        ({"api": {"service": {"type": "ExternalName"}}}, "/api/service/type"),
        ({"api": {"probes": {"readiness": {"path": "/"}}}}, "/api/probes/readiness/path"),
        ({"worker": {"service": {"port": 80}}}, "/worker", "'service'"),
        ({"worker": {"autoscaling": {"kind": "magic"}}}, "/worker/autoscaling/kind"),
        ({"worker": {"autoscaling": {"kind": "cpu", "minReplicas": 0}}}, "/worker/autoscaling/minReplicas"),
        ({"worker": {"dataVolume": {"size": "20 GB"}}}, "/worker/dataVolume/size"),
        ({"worker": {"resources": {"limits": {"memory": "8GB"}}}}, "/worker/resources/limits/memory"),
        ({"edge": {"podDisruptionBudget": {"maxUnavailable": "0%"}}}, "/edge/podDisruptionBudget/maxUnavailable"),
        ({"migrate": {"mode": "sometimes"}}, "/migrate/mode"),
        ({"networkPolicy": {"egress": {"git": {}}}}, "/networkPolicy/egress", "'git'"),
        ({"networkPolicy": {"ingressFrom": [{"podselector": {}}]}}, "/networkPolicy/ingressFrom/0", "podselector"),
        ({"networkPolicy": {"egress": {"cache": {"to": [{"ipBlock": {"cidr": "10.0.0.1"}}]}}}},
         "/networkPolicy/egress/cache/to/0/ipBlock/cidr"),
        ({"services": {"postgresql": {"password": "short"}}}, "/services/postgresql/password"),
        ({"services": {"mysql": {"enabled": True}}}, "/services", "'mysql'"),
        ({"ingress": {"enabled": "yes"}}, "/ingress/enabled", "boolean"),
        ({"serviceMonitor": {"interval": "often"}}, "/serviceMonitor/interval"),
    ]:
        refused(merged(DEFAULT, wrong), *words)


@check
def missing_values(all_of):
    """what is missing or does not go together is refused by its key, all of it at once"""
    refused({}, "image.repository:", "config.domain:", "config.blobs.url:", "secret.values.databaseUrl:",
            "secret.values.queueUrl:", "secret.values.cacheUrl:", "secret.values.blobsAccessKey:",
            "secret.values.blobsSecretKey:", "networkPolicy.egress.database.to:", "networkPolicy.egress.queue.to:",
            "networkPolicy.egress.cache.to:")
    for wrong, word in [
        ({"ingress": {"enabled": True}, "gateway": {"enabled": True, "parentRefs": [{"name": "x"}]}}, "gateway.enabled:"),
        ({"gateway": {"enabled": True}}, "gateway.parentRefs:"),
        ({"gateway": {"enabled": True, "create": {"enabled": True}}}, "gateway.create.className:"),
        ({"secret": {"existingSecret": "mine"}}, "secret.values.databaseUrl:"),
        ({"services": {"redis": {"enabled": True}}}, "secret.values.cacheUrl:"),
        ({"edge": {"terminationGracePeriodSeconds": 10}}, "edge.terminationGracePeriodSeconds:"),
        ({"api": {"autoscaling": {"enabled": True, "minReplicas": 11}}}, "api.autoscaling.maxReplicas:"),
        ({"worker": {"autoscaling": {"enabled": True}}}, "worker.autoscaling.keda.prometheus.serverAddress:"),
    ]:
        refused(merged(DEFAULT, wrong), word)
    refused(merged(SMALL, {"secret": {"existingSecret": "mine"}}), "secret.existingSecret:")


# --- pods ------------------------------------------------------------------------------------------


@check
def restricted(all_of):
    """every pod keeps to the restricted profile: no root, no privilege, nothing to write but sized folders"""
    for rendering in all_of:
        for owner, pod in rendering.pods():
            where, spec = f"{rendering.name}: {label_of(owner)}", pod["spec"]
            security = spec["securityContext"]
            assert security["runAsNonRoot"] is True and security["runAsUser"] > 0, where
            assert security["seccompProfile"] == {"type": "RuntimeDefault"}, where
            assert not any(spec.get(key) for key in ["hostNetwork", "hostPID", "hostIPC"]), where
            for container in spec["containers"] + spec.get("initContainers", []):
                inner = container["securityContext"]
                assert inner["allowPrivilegeEscalation"] is False and inner["readOnlyRootFilesystem"] is True, where
                assert inner["capabilities"] == {"drop": ["ALL"]}, where
                assert "privileged" not in inner and container["resources"]["limits"]["memory"], where
                mounted = {mount["name"] for mount in container["volumeMounts"]}
                claimed = {claim["metadata"]["name"] for claim in owner["spec"].get("volumeClaimTemplates", [])}
                assert mounted == {volume["name"] for volume in spec["volumes"]} | claimed, where
            for volume in spec["volumes"]:
                assert "hostPath" not in volume, where
                assert "emptyDir" not in volume or volume["emptyDir"]["sizeLimit"], where
            if component_of(owner) in ROLES + ["migrate"]:
                assert (security["runAsUser"], security["runAsGroup"], security["fsGroup"]) == (65532,) * 3, where


@check
def no_token(all_of):
    """no pod has a token for Kubernetes, nor the addresses of its Services as variables"""
    for rendering in all_of:
        accounts = {one["metadata"]["name"]: one for one in rendering.of("ServiceAccount")}
        assert all(one["automountServiceAccountToken"] is False for one in accounts.values())
        for owner, pod in rendering.pods():
            assert pod["spec"]["automountServiceAccountToken"] is False, label_of(owner)
            assert pod["spec"]["enableServiceLinks"] is False, label_of(owner)
            assert pod["spec"]["serviceAccountName"] in accounts, label_of(owner)
        assert not any("Role" in one["kind"] for one in rendering.objects)


@check
def secrets_by_role(all_of):
    """each role sees the secrets of the services that it speaks to, and no others"""
    blobs = {"GV_BLOBS__ACCESS_KEY", "GV_BLOBS__SECRET_KEY"}
    sees = {
        "api": {"GV_DATABASE__URL", "GV_QUEUE__URL", "GV_CACHE__URL", "GV_AUTH__SIGNING_KEYS"} | blobs,
        "worker": {"GV_DATABASE__URL", "GV_QUEUE__URL", "GV_CACHE__URL"} | blobs,
        "edge": {"GV_CACHE__URL"} | blobs,
        "migrate": {"GV_DATABASE__URL"},
    }
    for rendering in all_of:
        made = {one["metadata"]["name"]: one["stringData"] for one in rendering.of("Secret")}
        for owner, pod in rendering.pods():
            role = component_of(owner)
            if role not in sees:
                continue
            refs = {name: entry["valueFrom"]["secretKeyRef"] for name, entry in env_of(pod).items() if "valueFrom" in entry}
            assert set(refs) == sees[role], f"{rendering.name}: {role} sees {sorted(refs)}"
            assert not any("secret" in volume for volume in pod["spec"]["volumes"]), role
            for name, ref in refs.items():
                assert ref["key"] == name
                if rendering.values.get("secret", {}).get("existingSecret"):
                    assert ref["name"] == rendering.values["secret"]["existingSecret"]
                else:
                    assert made[ref["name"]][name], f"{rendering.name}: {ref['name']} has no {name}"
        for owner, pod in rendering.pods():
            # A value may only come by reference: objects of pods are read by more people than secrets.
            assert "pw@" not in json.dumps(pod) and "gvk1." not in json.dumps(pod), label_of(owner)


@check
def probes(all_of):
    """each role is probed on its ops port, joins when it can do its work, and outlives an outage of what all share"""
    for rendering in all_of:
        for role in ROLES:
            [container] = rendering.one("Deployment", role)["spec"]["template"]["spec"]["containers"]
            ports = {port["name"]: port["containerPort"] for port in container["ports"]}
            assert ports["ops"] == 9090 and container["args"] == [role]
            paths = {}
            for name in ["startup", "readiness", "liveness"]:
                probe = container[f"{name}Probe"]
                assert probe["httpGet"]["port"] == "ops"
                paths[name] = probe["httpGet"]["path"]
            assert paths["liveness"] == "/healthz", "a restart mends no database"
            if role == "worker":
                assert paths["readiness"] == "/readyz"
            else:
                assert (paths["startup"], paths["readiness"]) == ("/readyz", "/healthz")


@check
def stop_gently(all_of):
    """a pod that ends is withdrawn first, and has the time that gv promises to need at most"""
    for rendering in all_of:
        for role, needs in [("api", 30), ("edge", 30), ("worker", 45)]:
            spec = rendering.one("Deployment", role)["spec"]["template"]["spec"]
            sleep = spec["containers"][0].get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
            assert spec["terminationGracePeriodSeconds"] >= sleep + needs, role
            assert (sleep >= 5) == (role != "worker"), role


@check
def spread_and_kept(all_of):
    """spread, disruption budget, Service and scaling of a role all mean its pods"""
    for rendering in all_of:
        enabled = rendering.name != "default, no disruption budgets"
        for role in ROLES:
            deployment = rendering.one("Deployment", role)
            labels = deployment["spec"]["template"]["metadata"]["labels"]
            assert selects(deployment["spec"]["selector"]["matchLabels"], labels)
            others = [o for o, _ in rendering.pods() if o is not deployment]
            for other in others:
                assert not selects(deployment["spec"]["selector"]["matchLabels"],
                                   other["spec"]["template"]["metadata"]["labels"]), label_of(other)
            for constraint in deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]:
                assert selects(constraint["labelSelector"]["matchLabels"], labels)
            budgets = rendering.of("PodDisruptionBudget", role)
            assert len(budgets) == enabled
            assert all(b["spec"]["selector"] == deployment["spec"]["selector"] for b in budgets)
            scaled = [one for one in rendering.objects
                      if one.get("spec", {}).get("scaleTargetRef", {}).get("name") == deployment["metadata"]["name"]]
            assert len(scaled) == ("replicas" not in deployment["spec"]), f"{rendering.name}: {role}: two would scale it"
        for service in rendering.of("Service"):
            matched = [pod for _, pod in rendering.pods() if selects(service["spec"]["selector"], pod["metadata"]["labels"])]
            assert len(matched) == (3 if component_of(service) == "ops" else 1), label_of(service)
            for pod, port in itertools.product(matched, service["spec"]["ports"]):
                [container] = pod["spec"]["containers"]
                assert port["targetPort"] in {p["name"] for p in container["ports"]}, label_of(service)


# --- networks --------------------------------------------------------------------------------------

PRIVATE = [ipaddress.ip_network(n) for n in [
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "fc00::/7",
    "fe80::/10", "::1/128"]]
SPEAKS = {"api": "database queue cache blobs", "worker": "database queue cache blobs", "edge": "cache blobs",
          "migrate": "database"}
OWN = {"database": ("postgresql", 5432), "queue": ("rabbitmq", 5672), "cache": ("redis", 6379), "blobs": ("seaweedfs", 8333)}


def is_public(peer):
    """An address block that is the whole network but for everything private."""
    block = peer.get("ipBlock", {})
    if block.get("cidr") not in ("0.0.0.0/0", "::/0"):
        return False
    version = ipaddress.ip_network(block["cidr"]).version
    excepted = [ipaddress.ip_network(n) for n in block["except"]]
    assert all(network.version == version for network in excepted), block
    return all(any(private.subnet_of(network) for network in excepted) for private in PRIVATE if private.version == version)


@check
def network(all_of):
    """each role may call what the design's table lists: the edge cache and blobs; no build a cluster's address"""
    for rendering in all_of:
        if not rendering.values.get("networkPolicy", {}).get("enabled", True):
            assert not rendering.of("NetworkPolicy")
            continue
        values = merged(values_file("values.yaml"), rendering.values)
        for owner, pod in rendering.pods():
            policies = [p for p in rendering.of("NetworkPolicy")
                        if selects(p["spec"]["podSelector"]["matchLabels"], pod["metadata"]["labels"])]
            assert len(policies) == 1 and set(policies[0]["spec"]["policyTypes"]) == {"Ingress", "Egress"}, label_of(owner)
            [policy], role = policies, component_of(owner)
            if role not in SPEAKS:
                assert policy["spec"]["egress"] == [] and policy["spec"]["ingress"], label_of(owner)
                continue
            dns, *rules = policy["spec"]["egress"]
            assert dns["to"] == values["networkPolicy"]["dns"]["to"] and {p["port"] for p in dns["ports"]} == {53}
            rules = [rule for rule in rules if rule not in values["networkPolicy"]["extraEgress"][role]]
            expected = SPEAKS[role].split() + ["public"] * (role == "worker")
            assert len(rules) == len(expected), f"{rendering.name}: {role} has {len(rules)} ways out"
            for rule, service in zip(rules, expected):
                where, ports = f"{rendering.name}: {role} to {service}", [p["port"] for p in rule["ports"]]
                named = values["networkPolicy"]["egress"][service] if service != "public" else {}
                own, own_port = OWN.get(service, (None, None))
                if own and values["services"][own]["enabled"]:
                    [peer] = rule["to"]
                    matched = [component_of(o) for o, p in rendering.pods()
                               if selects(peer["podSelector"]["matchLabels"], p["metadata"]["labels"])]
                    assert matched == [own] and ports == [own_port], where
                elif named.get("to"):
                    assert rule["to"] == named["to"] and ports == named["ports"], where
                else:
                    assert service in ("blobs", "public") and all(is_public(peer) for peer in rule["to"]), where
                    assert set(ports) <= {80, 443}, where


@check
def called_by(all_of):
    """the chart's own services are called by the roles that need them alone; nobody calls a worker or a migration"""
    for rendering in all_of:
        for policy in rendering.of("NetworkPolicy"):
            component = component_of(policy)
            rules = policy["spec"]["ingress"]
            if component == "migrate":
                assert rules == []
            if component == "worker":
                assert all(rule["from"] and [p["port"] for p in rule["ports"]] == ["ops"] for rule in rules)
            for service, (own, _) in OWN.items():
                if component == own:
                    [rule] = rules
                    callers = {peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
                               for peer in rule["from"] if "podSelector" in peer}
                    assert callers == {role for role, speaks in SPEAKS.items() if service in speaks.split()}, own


@check
def ways_in(all_of):
    """api.<domain> and <domain> lead to the api, *.<domain> to the edge, by Ingress and by Gateway alike"""
    for rendering in all_of:
        domain, leads = rendering.values["config"]["domain"], {}
        for ingress in rendering.of("Ingress"):
            for rule in ingress["spec"]["rules"]:
                leads[rule.get("host")] = rule["http"]["paths"][0]["backend"]["service"]["name"].split("-")[-1]
            for tls in ingress["spec"].get("tls", []):
                assert tls["hosts"] and tls["secretName"]
        for route in rendering.of("HTTPRoute"):
            for rule in route["spec"]["rules"]:
                for backend in rule.get("backendRefs", []):
                    for host in route["spec"].get("hostnames", [None]):
                        leads[host] = backend["name"].split("-")[-1]
        if leads:
            assert leads.pop(None, "edge") == "edge"
            assert leads == {f"api.{domain}": "api", domain: "api", f"*.{domain}": "edge"}, f"{rendering.name}: {leads}"
            ways = rendering.of("Ingress") and rendering.of("HTTPRoute")
            assert not ways


# --- secrets, migration, configuration -------------------------------------------------------------


@check
def drawn_by_lot(all_of):
    """passwords are drawn anew for each installation, long, and the same in all objects of one"""
    first, second = Rendering("first", SMALL), Rendering("second", SMALL)
    passwords = [{component_of(s): s["stringData"]["password"] for s in r.of("Secret") if "password" in s["stringData"]}
                 for r in (first, second)]
    for rendering, own in zip((first, second), passwords):
        assert set(own) == {"postgresql", "rabbitmq", "redis", "seaweedfs"}
        assert all(len(word) >= 32 for word in own.values()) and len(set(own.values())) == 4
        keys = rendering.one("Secret", None)["stringData"] if False else main_secret(rendering)
        assert f":{own['postgresql']}@" in keys["GV_DATABASE__URL"] and f":{own['rabbitmq']}@" in keys["GV_QUEUE__URL"]
        assert f":{own['redis']}@" in keys["GV_CACHE__URL"] and keys["GV_BLOBS__SECRET_KEY"] == own["seaweedfs"]
        files = {component_of(s): s["stringData"] for s in rendering.of("Secret")}
        assert own["rabbitmq"] in files["rabbitmq"]["50-gv.conf"] and own["redis"] in files["redis"]["redis.conf"]
        identity = json.loads(files["seaweedfs"]["s3.json"])["identities"][0]["credentials"][0]
        assert (identity["accessKey"], identity["secretKey"]) == (keys["GV_BLOBS__ACCESS_KEY"], own["seaweedfs"])
        for secret in rendering.of("Secret"):
            assert secret["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert not set(passwords[0].values()) & set(passwords[1].values())
    assert re.fullmatch(r"gvk1\.\w{8}\.[\w-]{43}", main_secret(first)["GV_AUTH__SIGNING_KEYS"])


def main_secret(rendering):
    [found] = [s["stringData"] for s in rendering.of("Secret") if component_of(s) is None]
    return found


@check
def rolled(all_of):
    """pods are replaced when what they read changes, and only then: the edge not for another database"""
    def sums(values):
        rendering = Rendering("rolled", values)
        return {role: rendering.one("Deployment", role)["spec"]["template"]["metadata"]["annotations"] for role in ROLES}
    fixed = merged(DEFAULT, OPTIONS["signing keys"])
    before = sums(fixed)
    assert sums(fixed) == before
    moved = sums(merged(fixed, {"secret": {"values": {"databaseUrl": "postgres://gv:other@db.internal:5432/gv"}}}))
    assert [role for role in ROLES if moved[role] != before[role]] == ["api", "worker"]
    tuned = sums(merged(fixed, {"config": {"edge": {"memory_mb": 700}}}))
    assert all(tuned[role] != before[role] for role in ROLES)


@check
def migrated(all_of):
    """the migration runs before all else with what it needs as hooks; beside it where the database comes along"""
    hooks = {"Job", "ServiceAccount", "NetworkPolicy", "Secret"}

    def is_hook(one):
        return one["metadata"].get("annotations", {}).get("helm.sh/hook") == "pre-install,pre-upgrade"

    for name, values, upgrade, mode in [
        ("default", DEFAULT, False, "hook"), ("default, upgraded", DEFAULT, True, "hook"), ("managed", MANAGED, False, "hook"),
        ("small", SMALL, False, "job"), ("small, upgraded", SMALL, True, "hook"),
        ("by a job", merged(DEFAULT, OPTIONS["migration by a job"]), True, "job"),
    ]:
        rendering = Rendering(name, values, upgrade)
        [job] = rendering.of("Job", "migrate")
        pod = job["spec"]["template"]["spec"]
        assert pod["containers"][0]["args"] == ["migrate"] and job["spec"]["activeDeadlineSeconds"]
        assert is_hook(job) == (mode == "hook"), name
        # A hook must not ask for anything that is only made after it.
        needed = {("ServiceAccount", pod["serviceAccountName"])}
        needed |= {("Secret", e["valueFrom"]["secretKeyRef"]["name"]) for e in env_of(rendering_pod(job)).values() if "valueFrom" in e}
        needed |= {("ConfigMap", v["configMap"]["name"]) for v in pod["volumes"] if "configMap" in v}
        there = {(one["kind"], one["metadata"]["name"]): one for one in rendering.objects}
        for key in needed:
            if key in there:
                assert not is_hook(job) or is_hook(there[key]), f"{name}: {key} comes after the hook"
            else:
                assert key == ("Secret", values["secret"]["existingSecret"]), f"{name}: {key} is missing"
        assert {one["kind"] for one in rendering.objects if is_hook(one)} <= (hooks if mode == "hook" else set())
        weights = {one["kind"]: int(one["metadata"]["annotations"]["helm.sh/hook-weight"]) for one in rendering.objects if is_hook(one)}
        assert all(weight < weights["Job"] for kind, weight in weights.items() if kind != "Job")
    one, other = (Rendering("job", merged(SMALL, {"image": {"tag": tag}})).of("Job")[0]["metadata"]["name"] for tag in "ab")
    assert one != other, "a Job cannot be changed"
    assert not Rendering("by hand", merged(DEFAULT, OPTIONS["migration by hand"])).of("Job")


def rendering_pod(owner):
    return owner["spec"]["template"]


def flat(table):
    return {f"{section}.{key}" if isinstance(value, dict) else section
            for section, value in table.items() for key in (value if isinstance(value, dict) else [None])}


@check
def every_key(all_of):
    """values know each key of config/gv.toml that is neither secret nor the chart's own, and no other"""
    known = flat(tomllib.loads(Path("config/gv.toml").read_text()))
    with helm.Chart.load(CHART) as chart:
        schema = chart.schema["properties"]["config"]["properties"]
    given = {f"{section}.{key}" if "properties" in inner else section
             for section, inner in schema.items() for key in inner.get("properties", [None])}
    assert known - CHART_SETS - SECRET_KEYS == given, (
        f"values.schema.json, below config: missing {sorted(known - CHART_SETS - SECRET_KEYS - given)}, "
        f"too many {sorted(given - known)}")


@check
def described(all_of):
    """values.yaml has every key of its schema, and the chart's appVersion is gv's"""
    with helm.Chart.load(CHART) as chart:
        schema, values, metadata = chart.schema, chart.values, chart.metadata
    package = tomllib.loads(Path("Cargo.toml").read_text())["package"]
    assert metadata["appVersion"] == package["version"], "Chart.yaml: appVersion"

    def compare(inner, value, path):
        while "$ref" in inner:
            inner = schema["definitions"][inner["$ref"].split("/")[-1]]
        for key, below in inner.get("properties", {}).items():
            if path == [] and key in ("global", "config"):
                continue
            if path and path[-1] == "resources":
                continue
            # A key that stands for nothing is left out by Helm.
            if isinstance(value, dict) and key in value:
                compare(below, value[key], [*path, key])
            else:
                assert f"{key}:" in (CHART / "values.yaml").read_text(), f"values.yaml: {'.'.join([*path, key])}"

    compare(schema, values, [])


@check
def dashboard(all_of):
    """the dashboard asks for metrics that gv has"""
    text = (CHART / "dashboards/gv.json").read_text()
    asked = set(re.findall(r"\bgv_[a-z_]+", " ".join(re.findall(r'"expr": "((?:[^"\\]|\\.)*)"', text))))
    source = "".join(path.read_text() for path in Path("src").rglob("*.rs"))
    known = set(re.findall(r'(?:counter|gauge|histogram)!\(\s*"(gv_[a-z_]+)"', source))
    histograms = set(re.findall(r'histogram!\(\s*"(gv_[a-z_]+)"', source))
    unknown = {name for name in asked if name not in known and name.removesuffix("_bucket") not in histograms}
    assert not unknown and len(asked) > 15, f"{unknown}"
    unshown = known - {name.removesuffix("_bucket") for name in asked}
    assert not unshown, f"dashboards/gv.json does not show {sorted(unshown)}"
    [shown] = [r for r in all_of if r.name == "default, monitoring"]
    assert json.loads(shown.one("ConfigMap", "dashboard")["data"]["gv.json"])["uid"] == "gv"


@check
def notes(all_of):
    """the notes name the addresses, the certificate and the first account"""
    for rendering in all_of:
        domain = rendering.values["config"]["domain"]
        for word in [f"*.{domain}", f"api.{domain}", "wildcard", "gv login --register", "DNS"]:
            assert word in rendering.notes, f"{rendering.name}: {word}\n{rendering.notes}"
        assert "<nil>" not in rendering.notes and "%!" not in rendering.notes


def toml_of(rendering):
    [config] = [one for one in rendering.of("ConfigMap") if component_of(one) is None]
    return config["data"]["gv.toml"]


@check
def configured(all_of):
    """gv.toml is what the values say, without a secret, its numbers whole"""
    for rendering in all_of:
        text = toml_of(rendering)
        table = tomllib.loads(text)
        assert table["domain"] == rendering.values["config"]["domain"] and table["data_dir"] == "/var/lib/gv"
        assert [table[role]["listen"] for role in ("api", "edge", "ops")] == ["0.0.0.0:8080", "0.0.0.0:8000", "0.0.0.0:9090"]
        assert not flat(table) & SECRET_KEYS and "pw" not in text
    odd = {"limits": {"output_files": 10_000_000, "output_mb": 1048576}, "log": {"level": 'gv=debug,"a&b<c>\\'},
           "worker": {"build_env": ["A=b & c", "D=\"é\""]}, "source": {"allow": []}}
    table = tomllib.loads(toml_of(Rendering("odd", merged(DEFAULT, {"config": odd}))))
    for section, keys in odd.items():
        for key, value in keys.items():
            assert table[section][key] == value, f"{section}.{key}"


def run_gv(rendering, folder, *arguments, **environment):
    path = Path(folder) / "gv.toml"
    path.write_text(toml_of(rendering))
    return subprocess.run([GV.absolute(), *arguments], cwd=folder, capture_output=True, text=True, timeout=60, env={
        "PATH": os.environ["PATH"], "HOME": folder, "GV_CONFIG": str(path), **environment})


def by_gv(all_of):
    """gv itself accepts each role's configuration and secrets, as the pods have them"""
    with tempfile.TemporaryDirectory() as folder:
        for rendering in all_of:
            made = {one["metadata"]["name"]: one["stringData"] for one in rendering.of("Secret")}
            for role in ROLES:
                env = env_of(rendering.one("Deployment", role)["spec"]["template"])
                secrets = {}
                for name, entry in env.items():
                    ref = entry.get("valueFrom", {}).get("secretKeyRef")
                    if ref and ref["name"] in made:
                        secrets[name] = made[ref["name"]][ref["key"]]
                done = run_gv(rendering, folder, "config", "check", **secrets)
                assert done.returncode == 0, f"{rendering.name}: {role}: {done.stdout}{done.stderr}"


def signs(all_of):
    """gv signs with the key that the chart draws, and refuses one that is cut short"""
    key = main_secret(Rendering("signs", SMALL))["GV_AUTH__SIGNING_KEYS"]
    for given, starts in [(key, True), (key[:-1], False)]:
        with tempfile.TemporaryDirectory() as folder:
            environment = {"PATH": os.environ["PATH"], "HOME": folder, "GV_DATA_DIR": f"{folder}/data",
                           "GV_AUTH__SIGNING_KEYS": given}
            environment |= {f"GV_{role}__LISTEN": "127.0.0.1:0" for role in ["API", "EDGE", "OPS"]}
            process = subprocess.Popen([GV.absolute(), "up"], cwd=folder, env=environment, text=True,
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            try:
                # Either the line that says that it is ready, or the end.
                line = process.stdout.readline()
                if starts:
                    assert '"ready"' in line, f"gv up did not start: {process.stderr.read()}"
                else:
                    assert not line and "signing key 1" in process.stderr.read()
            finally:
                process.terminate()
                process.communicate(timeout=60)


def main():
    all_of = [Rendering(name, values) for name, values in RENDERINGS.items()]
    checks = list(CHECKS)
    if os.access(GV, os.X_OK):
        checks += [by_gv, signs]
    failed = 0
    for function in checks:
        try:
            function(all_of)
            print(f"ok      {function.__doc__}")
        except (AssertionError, helm.HelmError, yaml.YAMLError, tomllib.TOMLDecodeError) as error:
            failed += 1
            print(f"FAILED  {function.__doc__}\n        {error or repr(error)} (line {error.__traceback__.tb_next.tb_lineno})")
    if not os.access(GV, os.X_OK):
        print(f"skipped what needs a gv binary: there is none at {GV}")
    objects = sum(len(rendering.objects) for rendering in all_of)
    print(f"{objects} objects in {len(all_of)} renderings by Helm {helm.helm_sdk_version()}, {len(checks) - failed} checks held, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
