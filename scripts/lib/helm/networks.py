"""Who may call whom: the design's table as NetworkPolicies, and the ways in from outside."""

import ipaddress

from renderings import check, component_of, gets_certificates, label_of, merged, selects, speaks_tls, values_file

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
    """each role may call what the design's table lists, and an authority where it gets certificates; no build a cluster's address"""
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
            if gets_certificates(rendering, role):
                by_dns = rendering.values["config"]["acme"].get("dns_provider") == "rfc2136"
                expected += ["authority"] + ["dnsServer"] * by_dns
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
                    assert service in ("blobs", "public", "authority") and all(is_public(peer) for peer in rule["to"]), where
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
    """api.<domain> and <domain> lead to the api, *.<domain> to the edge, by Ingress and by Gateway; to nobody who speaks TLS itself"""
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
            expected = {f"api.{domain}": "api", domain: "api", f"*.{domain}": "edge"}
            expected = {host: role for host, role in expected.items() if not speaks_tls(rendering, role)}
            assert leads == expected, f"{rendering.name}: {leads}"
            ways = rendering.of("Ingress") and rendering.of("HTTPRoute")
            assert not ways
