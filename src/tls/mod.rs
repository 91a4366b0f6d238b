//! TLS for the roles that strangers connect to: their [`listeners`], certificates from [`files`] or those that gv
//! gets by itself ([`certificates`]), the [`handshake`] that shows them, and the way to it from http ([`https`]).
//!
//! It knows nothing of sites nor of the API: whoever listens says in [`Hosts`] whose hosts its connections are
//! for. Start with [`handshake::Handshakes`].

pub mod certificates;
pub mod files;
pub mod handshake;
pub mod https;
pub mod listeners;
pub mod wire;

use crate::domain::host::Hostname;
use async_trait::async_trait;
use std::fmt;
use std::sync::Arc;

/// For whose hosts a listener shows certificates.
#[derive(Clone)]
pub enum Hosts {
    /// The API's, which the configuration names.
    Api,
    /// Those that show a site, by who knows them.
    Sites(Arc<dyn KnownSites>),
}

/// Who knows which hosts show a site.
#[async_trait]
pub trait KnownSites: Send + Sync {
    async fn has(&self, host: &Hostname) -> Result<bool, Unsaid>;
}

/// It cannot be said at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsaid;

impl fmt::Debug for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Api => "Api",
            Self::Sites(_) => "Sites",
        })
    }
}
