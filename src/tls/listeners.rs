//! Where clients of a role come in: plain, and by TLS with the operator's certificate, which was read before
//! anybody was told that the role can serve.

use crate::tls::files::Certificate;
use crate::tls::https::Elsewhere;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

pub struct Listeners {
    pub plain: TcpListener,
    /// Where clients who come without TLS are sent. `None`: they are answered.
    pub elsewhere: Option<Elsewhere>,
    pub tls: Option<TlsListener>,
}

pub struct TlsListener {
    pub socket: TcpListener,
    /// `None`: what is shown there is what gv gets by itself.
    pub files: Option<Arc<Certificate>>,
}

impl Listeners {
    pub fn tls_address(&self) -> io::Result<Option<SocketAddr>> {
        self.tls.as_ref().map(|tls| tls.socket.local_addr()).transpose()
    }
}
