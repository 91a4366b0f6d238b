//! From http to https: where clients who come without TLS are sent, and what tells browsers to stay with it. Who
//! is sent, and how, is each role's own.

const PORT: u16 = 443;

/// The port of TLS, as clients reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elsewhere(pub u16);

impl Elsewhere {
    /// The same address by TLS; `target` is path and query.
    pub fn address(self, host: &str, target: &str) -> String {
        match self.0 {
            PORT => format!("https://{host}{target}"),
            port => format!("https://{host}:{port}{target}"),
        }
    }
}

impl Default for Elsewhere {
    fn default() -> Self {
        Self(PORT)
    }
}

/// The value of Strict-Transport-Security (RFC 6797, 6.1). 0: browsers are told nothing.
pub fn hsts(max_age_s: u64) -> Option<String> {
    (max_age_s > 0).then(|| format!("max-age={max_age_s}"))
}
