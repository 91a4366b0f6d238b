"""TLS that ends at the pods: what edges and apis are told of it, their ports, and what is refused."""

from engine import refused
from renderings import ACME, DEFAULT, OPTIONS, ROLES, Rendering, check, env_of, merged, speaks_tls


def told(rendering, role):
    """The role's configuration that comes by its environment, secrets apart."""
    env = env_of(rendering.one("Deployment", role)["spec"]["template"])
    return {name: entry["value"] for name, entry in env.items()
            if name.startswith(("GV_EDGE__", "GV_API__", "GV_ACME__")) and "value" in entry}


def rendered(name):
    return Rendering(name, merged(DEFAULT, OPTIONS[name]))


@check
def told_by_role(all_of):
    """who speaks TLS is told so by its own environment; nobody else hears of it, and gv.toml says nothing"""
    for rendering in all_of:
        for role in ROLES:
            keys = told(rendering, role)
            assert bool(keys) == speaks_tls(rendering, role), f"{rendering.name}: {role} is told {keys}"
            assert not keys or keys[f"GV_{role.upper()}__TLS_LISTEN"] == "0.0.0.0:8443"
        for config in rendering.of("ConfigMap"):
            text = config["data"].get("gv.toml", "")
            assert "tls_" not in text and "acme" not in text, rendering.name
    files = {"GV_EDGE__TLS_CERT": "/etc/gv-tls/tls.crt", "GV_EDGE__TLS_KEY": "/etc/gv-tls/tls.key"}
    listens = {"GV_EDGE__TLS_LISTEN": "0.0.0.0:8443", "GV_EDGE__HTTPS_REDIRECT": "true", "GV_EDGE__HSTS_MAX_AGE_S": "0"}
    assert told(rendered("TLS by files"), "edge") == listens | files | {"GV_EDGE__HSTS_MAX_AGE_S": "3600"}
    assert told(rendered("TLS by ACME"), "edge") == listens | {
        "GV_ACME__ENABLED": "true", "GV_ACME__TERMS_AGREED": "true", "GV_ACME__EMAIL": "operator@example.com",
        "GV_ACME__DIRECTORY": "letsencrypt-staging", "GV_ACME__CHALLENGES": "http-01,tls-alpn-01",
        "GV_ACME__ORDERS_PER_HOUR": "100"}
    both = told(rendered("TLS by ACME and DNS"), "edge")
    assert files.items() <= both.items() and both["GV_EDGE__HTTPS_REDIRECT"] == "false"
    assert both["GV_ACME__DNS_SERVER"] == "ns1.internal:5353" and both["GV_ACME__DNS_WAIT_S"] == "0"
    assert "GV_API__PUBLIC_PORT" not in told(rendered("TLS everywhere"), "api")
    named = {"api": {"tls": {"hosts": ["a.example.org", "b.example.org"]}, "service": {"tlsPort": 8443}}}
    api = told(Rendering("named", merged(DEFAULT, OPTIONS["TLS everywhere"], named)), "api")
    assert api["GV_API__PUBLIC_PORT"] == "8443" and api["GV_API__HOSTS"] == "a.example.org,b.example.org" and api["GV_ACME__DNS_EXEC"] == "/opt/dns hook,--zone"


@check
def reached(all_of):
    """who speaks TLS has port 443 beside 80 at its Service, and is called by anybody there; nobody else has"""
    for rendering in all_of:
        for role in ["api", "edge"]:
            speaks = speaks_tls(rendering, role)
            ports = {port["name"]: (port["port"], port["targetPort"]) for port in rendering.one("Service", role)["spec"]["ports"]}
            port = rendering.values.get(role, {}).get("service", {}).get("tlsPort", 443)
            expected = {"http": (80, "http")} | ({"https": (port, "https")} if speaks else {})
            assert ports == expected, f"{rendering.name}: {role}: {ports}"
            [container] = rendering.one("Deployment", role)["spec"]["template"]["spec"]["containers"]
            numbers = {port["name"]: port["containerPort"] for port in container["ports"]}
            assert numbers.get("https") == (8443 if speaks else None)
            for policy in rendering.of("NetworkPolicy", role):
                [rule] = [rule for rule in policy["spec"]["ingress"] if rule["ports"][0]["port"] == "http"]
                assert [port["port"] for port in rule["ports"]] == ["http", "https"][:1 + speaks], rendering.name
                assert not (speaks and "from" in rule), f"{rendering.name}: visitors come from everywhere"


@check
def certificate_as_a_folder(all_of):
    """a certificate's Secret is mounted as a folder, so that files change with it, and is the pod's user's to read"""
    spec = rendered("TLS by files").one("Deployment", "edge")["spec"]["template"]["spec"]
    [mount] = [mount for mount in spec["containers"][0]["volumeMounts"] if mount["name"] == "tls"]
    assert mount == {"name": "tls", "mountPath": "/etc/gv-tls", "readOnly": True}
    [volume] = [volume for volume in spec["volumes"] if volume["name"] == "tls"]
    assert volume["secret"] == {"secretName": "wildcard", "defaultMode": 0o440} and spec["securityContext"]["fsGroup"]


@check
def notes_of_tls(all_of):
    """the notes say where edges that speak TLS are reached, where their certificate is expected, and what gets none"""
    assert "create secret tls wildcard" in rendered("TLS by files").notes
    assert "get service gv-edge" in rendered("TLS by files").notes
    assert "edge.service.type is ClusterIP" in rendered("TLS by ACME and DNS").notes
    assert "letsencrypt-staging" in rendered("TLS by ACME").notes
    # All hosts are below the domain, and are left out by `custom`.
    assert "config.acme.on_demand is custom" in rendered("TLS by ACME").notes
    for name in ["TLS by ACME and DNS", "TLS everywhere", "TLS by files", "ingress"]:
        assert "on_demand" not in rendered(name).notes, name


@check
def refused_tls(all_of):
    """TLS that could not work is refused by its key, in words"""
    edge = {"edge": {"tls": {"enabled": True}}}
    acme = merged(edge, {"config": {"acme": ACME}})
    by_dns = {"config": {"acme": {"dns_provider": "rfc2136"}}}
    for wrong, *words in [
        (edge, "edge.tls.secretName: name a Secret"),
        ({"api": {"tls": {"enabled": True}}}, "api.tls.secretName: name a Secret"),
        ({"config": {"acme": ACME}}, "config.acme.enabled: needs edge.tls.enabled or api.tls.enabled"),
        (merged(acme, {"config": {"acme": {"terms_agreed": False}}}), "config.acme.terms_agreed: must be true"),
        (merged(acme, {"config": {"acme": {"on_demand": "none"}}}), "config.acme.on_demand: is none"),
        (merged(acme, by_dns), "config.acme.dns_server:", "config.acme.dns_zone:", "config.acme.dns_key_name:",
         "secret.values.acmeDnsKey:"),
        (merged(acme, {"config": {"acme": {"dns_provider": "exec"}}}), "config.acme.dns_exec: name a program"),
        (merged(acme, {"config": {"acme": {"eab_key_id": "me"}}}), "secret.values.acmeEabKey:"),
        (merged(acme, {"secret": {"values": {"acmeEabKey": "c2VjcmV0"}}}), "config.acme.eab_key_id:"),
        (merged(acme, {"config": {"acme": {"directory": "https://ca.internal:14000/dir"}}}),
         "networkPolicy.egress.authority.ports: must have 14000"),
        (merged(acme, by_dns, {"config": {"acme": {"dns_server": "10.0.0.1:5353"}}}),
         "networkPolicy.egress.dnsServer.ports: must have 5353"),
        (merged(acme, {"config": {"edge": {"public_scheme": "http"}}}), "edge.tls.redirectHttp: needs config.edge.public_scheme"),
        (merged(acme, {"edge": {"service": {"tlsPort": 80}}}), "edge.service.tlsPort: is edge.service.port as well"),
        (merged(acme, {"ingress": {"enabled": True, "customDomains": True}}), "ingress.customDomains: is not used"),
        (merged(acme, {"api": {"tls": {"enabled": True}}, "ingress": {"enabled": True}}), "ingress.enabled: leads nowhere"),
    ]:
        refused(merged(DEFAULT, wrong), *words)
    # Where they are held by a Secret of the operator's, the chart cannot see them.
    Rendering("existing", merged(DEFAULT, OPTIONS["existing secret"], acme, by_dns, {"config": {"acme": {
        "dns_server": "ns1.example.com", "dns_zone": "example.com", "dns_key_name": "gv"}}}))
