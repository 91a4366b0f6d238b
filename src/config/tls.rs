//! The keys of TLS, which edge and api have alike.

use super::reader::Reader;
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Clone, Debug)]
pub struct Tls {
    pub listen: SocketAddr,
    /// The certificate and its key; `None`: gv gets its own.
    pub files: Option<(PathBuf, PathBuf)>,
}

/// Ten years.
const MAX_HSTS_S: i64 = 315_360_000;

/// Of a role's section.
pub(super) fn read(from: &mut Reader<'_>, section: &str) -> Option<Tls> {
    let [listen_key, cert_key, key_key] =
        ["tls_listen", "tls_cert", "tls_key"].map(|key| format!("{section}.{key}"));
    let [listen, cert, key] = [&listen_key, &cert_key, &key_key].map(|key| from.text(key).to_owned());
    if listen.is_empty() {
        for (name, path) in [(&cert_key, &cert), (&key_key, &key)] {
            if !path.is_empty() {
                from.problem(name, format!("needs {listen_key} beside it"));
            }
        }
        return None;
    }
    let has_files = !cert.is_empty() || !key.is_empty();
    if has_files || !from.flag("acme.enabled") {
        for (name, path) in [(&cert_key, &cert), (&key_key, &key)] {
            if path.is_empty() {
                from.problem(name, format!("must name a PEM file, since {listen_key} is set"));
            }
        }
    }
    let listen = from.parsed(&listen_key, "an address such as 0.0.0.0:443, or empty")?;
    Some(Tls { listen, files: has_files.then(|| (cert.into(), key.into())) })
}

pub(super) fn https_redirect(from: &mut Reader<'_>, section: &str, has_tls: bool) -> bool {
    let key = format!("{section}.https_redirect");
    let redirects = from.flag(&key);
    if redirects && !has_tls {
        from.problem(&key, format!("needs {section}.tls_listen beside it"));
    }
    redirects
}

pub(super) fn hsts_max_age_s(from: &mut Reader<'_>, section: &str, has_tls: bool) -> u64 {
    let key = format!("{section}.hsts_max_age_s");
    let seconds = from.number(&key, 0..=MAX_HSTS_S);
    if seconds > 0 && !has_tls {
        from.problem(&key, format!("needs {section}.tls_listen beside it"));
    }
    seconds
}
