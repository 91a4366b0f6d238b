//! The one way out of a held build: an HTTP proxy in the worker that leads to public addresses.
//!
//! It tunnels (`CONNECT`) to port 443 of hosts whose every address is public, and to what the
//! operator listed, whatever its address; to the latter it also passes plain requests on. It looks
//! a name up itself and dials the very address that it judged. What is said in a tunnel it does not
//! read. It is a way for all builds of one worker, and the builds are strangers: what a connection
//! may take and how many there are is bounded.
//!
//! Start with [`Egress`], then `rules` (who may be contacted), then `connection`.

mod connection;
mod head;
mod rules;

use crate::domain::address::AllowedHost;
use connection::serve;
use futures_util::TryFutureExt;
use futures_util::future::BoxFuture;
use rules::Rules;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// Connections at the same time, of all builds and of one.
const MOST: usize = 512;
const MOST_OF_ONE: usize = 128;

/// A worker's proxy, which opens a door of its own for each command.
pub struct Egress {
    rules: Arc<Rules>,
    /// Of Unix sockets; `None`: doors are ports of loopback.
    folder: Option<PathBuf>,
    places: Arc<Semaphore>,
    opened: AtomicU64,
}

/// Where one command finds the proxy. Dropped, it is closed, and its connections with it.
pub struct Door {
    place: Place,
    _serving: AbortOnDropHandle<()>,
}

enum Place {
    Socket(PathBuf),
    Port(u16),
}

/// The next connection of a listener.
type Accept<L, C> = for<'a> fn(&'a L) -> BoxFuture<'a, io::Result<C>>;

impl Egress {
    /// With Unix sockets in a folder of its own, which is made.
    pub fn by_socket(folder: PathBuf, allowed: Vec<AllowedHost>) -> Self {
        Self { folder: Some(folder), ..Self::by_port(allowed) }
    }

    /// With ports of loopback.
    pub fn by_port(allowed: Vec<AllowedHost>) -> Self {
        Self {
            rules: Arc::new(Rules::new(allowed)),
            folder: None,
            places: Arc::new(Semaphore::new(MOST)),
            opened: AtomicU64::new(0),
        }
    }

    /// To be called within a runtime.
    pub fn open(&self) -> io::Result<Door> {
        match &self.folder {
            Some(folder) => self.open_socket(folder),
            None => self.open_port(),
        }
    }

    fn open_socket(&self, folder: &Path) -> io::Result<Door> {
        std::fs::create_dir_all(folder)?;
        // Builds may run as another user, and the folder above may be closed to it.
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o711))?;
        let name = format!("{}.sock", self.opened.fetch_add(1, Ordering::Relaxed));
        let path = folder.join(&name);
        remove(&path)?;
        let listener = {
            let (_folder, short) = short(folder, &name)?;
            UnixListener::bind(short)?
        };
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))?;
        Ok(Door {
            place: Place::Socket(path),
            _serving: self.serve(listener, |listener| Box::pin(listener.accept().map_ok(|taken| taken.0))),
        })
    }

    fn open_port(&self) -> io::Result<Door> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let listener = TcpListener::from_std(listener)?;
        Ok(Door {
            place: Place::Port(port),
            _serving: self.serve(listener, |listener| Box::pin(listener.accept().map_ok(|taken| taken.0))),
        })
    }

    fn serve<L, C>(&self, listener: L, accept: Accept<L, C>) -> AbortOnDropHandle<()>
    where
        L: Send + Sync + 'static,
        C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let taker = Taker {
            rules: self.rules.clone(),
            all: self.places.clone(),
            own: Arc::new(Semaphore::new(MOST_OF_ONE)),
        };
        AbortOnDropHandle::new(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                taker.take(accept(&listener).await, &mut connections).await;
            }
        }))
    }
}

impl Door {
    pub(super) fn socket(&self) -> Option<&Path> {
        match &self.place {
            Place::Socket(path) => Some(path),
            Place::Port(_) => None,
        }
    }

    pub fn port(&self) -> Option<u16> {
        match &self.place {
            Place::Socket(_) => None,
            Place::Port(port) => Some(*port),
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Place::Socket(path) = &self.place
            && let Err(error) = remove(path)
        {
            tracing::debug!(%error, "the socket of a build that ended stays behind");
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A socket's path may have 107 bytes, which those of data folders can exceed: the kernel's link to
/// the open folder is short. It lasts as long as the folder is held.
fn short(folder: &Path, name: &str) -> io::Result<(std::fs::File, PathBuf)> {
    use std::os::fd::AsRawFd;
    let folder = std::fs::File::open(folder)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()));
    Ok((folder, path))
}

/// Takes the connections of one door.
struct Taker {
    rules: Arc<Rules>,
    all: Arc<Semaphore>,
    own: Arc<Semaphore>,
}

impl Taker {
    async fn take<C>(&self, accepted: io::Result<C>, connections: &mut JoinSet<()>)
    where
        C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok(connection) => {
                let rules = self.rules.clone();
                // Who finds no place is told so, instead of waiting without a bound.
                let places =
                    self.own.clone().try_acquire_owned().ok().zip(self.all.clone().try_acquire_owned().ok());
                if places.is_none() && connections.len() > MOST_OF_ONE * 2 {
                    return;
                }
                connections.spawn(async move {
                    let _open = Open::count();
                    serve(connection, &rules, places.is_some()).await;
                    drop(places);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the builds' proxy cannot take a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// One connection in the metrics.
struct Open(metrics::Gauge);

impl Open {
    fn count() -> Self {
        let gauge = metrics::gauge!("gv_egress_connections");
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
