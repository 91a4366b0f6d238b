//! What is wrong in the configuration itself: values, keys, certificates, names, and who may read it.

use super::{doctor, fresh};
use crate::support::gv::Settings;
use std::os::unix::fs::PermissionsExt as _;

#[test]
fn a_configuration_that_is_not_valid_is_the_one_finding_with_all_its_problems() {
    let settings = Settings::default().set("GV_WORKER__LEASE_S", "soon").set("GV_DOMAIN", "no domain");
    let report = fresh(&settings, &[]);
    assert_eq!(report.findings.len(), 1, "{report}");
    report.expect_broken("configuration", "worker.lease_s", "gv config check");
    report.expect_broken("configuration", "domain", "config/gv.toml");
}

#[test]
fn edges_that_get_certificates_need_keys_to_seal_theirs_by_and_an_authority_that_is_trusted() {
    let settings = Settings::default()
        .set("GV_ACME__ENABLED", true)
        .set("GV_ACME__TERMS_AGREED", true)
        .set("GV_EDGE__TLS_LISTEN", "127.0.0.1:0")
        .set("GV_ACME__DIRECTORY", "letsencrypt-staging");
    let report = fresh(&settings, &["--role", "edge"]);
    report.expect_broken("certificates", "secrets.keys is empty", "give every gv edge");
    assert_eq!(fresh(&settings, &[]).verdict("certificates"), "doubtful", "gv up has keys of its own");
    let settings = settings.set("GV_ACME__DIRECTORY", "letsencrypt");
    let report = fresh(&settings, &[]);
    assert_eq!(report.verdict("certificates"), "doubtful", "every host of gv is below domain: {report}");
    let remedy = report.find("certificates").unwrap()["remedy"].as_str().unwrap();
    assert!(remedy.contains("acme.on_demand") && remedy.contains("acme.dns_provider"), "{remedy}");
    let all = settings.clone().set("GV_ACME__ON_DEMAND", "all");
    assert_eq!(fresh(&all, &[]).verdict("certificates"), "well");
    let wildcard = settings.set("GV_ACME__DNS_PROVIDER", "exec").set("GV_ACME__DNS_EXEC", "/bin/true");
    assert_eq!(fresh(&wildcard, &[]).verdict("certificates"), "well");
}

#[test]
fn certificate_files_that_keep_an_edge_from_starting_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let signed = ["a", "b"].map(|name| {
        let made = rcgen::generate_simple_self_signed([format!("{name}.example.com")]).unwrap();
        std::fs::write(path(&format!("{name}.pem")), made.cert.pem()).unwrap();
        std::fs::write(path(&format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
        (path(&format!("{name}.pem")), path(&format!("{name}.key")))
    });
    let with = |cert: &str, key: &str| {
        Settings::default()
            .set("GV_EDGE__TLS_LISTEN", "127.0.0.1:0")
            .set("GV_EDGE__TLS_CERT", cert)
            .set("GV_EDGE__TLS_KEY", key)
    };
    let [(cert, key), (_, others)] = &signed;
    for args in [&["--role", "edge"][..], &[]] {
        let report = fresh(&with("/nonexistent.pem", key), args);
        report.expect_broken("certificate files", "/nonexistent.pem", "edge.tls_cert");
        let report = fresh(&with(cert, others), args);
        report.expect_broken("certificate files", "does not fit", "edge.tls_key");
        assert_eq!(fresh(&with(cert, key), args).verdict("certificate files"), "well");
    }
    assert_eq!(fresh(&with(cert, others), &["--role", "worker"]).verdict("certificate files"), "absent");
}

#[test]
fn roles_that_seal_do_not_start_without_a_key_and_are_told_so() {
    for role in ["api", "worker"] {
        let report = fresh(&Settings::default(), &["--role", role]);
        report.expect_broken("secret keys", "secrets.keys is empty", "gv secrets keygen");
        let with = Settings::default().set("GV_SECRETS__KEYS", crate::support::database::SECRET_KEY);
        assert_eq!(fresh(&with, &["--role", role]).verdict("secret keys"), "well");
        let cut = Settings::default().set("GV_SECRETS__KEYS", "gvs1.hunter2");
        fresh(&cut, &["--role", role]).expect_broken("secret keys", "key 1", "gv secrets keygen");
    }
    for args in [&["--role", "edge"][..], &[]] {
        assert_eq!(fresh(&Settings::default(), args).verdict("secret keys"), "absent");
    }
}

#[test]
fn a_domain_that_leads_nowhere_is_named_with_the_record_that_is_missing() {
    let report = fresh(&Settings::default().set("GV_DOMAIN", "sites.invalid"), &[]);
    report.expect_broken("domain", "*.sites.invalid", "DNS record *.sites.invalid");
    assert_eq!(report.verdict("api address"), "doubtful", "{report}");
    assert_eq!(report.verdict("registration"), "doubtful", "anybody could make an account there");
    let closed = Settings::default().set("GV_DOMAIN", "sites.invalid").set("GV_AUTH__REGISTRATION", "closed");
    assert_eq!(fresh(&closed, &["--role", "api"]).verdict("registration"), "absent");
}

#[test]
fn secrets_in_a_file_that_everybody_reads_are_doubtful() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gv.toml");
    let path = file.to_str().unwrap();
    for held in [
        "cache.url = \"redis://:hunter2@127.0.0.1:1/0\"",
        "secrets.keys = [\"gvs1.hunter2\"]",
        "telemetry.otlp_headers = [\"authorization=hunter2\"]",
        "worker.registry = \"https://ada:hunter2@npm.example.com/\"",
    ] {
        std::fs::write(&file, format!("{held}\n")).unwrap();
        for (mode, verdict) in [(0o644, "doubtful"), (0o640, "absent")] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            let report = doctor(folder.path(), &Settings::default(), &["--config", path, "--role", "edge"]);
            assert_eq!(report.verdict("secrets"), verdict, "{held} {mode:o}: {report}");
        }
    }
}
