//! Which host's rules a site speaks: chosen once, when it is deployed.
//!
//! Rule files of a dialect that was not chosen are not mixed in, since many repositories carry the
//! files of two hosts. Start with [`choose`].

use crate::domain::routing::sources::Sources;
use crate::domain::text::Invalid;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    Vercel,
    Netlify,
    Cloudflare,
    Plain,
}

impl Dialect {
    pub const ALL: [Self; 4] = [Self::Vercel, Self::Netlify, Self::Cloudflare, Self::Plain];

    pub fn word(self) -> &'static str {
        match self {
            Self::Vercel => "vercel",
            Self::Netlify => "netlify",
            Self::Cloudflare => "cloudflare",
            Self::Plain => "plain",
        }
    }
}

impl std::fmt::Display for Dialect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

impl std::str::FromStr for Dialect {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let found = Self::ALL.into_iter().find(|dialect| dialect.word() == text);
        found.ok_or_else(|| Invalid::new("must be one of: vercel, netlify, cloudflare, plain"))
    }
}

/// The dialect, and why, as a sentence's end: `there is a netlify.toml`.
pub fn choose(setting: Option<Dialect>, sources: &Sources, vercel_has_rules: bool) -> (Dialect, String) {
    if let Some(dialect) = setting {
        return (dialect, format!("routing is set to {dialect}"));
    }
    if vercel_has_rules {
        return (Dialect::Vercel, "vercel.json has rules".to_owned());
    }
    if sources.netlify_toml.is_some() {
        return (Dialect::Netlify, "there is a netlify.toml".to_owned());
    }
    if let Some(name) = &sources.cloudflare_file {
        return (Dialect::Cloudflare, format!("there is a {name}"));
    }
    let files = match (&sources.redirects, &sources.headers) {
        (None, None) => "there are no rules of another host",
        _ => "there are _redirects or _headers, and nothing of another host",
    };
    (Dialect::Plain, files.to_owned())
}
