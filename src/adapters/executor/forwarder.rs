//! Inside a namespace without a network: TCP on its own loopback in, the proxy's Unix socket out.
//!
//! Programs know proxies by host and port alone, and this is all that leads anywhere in there. It
//! copies and judges nothing: the proxy is outside, where a build cannot touch it.

use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;

/// What programs are told, and the same in each namespace.
pub(super) const PORT: u16 = 3128;
/// Connections at the same time, so that threads do not grow without end; two of them each.
const MOST: usize = 128;
const STACK_BYTES: usize = 64 * 1024;

/// Forwards until the process ends.
pub(super) fn start(socket: &'static Path) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT))?;
    let open = Arc::new(());
    spawn(move || {
        loop {
            // Out of descriptors, say: some connection will end.
            let Ok((inner, _)) = listener.accept() else {
                thread::sleep(std::time::Duration::from_millis(20));
                continue;
            };
            if Arc::strong_count(&open) > MOST {
                continue;
            }
            let held = open.clone();
            // A thread that cannot be had closes the connection.
            let _ = spawn(move || {
                let _ = forward(&inner, socket);
                drop(held);
            });
        }
    })
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().stack_size(STACK_BYTES).spawn(work).map(drop)
}

fn forward(inner: &TcpStream, socket: &Path) -> io::Result<()> {
    let outer = UnixStream::connect(socket)?;
    let (inner_in, outer_out) = (inner.try_clone()?, outer.try_clone()?);
    let up = thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
        let _ = copy(inner_in, &outer_out);
        let _ = outer_out.shutdown(Shutdown::Write);
    })?;
    let _ = copy(&outer, inner);
    // Whatever ended it: the proxy decides when a connection is over.
    let _ = inner.shutdown(Shutdown::Both);
    let _ = outer.shutdown(Shutdown::Both);
    let _ = up.join();
    Ok(())
}

fn copy(mut from: impl io::Read, mut to: impl io::Write) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => to.write_all(buffer.get(..read).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
