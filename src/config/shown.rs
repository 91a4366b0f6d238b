//! Settings as they may be shown to people: without what is secret in them.

use super::layers::Setting;

/// Keys whose values are never shown; URLs are shown without their password instead.
const SECRET: &[&str] = &[
    "blobs.access_key",
    "blobs.secret_key",
    "acme.dns_key",
    "acme.eab_key",
    "auth.signing_keys",
    "secrets.keys",
    "worker.build_env",
    "telemetry.otlp_headers",
];

/// A setting as it may be shown: secrets hidden, URLs without their password.
pub fn shown(key: &str, setting: &Setting) -> String {
    if SECRET.contains(&key) {
        return if is_set(setting) { "\"***\"".to_owned() } else { setting.value.to_string() };
    }
    match setting.value.as_str().filter(|_| is_url(key)) {
        Some(url) => toml::Value::from(without_password(url)).to_string(),
        None => setting.value.to_string(),
    }
}

/// Whether a setting has a value that nobody else may read: a secret, or a URL with a password.
pub fn holds_secret(key: &str, setting: &Setting) -> bool {
    let has_password = |url: &str| url::Url::parse(url).is_ok_and(|url| url.password().is_some());
    (SECRET.contains(&key) && is_set(setting))
        || (is_url(key) && setting.value.as_str().is_some_and(has_password))
}

fn is_set(setting: &Setting) -> bool {
    match &setting.value {
        toml::Value::Array(items) => !items.is_empty(),
        value => value.as_str().is_some_and(|text| !text.is_empty()),
    }
}

/// Of a service, which may be told a password in it.
fn is_url(key: &str) -> bool {
    key.ends_with(".url") || key == "worker.registry"
}

/// `url` with its password and its query's secrets replaced by `***`.
pub fn without_password(url: &str) -> String {
    let Ok(mut parsed) = url::Url::parse(url) else { return url.to_owned() };
    let is_secret = |query: &str| query.contains("password") || query.contains("secret");
    if parsed.password().is_none() && !parsed.query().is_some_and(is_secret) {
        return url.to_owned();
    }
    if parsed.password().is_some() && parsed.set_password(Some("***")).is_err() {
        return format!("{}:***", parsed.scheme());
    }
    if parsed.query().is_some_and(is_secret) {
        parsed.set_query(Some("***"));
    }
    parsed.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::load;
    use crate::config::load::tests::with;

    #[test]
    fn secrets_are_never_shown() {
        let loaded = load(&with(&[
            ("GV_BLOBS__SECRET_KEY", "hush"),
            ("GV_DATABASE__URL", "postgres://gv:hush@db/gv"),
            ("GV_AUTH__SIGNING_KEYS", "gvk1.a.hush"),
            ("GV_SECRETS__KEYS", "gvs1.a.hush"),
            ("GV_ACME__DNS_KEY", "hush"),
            ("GV_ACME__EAB_KEY", "hush"),
            ("GV_ACME__EAB_KEY_ID", "id"),
            ("GV_WORKER__BUILD_ENV", "TOKEN=hush"),
            ("GV_WORKER__REGISTRY", "https://gv:hush@mirror.example.com/npm/"),
        ]))
        .unwrap();
        let shown: String = loaded.settings.iter().map(|(key, setting)| shown(key, setting)).collect();
        assert!(!shown.contains("hush"), "{shown}");
        assert!(shown.contains("postgres://gv:***@db/gv"));
        assert!(!format!("{:?}", loaded.config).contains("hush"));
        // Such a URL is refused when it is used, and may be shown before.
        assert_eq!(without_password("s3://sites?region=a&secret_key=hush"), "s3://sites?***");
    }
}
