//! The keys of certificates that edges and apis get by themselves.

use super::reader::{A_DAY_S, Reader};
use crate::domain::host::Hostname;
use crate::domain::secret::Secret;
use std::path::PathBuf;
use url::Url;

#[derive(Clone, Debug)]
pub struct Acme {
    /// The URL of the authority's directory.
    pub directory: String,
    /// Whom the authority may write to.
    pub email: Option<String>,
    /// PEM: whom to trust for the directory's own TLS; `None`: the system's.
    pub root_ca: Option<PathBuf>,
    /// An account of the authority's customers: the name of its key, and the key in base64url.
    pub external_account: Option<(String, Secret)>,
    /// How hosts are proved, the first one first.
    pub challenges: Vec<Challenge>,
    pub on_demand: OnDemand,
    /// Of all processes together.
    pub orders_per_hour: usize,
    /// How records are made for a certificate of all sites; `None`: there is none.
    pub dns: Option<Dns>,
    /// How long the zone's servers take to hear of a change.
    pub dns_wait_s: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    Http01,
    TlsAlpn01,
}

/// Which sites' hosts get certificates of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDemand {
    Custom,
    All,
    None,
}

#[derive(Clone, Debug)]
pub enum Dns {
    Rfc2136(Rfc2136),
    /// A program and its first arguments.
    Exec(Vec<String>),
}

#[derive(Clone, Debug)]
pub struct Rfc2136 {
    /// Host and port.
    pub server: String,
    pub zone: Hostname,
    pub key_name: String,
    /// In base64.
    pub key: Secret,
    pub algorithm: Algorithm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    HmacSha256,
    HmacSha384,
    HmacSha512,
}

/// Let's Encrypt, by its two words.
const DIRECTORIES: &[(&str, &str)] = &[
    ("letsencrypt", "https://acme-v02.api.letsencrypt.org/directory"),
    ("letsencrypt-staging", "https://acme-staging-v02.api.letsencrypt.org/directory"),
];

/// `None`: switched off, or not as it should be, which is a problem by then.
pub(super) fn read(from: &mut Reader<'_>) -> Option<Acme> {
    let is_on = from.flag("acme.enabled");
    // Looked at even where it is switched off: a mistake is told before it matters.
    let directory = directory(from);
    let challenges = challenges(from);
    let on_demands = [("custom", OnDemand::Custom), ("all", OnDemand::All), ("none", OnDemand::None)];
    let on_demand = from.word("acme.on_demand", &on_demands);
    let orders_per_hour = from.number("acme.orders_per_hour", 1..=10_000);
    let dns_wait_s = from.number("acme.dns_wait_s", 0..=A_DAY_S / 288);
    let dns = dns(from);
    let external_account = external_account(from);
    let has_agreed = from.flag("acme.terms_agreed");
    if !is_on {
        return None;
    }
    if !has_agreed {
        from.problem(
            "acme.terms_agreed",
            "must be true: an authority gives nothing to who does not agree to its terms of service",
        );
    }
    let [is_at_edge, is_at_api] = ["edge.tls_listen", "api.tls_listen"].map(|key| !from.text(key).is_empty());
    if !is_at_edge && !is_at_api {
        from.problem("acme.enabled", "needs edge.tls_listen or api.tls_listen: where certificates are shown");
    }
    if on_demand == Some(OnDemand::None) && dns.is_none() && !is_at_api {
        from.problem("acme.on_demand", "is none, and acme.dns_provider is empty: nothing would be ordered");
    }
    let text = |key: &str| Some(from.text(key).to_owned()).filter(|text| !text.is_empty());
    let (email, root_ca) = (text("acme.email"), text("acme.root_ca").map(PathBuf::from));
    if email.as_ref().is_some_and(|email| !email.contains('@')) {
        from.problem("acme.email", "must be an e-mail address, or empty");
    }
    Some(Acme {
        directory: directory?,
        email,
        root_ca,
        external_account,
        challenges,
        on_demand: on_demand?,
        orders_per_hour,
        dns,
        dns_wait_s,
    })
}

fn directory(from: &mut Reader<'_>) -> Option<String> {
    let text = from.text("acme.directory");
    if let Some((_, url)) = DIRECTORIES.iter().find(|(word, _)| *word == text) {
        return Some((*url).to_owned());
    }
    let url = Url::parse(text).ok().filter(|url| url.scheme() == "https" && url.has_host());
    if url.is_none() {
        from.problem("acme.directory", "must be letsencrypt, letsencrypt-staging, or an https URL");
    }
    url.map(String::from)
}

fn challenges(from: &mut Reader<'_>) -> Vec<Challenge> {
    let words: Vec<String> = from.list("acme.challenges");
    let parsed = words.iter().map(|word| match word.as_str() {
        "http-01" => Some(Challenge::Http01),
        "tls-alpn-01" => Some(Challenge::TlsAlpn01),
        _ => None,
    });
    let parsed: Option<Vec<_>> = parsed.collect();
    parsed.filter(|challenges| !challenges.is_empty()).unwrap_or_else(|| {
        from.problem("acme.challenges", "must be a list of tls-alpn-01 and http-01, or of one of them");
        Vec::new()
    })
}

fn external_account(from: &mut Reader<'_>) -> Option<(String, Secret)> {
    let name = from.text("acme.eab_key_id").to_owned();
    let key = from.optional_secret("acme.eab_key");
    match (name.is_empty(), key) {
        (false, Some(key)) => Some((name, key)),
        (true, None) => None,
        (true, Some(_)) => {
            from.problem("acme.eab_key_id", "must be set beside acme.eab_key");
            None
        }
        (false, None) => {
            from.problem("acme.eab_key", "must be set beside acme.eab_key_id");
            None
        }
    }
}

#[derive(Clone, Copy)]
enum Provider {
    Rfc2136,
    Exec,
}

fn dns(from: &mut Reader<'_>) -> Option<Dns> {
    let providers = [("", None), ("rfc2136", Some(Provider::Rfc2136)), ("exec", Some(Provider::Exec))];
    match from.word("acme.dns_provider", &providers)?? {
        Provider::Rfc2136 => rfc2136(from).map(Dns::Rfc2136),
        Provider::Exec => {
            let command = from.list("acme.dns_exec");
            if command.is_empty() {
                from.problem("acme.dns_exec", "must name a program, since acme.dns_provider is exec");
            }
            (!command.is_empty()).then_some(Dns::Exec(command))
        }
    }
}

fn rfc2136(from: &mut Reader<'_>) -> Option<Rfc2136> {
    let algorithms = [
        ("hmac-sha256", Algorithm::HmacSha256),
        ("hmac-sha384", Algorithm::HmacSha384),
        ("hmac-sha512", Algorithm::HmacSha512),
    ];
    let algorithm = from.word("acme.dns_algorithm", &algorithms);
    for key in ["acme.dns_server", "acme.dns_zone", "acme.dns_key_name", "acme.dns_key"] {
        if from.text(key).is_empty() {
            from.problem(key, "must be set, since acme.dns_provider is rfc2136");
        }
    }
    let key = from.optional_secret("acme.dns_key")?;
    let [server, zone, key_name] =
        ["acme.dns_server", "acme.dns_zone", "acme.dns_key_name"].map(|key| from.text(key).to_owned());
    if server.is_empty() || zone.is_empty() || key_name.is_empty() {
        return None;
    }
    let zone = from.parsed::<Hostname>("acme.dns_zone", "a zone such as example.com")?;
    let has_port = server.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let server = if has_port { server } else { format!("{server}:53") };
    Some(Rfc2136 { server, zone, key_name, key, algorithm: algorithm? })
}
