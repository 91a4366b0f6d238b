//! The configuration itself: whether it is valid, and what in it is seldom meant so.

use super::{Findings, Role};
use crate::app::signing::SigningKeys;
use crate::config::Registration;
use crate::config::acme::{Acme, OnDemand};
use crate::config::layers::{Origin, Problem};
use crate::config::load::Loaded;
use crate::config::shown::holds_secret;
use crate::domain::host::Hostname;
use crate::domain::sealing::SecretKeys;
use crate::wiring::listeners::tls_files;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The one finding where nothing else can be looked at.
pub fn invalid(problems: &[Problem]) -> Vec<super::Finding> {
    let mut found = Findings::default();
    let listed: Vec<String> = problems.iter().map(ToString::to_string).collect();
    found.broken(
        "configuration",
        format!("is not valid: {}", listed.join("; ")),
        "correct these keys; config/gv.toml says what each one means, and gv config check looks again",
    );
    found.into()
}

pub(super) fn examine(loaded: &Loaded, file: Option<&Path>, role: Option<Role>) -> Findings {
    let mut found = Findings::default();
    let set = loaded.settings.values().filter(|setting| setting.origin != Origin::Default).count();
    let from = file.map_or_else(
        || "no file, the environment alone".to_owned(),
        |file| format!("{} and the environment", file.display()),
    );
    found.well("configuration", format!("valid; {set} keys set, by {from}"));
    if role.is_some() {
        shared(loaded, role, &mut found);
    }
    registration(loaded, role, &mut found);
    signing_keys(loaded, role, &mut found);
    secret_keys(loaded, role, &mut found);
    certificate_files(loaded, role, &mut found);
    certificates(loaded, role, &mut found);
    if let Some(file) = file {
        secrets_in(loaded, file, &mut found);
    }
    found
}

pub(super) fn is_local(domain: &Hostname) -> bool {
    domain.as_str() == "localhost" || domain.as_str().ends_with(".localhost")
}

/// A role alone cannot work on what only its own process sees.
fn shared(loaded: &Loaded, role: Option<Role>, found: &mut Findings) {
    let config = &loaded.config;
    let mut urls = vec![("cache.url", config.cache.url.expose())];
    if role != Some(Role::Edge) {
        urls.push(("queue.url", config.queue.url.expose()));
    }
    for (key, url) in urls {
        if url.starts_with("memory:") {
            found.broken(
                key,
                "is memory:, which no other process sees",
                format!("name a server in {key}, or run gv up, which holds all roles in one process"),
            );
        }
    }
}

fn registration(loaded: &Loaded, role: Option<Role>, found: &mut Findings) {
    let config = &loaded.config;
    let is_open = config.auth.registration == Registration::Open;
    if is_open && !is_local(&config.domain) && role.is_none_or(|role| role == Role::Api) {
        found.doubtful(
            "registration",
            format!(
                "open: whoever reaches the API of {} can make an account and run builds here",
                config.domain
            ),
            "set auth.registration = \"closed\", and make your people's accounts with gv user add",
        );
    }
}

fn signing_keys(loaded: &Loaded, role: Option<Role>, found: &mut Findings) {
    const CHECK: &str = "signing keys";
    let keys = &loaded.config.auth.signing_keys;
    match SigningKeys::parse(keys) {
        Ok(_) => found.well(CHECK, format!("{} in auth.signing_keys", keys.len())),
        Err(_) if keys.is_empty() && role != Some(Role::Api) => {}
        Err(error) => found.broken(
            CHECK,
            format!("{error}"),
            "put what gv config keygen prints into auth.signing_keys, the same for every gv api",
        ),
    }
}

/// Without any, an api and a worker do not start; a `gv up` has one of its own.
fn secret_keys(loaded: &Loaded, role: Option<Role>, found: &mut Findings) {
    const CHECK: &str = "secret keys";
    const REMEDY: &str =
        "put what gv secrets keygen prints into secrets.keys, the same for every gv api and gv worker";
    let keys = &loaded.config.secrets.keys;
    match SecretKeys::parse(keys) {
        Err(error) => found.broken(CHECK, format!("secrets.keys: {error}"), REMEDY),
        Ok(_) if !keys.is_empty() => found.well(CHECK, format!("{} in secrets.keys", keys.len())),
        Ok(_) if matches!(role, Some(Role::Api | Role::Worker)) => {
            found.broken(
                CHECK,
                "secrets.keys is empty: there is nothing to seal variables and tokens by",
                REMEDY,
            );
        }
        Ok(_) => {}
    }
}

/// Certificates that a role is given, without which it does not start.
fn certificate_files(loaded: &Loaded, role: Option<Role>, found: &mut Findings) {
    const CHECK: &str = "certificate files";
    let config = &loaded.config;
    for (of, name, tls) in [(Role::Edge, "edge", &config.edge.tls), (Role::Api, "api", &config.api.tls)] {
        let tls = tls.as_ref().filter(|_| role.is_none_or(|role| role == of));
        let Some(files) = tls_files(name, tls) else { continue };
        match files.certificate() {
            Ok(_) => found.well(CHECK, format!("{name}.tls_cert and {name}.tls_key belong together")),
            Err(error) => found.broken(
                CHECK,
                super::words(&error),
                format!("correct {name}.tls_cert and {name}.tls_key, both PEM, and let the user gv runs as read them"),
            ),
        }
    }
}

/// Certificates that edges and apis get by themselves.
fn certificates(loaded: &Loaded, role: Option<Role>, found: &mut Findings) {
    const CHECK: &str = "certificates";
    let config = &loaded.config;
    let (edge, api) = (config.edge.tls.is_some(), config.api.tls.is_some());
    let is_shown = role.is_none_or(|role| role == Role::Edge && edge || role == Role::Api && api);
    let Some(acme) = config.acme.as_ref().filter(|_| is_shown) else { return };
    if role == Some(Role::Edge) && config.secrets.keys.is_empty() {
        found.broken(
            CHECK,
            "acme.enabled, and secrets.keys is empty: there is nothing to seal private keys by",
            "give every gv edge the secrets.keys of every gv api and gv worker",
        );
    } else if acme.directory.contains("staging") {
        found.doubtful(
            CHECK,
            format!("come from {}, which browsers do not trust", acme.directory),
            "set acme.directory = \"letsencrypt\" once it works",
        );
    } else if orders_nothing(acme) {
        found.doubtful(
            CHECK,
            "acme.on_demand is custom, which means hosts that are not below domain, and this gv gives sites no others: \
             nothing is ever ordered",
            "set acme.dns_provider for a wildcard certificate of all sites, or acme.on_demand = \"all\"",
        );
    } else {
        found.well(CHECK, format!("come from {}", acme.directory));
    }
}

/// Every host of this version is below `domain`.
fn orders_nothing(acme: &Acme) -> bool {
    acme.on_demand == OnDemand::Custom && acme.dns.is_none()
}

/// The file's secrets are not for everybody on this machine.
fn secrets_in(loaded: &Loaded, file: &Path, found: &mut Findings) {
    let origin = Origin::File(file.to_owned());
    let from_file = loaded.settings.iter().filter(|(_, setting)| setting.origin == origin);
    let held: Vec<&str> =
        from_file.filter(|(key, setting)| holds_secret(key, setting)).map(|(key, _)| key.as_str()).collect();
    let Ok(about) = std::fs::metadata(file) else { return };
    if about.permissions().mode() & 0o004 != 0 && !held.is_empty() {
        found.doubtful(
            "secrets",
            format!("everybody on this machine can read {}, which holds {}", file.display(), held.join(", ")),
            format!("chmod o-r {}, or give secrets by the environment", file.display()),
        );
    }
}
