//! The URL of a Redis server: `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE][?prefix=P]`, or
//! `rediss://` for TLS, whose certificate is verified against the system's roots.
//!
//! What is wrong with a URL is said without repeating it: it may hold a password.

use crate::ports::error::{StoreError, StoreErrorKind};
use fred::types::config::{Config, ServerConfig, TlsConnector};
use std::fmt;
use url::{Host, Url};

const PORT: u16 = 6379;
const PREFIX: &str = "gv:";
const MAX_PREFIX: usize = 64;

/// Where a server is, how to get in, and which of its keys are ours.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) config: Config,
    pub(super) prefix: String,
    /// Host, port and database.
    shown: String,
}

impl Address {
    pub(super) fn parse(text: &str) -> Result<Self, StoreError> {
        let url = Url::parse(text)
            .map_err(|error| wrong(&format!("is no URL such as redis://localhost:6379/0 ({error})")))?;
        let is_secure = match url.scheme() {
            "redis" => false,
            "rediss" => true,
            _ => return Err(wrong("must begin with redis:// or rediss://")),
        };
        if url.fragment().is_some() {
            return Err(wrong("has a # in it: write %23 where one belongs into a password"));
        }
        let host = match url.host() {
            Some(Host::Domain(host)) if !host.is_empty() => host.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            _ => return Err(wrong("names no host, such as redis://localhost:6379/0")),
        };
        let port = url.port().unwrap_or(PORT);
        let database = database(&url)?;
        let (username, password) = credentials(&url)?;
        let prefix = prefix(&url)?;
        let tls = if is_secure {
            let connector = TlsConnector::default_rustls()
                .map_err(|error| wrong(&format!("asks for TLS, which cannot be prepared ({error})")))?;
            Some(connector.into())
        } else {
            None
        };
        let shown = match (&url.host(), database) {
            (Some(Host::Ipv6(address)), database) => format!("[{address}]:{port}/{database}"),
            (_, database) => format!("{host}:{port}/{database}"),
        };
        let config = Config {
            username,
            password,
            server: ServerConfig::new_centralized(host, port),
            database: (database > 0).then_some(database),
            tls,
            ..Config::default()
        };
        Ok(Self { config, prefix, shown })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

fn database(url: &Url) -> Result<u8, StoreError> {
    let path = url.path().trim_start_matches('/');
    if path.is_empty() {
        return Ok(0);
    }
    path.parse().map_err(|_| wrong("must end with a database's number after its host, such as /0"))
}

fn credentials(url: &Url) -> Result<(Option<String>, Option<String>), StoreError> {
    let decoded = |text: &str| {
        let decoded = percent_encoding::percent_decode_str(text).decode_utf8();
        decoded.map(String::from).map_err(|_| wrong("has a user or password that is no UTF-8"))
    };
    let username = decoded(url.username())?;
    let password = decoded(url.password().unwrap_or_default())?;
    if !username.is_empty() && password.is_empty() {
        return Err(wrong("names a user without a password; a password alone is written redis://:PASSWORD@"));
    }
    let given = |text: String| (!text.is_empty()).then_some(text);
    Ok((given(username), given(password)))
}

fn prefix(url: &Url) -> Result<String, StoreError> {
    let mut prefix = None;
    for (name, value) in url.query_pairs() {
        if name != "prefix" {
            return Err(wrong(&format!("has an unknown parameter {:?}: only prefix is known", short(&name))));
        }
        if prefix.replace(value.into_owned()).is_some() {
            return Err(wrong("has the parameter prefix twice"));
        }
    }
    let prefix = prefix.unwrap_or_else(|| PREFIX.to_owned());
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b":._-/".contains(&byte);
    if prefix.is_empty() || prefix.len() > MAX_PREFIX || !prefix.bytes().all(is_plain) {
        return Err(wrong("must have a prefix of 1 to 64 letters, digits and : . _ - /, such as prefix=gv:"));
    }
    Ok(prefix)
}

/// What was written after a `?` may still be the end of a password.
fn short(name: &str) -> &str {
    if name.len() <= 20 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
        name
    } else {
        "..."
    }
}

fn wrong(how: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Internal, "reading the URL of the cache", format!("it {how}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> Address {
        Address::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    #[test]
    fn a_url_says_where_who_and_which_keys() {
        let plain = parsed("redis://localhost");
        assert_eq!((plain.to_string().as_str(), plain.prefix.as_str()), ("localhost:6379/0", "gv:"));
        assert_eq!((&plain.config.username, &plain.config.password), (&None, &None));
        assert!(plain.config.tls.is_none());
        let full = parsed("redis://ada:p%40ss%2F@10.0.0.7:7000/3?prefix=team-a:");
        assert_eq!(full.config.username.as_deref(), Some("ada"));
        assert_eq!(full.config.password.as_deref(), Some("p@ss/"));
        assert_eq!((full.config.database, full.prefix.as_str()), (Some(3), "team-a:"));
        assert_eq!(full.to_string(), "10.0.0.7:7000/3", "and no password is shown");
        assert_eq!(parsed("redis://:secret@h/").config.password.as_deref(), Some("secret"));
        let six = parsed("redis://[::1]:7000/0");
        assert_eq!(six.config.server, ServerConfig::new_centralized("::1", 7000));
        assert_eq!(six.to_string(), "[::1]:7000/0");
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said_without_its_password() {
        for (url, part) in [
            ("localhost:6379", "redis://"),
            ("http://:hunter22@h", "redis://"),
            ("redis://:hunter22@", "host"),
            ("redis://:hunter22@h:99999", "URL"),
            ("redis://:hunter22@h/x", "number"),
            ("redis://:hunter22@h/256", "number"),
            ("redis://:hunter22@h/0/1", "number"),
            ("redis://hunter22@h", "without a password"),
            ("redis://:%ff@h", "UTF-8"),
            ("redis://:hunter22@h#x", "%23"),
            ("redis://:hunter22@h?db=1", "\"db\""),
            ("redis://:x?hunter22@h", "URL"),
            ("redis://h?hunter22", "prefix"),
            ("redis://h?prefix=a&prefix=b", "twice"),
            ("redis://h?prefix=", "1 to 64"),
            ("redis://h?prefix=a%20b", "1 to 64"),
        ] {
            let error = Address::parse(url).err().unwrap_or_else(|| panic!("{url} passes")).to_string();
            assert!(error.contains(part), "{url}: {error}");
            assert!(!error.contains("hunter22"), "{error}");
        }
    }
}
