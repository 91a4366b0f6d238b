"""How pods are held: what they may do, see, and how they come and go."""

import itertools
import json

from renderings import ROLES, check, component_of, env_of, gets_certificates, label_of, selects


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
    """each role sees the secrets of the services that it speaks to, and of the certificates that it gets; no others"""
    blobs = {"GV_BLOBS__ACCESS_KEY", "GV_BLOBS__SECRET_KEY"}
    sees = {
        "api": {"GV_DATABASE__URL", "GV_QUEUE__URL", "GV_CACHE__URL", "GV_SECRETS__KEYS", "GV_AUTH__SIGNING_KEYS"} | blobs,
        "worker": {"GV_DATABASE__URL", "GV_QUEUE__URL", "GV_CACHE__URL", "GV_SECRETS__KEYS"} | blobs,
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
            more = set()
            if gets_certificates(rendering, role):
                acme = rendering.values["config"]["acme"]
                more = {"GV_SECRETS__KEYS"}
                more |= {"GV_ACME__DNS_KEY"} if acme.get("dns_provider") == "rfc2136" else set()
                more |= {"GV_ACME__EAB_KEY"} if acme.get("eab_key_id") else set()
            assert set(refs) == sees[role] | more, f"{rendering.name}: {role} sees {sorted(refs)}"
            mounted = [volume["secret"]["secretName"] for volume in pod["spec"]["volumes"] if "secret" in volume]
            named = rendering.values.get(role, {}).get("tls", {}).get("secretName")
            assert mounted == ([named] if named else []), f"{rendering.name}: {role} has {mounted}"
            for name, ref in refs.items():
                assert ref["key"] == name
                if rendering.values.get("secret", {}).get("existingSecret"):
                    assert ref["name"] == rendering.values["secret"]["existingSecret"]
                else:
                    assert made[ref["name"]][name], f"{rendering.name}: {ref['name']} has no {name}"
        for owner, pod in rendering.pods():
            # A value may only come by reference: objects of pods are read by more people than secrets.
            text = json.dumps(pod)
            assert not any(secret in text for secret in ["pw@", "gvk1.", "gvs1.", "c2VjcmV0"]), label_of(owner)


@check
def probes(all_of):
    """each role is probed by gv health of its name, joins when it can do its work, and outlives an outage of what all share"""
    for rendering in all_of:
        for role in ROLES:
            [container] = rendering.one("Deployment", role)["spec"]["template"]["spec"]["containers"]
            ports = {port["name"]: port["containerPort"] for port in container["ports"]}
            assert ports["ops"] == 9090 and container["args"] == [role]
            paths = {}
            for name in ["startup", "readiness", "liveness"]:
                command = container[f"{name}Probe"]["exec"]["command"]
                assert command[:3] == ["gv", "health", role], f"{role} is asked by {command}"
                paths[name] = {(): "/healthz", ("--ready",): "/readyz"}[tuple(command[3:])]
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
