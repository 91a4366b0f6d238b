"""What is inside: secrets, the migration, gv.toml, the dashboard, the notes."""

import json
import os
import re
import subprocess
import tempfile
import tomllib
from pathlib import Path

import helm_python as helm

from renderings import (
    CHART,
    DEFAULT,
    GV,
    MANAGED,
    OPTIONS,
    ROLES,
    SMALL,
    Rendering,
    check,
    check_with_gv,
    component_of,
    env_of,
    merged,
)

# TLS ends before the pods, at the ingress, whose certificates are not gv's to get. Pods are withdrawn
# before SIGTERM, by preStop.
ACME = {f"acme.{key}" for key in (
    "enabled", "directory", "email", "terms_agreed", "root_ca", "eab_key_id", "eab_key", "challenges", "on_demand", "orders_per_hour",
    "dns_provider", "dns_server", "dns_zone", "dns_key_name", "dns_key", "dns_algorithm", "dns_exec", "dns_wait_s")}
CHART_SETS = ACME | {"data_dir", "api.listen", "api.tls_listen", "api.tls_cert", "api.tls_key", "api.hosts", "api.https_redirect", "api.public_port", "api.hsts_max_age_s", "edge.listen", "edge.tls_listen", "edge.tls_cert", "edge.tls_key", "edge.https_redirect", "edge.hsts_max_age_s", "ops.listen", "ops.withdraw_s", "worker.dir", "worker.tools_dir", "worker.cache_dir"}
SECRET_KEYS = {"database.url", "queue.url", "cache.url", "blobs.access_key", "blobs.secret_key", "auth.signing_keys", "secrets.keys", "telemetry.otlp_headers"}


@check
def drawn_by_lot(all_of):
    """passwords are drawn anew for each installation, long, and the same in all objects of one"""
    first, second = Rendering("first", SMALL), Rendering("second", SMALL)
    passwords = [{component_of(s): s["stringData"]["password"] for s in r.of("Secret") if "password" in s["stringData"]}
                 for r in (first, second)]
    for rendering, own in zip((first, second), passwords):
        assert set(own) == {"postgresql", "rabbitmq", "redis", "seaweedfs"}
        assert all(len(word) >= 32 for word in own.values()) and len(set(own.values())) == 4
        keys = main_secret(rendering)
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
        needed |= {("Secret", e["valueFrom"]["secretKeyRef"]["name"]) for e in env_of(job["spec"]["template"]).values() if "valueFrom" in e}
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
    asked = set(re.findall(r"\bgv_[a-z0-9_]+", " ".join(re.findall(r'"expr": "((?:[^"\\]|\\.)*)"', text))))
    # src/tests/metrics.rs holds that table to what gv counts.
    known = dict(re.findall(r"^\| `(gv_[a-z0-9_]+)` \| (\w+) \|", Path("docs/metrics.md").read_text(), re.M))
    series = {name for name, kind in known.items() if kind != "histogram"}
    series |= {f"{name}_{part}" for name, kind in known.items() if kind == "histogram" for part in ("bucket", "count", "sum")}
    unknown = asked - series
    assert not unknown and len(asked) > 15, f"{unknown}"
    [shown] = [r for r in all_of if r.name == "default, monitoring"]
    assert json.loads(shown.one("ConfigMap", "dashboard")["data"]["gv.json"])["uid"] == "gv"


@check
def notes(all_of):
    """the notes name the addresses, the certificate and the first account"""
    for rendering in all_of:
        domain = rendering.values["config"]["domain"]
        for word in [f"*.{domain}", f"api.{domain}", "wildcard", "gv user add", "gv login --api", "gv doctor", "DNS"]:
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
            assert repr(table[section][key]) == repr(value), f"{section}.{key} is {table[section][key]!r}"


def run_gv(rendering, folder, *arguments, **environment):
    path = Path(folder) / "gv.toml"
    path.write_text(toml_of(rendering))
    return subprocess.run([GV, *arguments], cwd=folder, capture_output=True, text=True, timeout=60, env={
        "PATH": os.environ["PATH"], "HOME": folder, "GV_CONFIG": str(path), **environment})


@check_with_gv
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


@check_with_gv
def signs(all_of):
    """gv signs with the key that the chart draws, and refuses one that is cut short"""
    key = main_secret(Rendering("signs", SMALL))["GV_AUTH__SIGNING_KEYS"]
    for given, starts in [(key, True), (key[:-1], False)]:
        with tempfile.TemporaryDirectory() as folder:
            environment = {"PATH": os.environ["PATH"], "HOME": folder, "GV_DATA_DIR": f"{folder}/data",
                           "GV_AUTH__SIGNING_KEYS": given}
            environment |= {f"GV_{role}__LISTEN": "127.0.0.1:0" for role in ["API", "EDGE", "OPS"]}
            process = subprocess.Popen([GV, "up"], cwd=folder, env=environment, text=True,
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
