//! Ports for servers that must be told one before they listen.
//!
//! A port that the kernel gave for 0 and that was let go again may be given to anybody before its server
//! listens: to a connection that goes out, or to another test. These lie below those that connections
//! get, and each is claimed for as long as the test's process lives.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::Range;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::Mutex;

/// Above those of well-known services, below `net.ipv4.ip_local_port_range`.
const PORTS: Range<u16> = 20_000..32_000;

/// Closed by the kernel when the process ends, however it does.
static CLAIMS: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());

/// A port that nobody listens on, and no other test gets while this one runs.
pub fn free_port() -> u16 {
    loop {
        let port = rand::random_range(PORTS);
        // A name that only one process has at a time.
        let name = SocketAddr::from_abstract_name(format!("gv-test-port-{port}")).unwrap();
        let Ok(claim) = UnixListener::bind_addr(&name) else { continue };
        let address = (Ipv4Addr::LOCALHOST, port);
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            CLAIMS.lock().unwrap().push(claim);
            return port;
        }
    }
}
