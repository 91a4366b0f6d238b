"""What Helm and Kubernetes themselves say to the chart, and which values it refuses."""

import functools
import json

import helm_python as helm
import kubernetes_validate

from renderings import CHART, DEFAULT, KEY, MANAGED, RENDERINGS, SMALL, Rendering, check, label_of, merged, rendered_for

# The oldest that the chart supports, the first with all that it uses, and the newest known.
OLDEST = "1.27"
KUBERNETES = ["1.30", "1.34", kubernetes_validate.latest_version()]

# It reads a file of megabytes for each object otherwise.
kubernetes_validate.utils.schema_contents = functools.cache(kubernetes_validate.utils.schema_contents)


@check
def linted(all_of):
    """Helm's linter has nothing to say, about any of the values"""
    for name, values in RENDERINGS.items():
        for version in [f"v{OLDEST}.0", "v1.36.0"][name not in ("default", "small", "managed"):]:
            report = helm.lint(CHART, values, strict=True, namespace="sites", kube_version=version)
            # 1 is for information: an icon would be nice.
            bad = [message for message in report["messages"] if message["severity"] > 1]
            assert not bad and not report["errors"], f"{name}: {bad or report['errors']}"


@check
def valid(all_of):
    """each object is valid by Kubernetes' own schemas, of the oldest version supported to the newest"""
    seen = set()
    old = [rendered_for(OLDEST, values) for values in (DEFAULT, SMALL, MANAGED)]
    for rendering, versions in [(one, KUBERNETES) for one in all_of] + [(one, [OLDEST]) for one in old]:
        for one in rendering.objects:
            if is_custom(one):
                assert_custom(one)
                continue
            for version in versions:
                what = version + json.dumps(one)
                if what in seen:
                    continue
                seen.add(what)
                try:
                    kubernetes_validate.validate(one, version, strict=True)
                except kubernetes_validate.ValidationError as error:
                    path = ".".join(map(str, error.path))
                    raise AssertionError(f"{rendering.name}: {label_of(one)} in {version}: {path}: {error.message}") from error
    assert len(seen) > 500


@check
def by_version(all_of):
    """on a cluster that cannot sleep by itself before a pod ends, the image's `sleep` does it"""
    for version, way in [(OLDEST, "exec"), ("1.29", "exec"), ("1.30", "sleep")]:
        [container] = rendered_for(version, DEFAULT).one("Deployment", "edge")["spec"]["template"]["spec"]["containers"]
        expected = {"exec": {"command": ["sleep", "10"]}, "sleep": {"seconds": 10}}[way]
        assert container["lifecycle"]["preStop"] == {way: expected}, version


def is_custom(one):
    group = one["apiVersion"].rpartition("/")[0]
    return group in ("gateway.networking.k8s.io", "keda.sh", "monitoring.coreos.com")


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
        ({"config": {"acme": {"dns_key": "secret"}}}, "/config/acme", "'dns_key'"),
        ({"config": {"acme": {"directory": "http://ca.internal/dir"}}}, "/config/acme/directory"),
        ({"config": {"acme": {"challenges": ["dns-01"]}}}, "/config/acme/challenges/0"),
        ({"config": {"acme": {"dns_exec": ["/dns", "a,b"]}}}, "/config/acme/dns_exec/1"),
        ({"config": {"edge": {"tls_listen": "0.0.0.0:443"}}}, "/config/edge", "'tls_listen'"),
        ({"config": {"edge": {"disk_dir": "pages"}}}, "/config/edge/disk_dir"),
        ({"edge": {"tls": {"secret": "wildcard"}}}, "/edge/tls", "'secret'"),
        ({"edge": {"tls": {"hstsMaxAgeSeconds": -1}}}, "/edge/tls/hstsMaxAgeSeconds"),
        ({"worker": {"tls": {"enabled": True}}}, "/worker", "'tls'"),
        ({"config": {"domain": "https://example.com"}}, "/config/domain"),
        ({"config": {"domain": "Example.com"}}, "/config/domain"),
        ({"config": {"blobs": {"url": "https://s3.example.com/x"}}}, "/config/blobs/url"),
        ({"config": {"blobs": {"url": "s3://gv?region=x"}}}, "/config/blobs/url"),
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
        ({"worker": {"autoscaling": {"enabled": True, "minReplicas": 0, "keda": {"trigger": "rabbitmq"}}}},
         "worker.autoscaling.minReplicas:"),
    ]:
        refused(merged(DEFAULT, wrong), word)
    refused(merged(SMALL, {"secret": {"existingSecret": "mine"}}), "secret.existingSecret:")
