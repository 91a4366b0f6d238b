//! Where strangers come in, by the configuration: plain and by TLS, and how one leads to the other.

use crate::config::Config;
use crate::config::tls::Tls;
use crate::tls::files::TlsFiles;
use crate::{api, edge};
use anyhow::Context as _;
use std::net::{SocketAddr, TcpListener};

pub fn bind(key: &'static str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).with_context(|| {
        format!("{key}: cannot listen on {address}; is it in use? Port 0 takes any free one")
    })
}

/// The port of TLS as visitors reach it, where those who come without are sent there.
pub fn edge_redirect(config: &Config, tls: Option<SocketAddr>) -> Option<u16> {
    let tls = tls.filter(|_| config.edge.https_redirect)?;
    match &config.edge.public {
        Some(public) => Some(public.port.unwrap_or(443)),
        None if config.is_local() => Some(tls.port()),
        None => Some(443),
    }
}

/// The same for the api's clients.
pub fn api_redirect(config: &Config, tls: Option<SocketAddr>) -> Option<u16> {
    let tls = tls.filter(|_| config.api.https_redirect)?;
    let derived = if config.is_local() { tls.port() } else { 443 };
    Some(config.api.public_port.unwrap_or(derived))
}

/// The files of a role's certificate, where it is given one.
pub fn tls_files(role: &'static str, tls: Option<&Tls>) -> Option<TlsFiles> {
    let (cert, key) = tls?.files.clone()?;
    Some(TlsFiles { role, cert, key })
}

/// What cannot be shown is told before anybody is told that the role can serve.
fn expect_certificate(role: &'static str, tls: Option<&Tls>) -> anyhow::Result<()> {
    tls_files(role, tls).map(TlsFiles::certificate).transpose().map(drop)
}

pub fn edge_listeners(config: &Config) -> anyhow::Result<edge::Listeners> {
    expect_certificate("edge", config.edge.tls.as_ref())?;
    let tls = config.edge.tls.as_ref().map(|tls| bind("edge.tls_listen", tls.listen));
    Ok(edge::Listeners { plain: bind("edge.listen", config.edge.listen)?, tls: tls.transpose()? })
}

pub fn api_listeners(config: &Config) -> anyhow::Result<api::Listeners> {
    expect_certificate("api", config.api.tls.as_ref())?;
    let tls = config.api.tls.as_ref().map(|tls| bind("api.tls_listen", tls.listen));
    Ok(api::Listeners { plain: bind("api.listen", config.api.listen)?, tls: tls.transpose()? })
}

pub fn tls_address(listener: Option<&TcpListener>) -> std::io::Result<Option<SocketAddr>> {
    listener.map(TcpListener::local_addr).transpose()
}
