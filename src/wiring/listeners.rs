//! Where strangers come in, by the configuration: plain and by TLS, and how one leads to the other.

use crate::config::Config;
use crate::config::tls::Tls;
use crate::tls::files::TlsFiles;
use crate::tls::https::Elsewhere;
use crate::tls::listeners::{Listeners, TlsListener};
use anyhow::Context as _;
use std::net::{SocketAddr, TcpListener};

pub fn bind(key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).with_context(|| {
        format!("{key}: cannot listen on {address}; is it in use? Port 0 takes any free one")
    })
}

pub fn edge_listeners(config: &Config) -> anyhow::Result<Listeners> {
    let edge = &config.edge;
    let entrance = Entrance {
        role: "edge",
        listen: edge.listen,
        tls: edge.tls.as_ref(),
        redirects: edge.https_redirect,
        elsewhere: edge.public.as_ref().map(|public| public.port.map_or_else(Elsewhere::default, Elsewhere)),
    };
    entrance.listeners(config.is_local())
}

pub fn api_listeners(config: &Config) -> anyhow::Result<Listeners> {
    let api = &config.api;
    let entrance = Entrance {
        role: "api",
        listen: api.listen,
        tls: api.tls.as_ref(),
        redirects: api.https_redirect,
        elsewhere: api.public_port.map(Elsewhere),
    };
    entrance.listeners(config.is_local())
}

/// What the configuration says of one role's listeners.
struct Entrance<'c> {
    role: &'static str,
    listen: SocketAddr,
    tls: Option<&'c Tls>,
    /// Whether who comes without TLS is sent to it.
    redirects: bool,
    /// Where clients reach TLS. `None`: nobody said.
    elsewhere: Option<Elsewhere>,
}

impl Entrance<'_> {
    /// A certificate that cannot be shown is told here, before anybody is told that the role can serve.
    fn listeners(&self, is_local: bool) -> anyhow::Result<Listeners> {
        let files = tls_files(self.role, self.tls).map(TlsFiles::certificate).transpose()?;
        let plain = bind(&format!("{}.listen", self.role), self.listen)?;
        let Some(tls) = self.tls else { return Ok(Listeners { plain, elsewhere: None, tls: None }) };
        let socket = bind(&format!("{}.tls_listen", self.role), tls.listen)?;
        // Nothing stands before a gv that is for this machine alone.
        let derived = if is_local { Elsewhere(socket.local_addr()?.port()) } else { Elsewhere::default() };
        let elsewhere = self.redirects.then(|| self.elsewhere.unwrap_or(derived));
        Ok(Listeners { plain, elsewhere, tls: Some(TlsListener { socket, files }) })
    }
}

/// The files of a role's certificate, where it is given one.
pub fn tls_files(role: &'static str, tls: Option<&Tls>) -> Option<TlsFiles> {
    let (cert, key) = tls?.files.clone()?;
    Some(TlsFiles { role, cert, key })
}
