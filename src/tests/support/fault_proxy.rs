//! A TCP proxy on loopback that stands between gv and one of its services, and goes wrong when it
//! is told to: it refuses, is silent, is slow, or cuts what is there.
//!
//! It knows nothing of what it carries; for S3 there is `s3_proxy` behind it. Start with
//! [`FaultProxy::start`], then [`FaultProxy::set`]. Everything ends when it is dropped.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

/// What one read takes at most: larger transfers are slowed more than once.
const CHUNK_BYTES: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// Nobody listens, and what was connected is cut: a server that was stopped.
    Refuse,
    /// Accepts and delivers nothing, in neither direction, until the mode changes: a server that
    /// hangs, or a network that swallows.
    Silent,
    /// Each piece waits so long, in both directions.
    Slow(Duration),
    /// What is connected is cut, again and again, each time after so long.
    Reset(Duration),
}

/// Passes connections on to one service, in the present [`Mode`].
pub struct FaultProxy {
    address: SocketAddr,
    state: watch::Sender<State>,
    /// Keeps the port while nobody listens on it.
    _port: TcpSocket,
    _tasks: [AbortOnDropHandle<()>; 2],
}

#[derive(Clone, Copy)]
struct State {
    mode: Mode,
    /// Connections that were made before this rose are cut.
    cuts: u64,
}

impl FaultProxy {
    /// `target` is `host:port`.
    pub fn start(target: impl Into<String>) -> Self {
        let port = socket("127.0.0.1:0".parse().unwrap());
        let address = port.local_addr().unwrap();
        let listener = listen(address);
        let (state, seen) = watch::channel(State { mode: Mode::Pass, cuts: 0 });
        let accepting = tokio::spawn(accept(listener, target.into(), seen));
        let resetting = tokio::spawn(reset(state.clone()));
        let tasks = [accepting, resetting].map(AbortOnDropHandle::new);
        Self { address, state, _port: port, _tasks: tasks }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn set(&self, mode: Mode) {
        self.state.send_modify(|state| {
            state.mode = mode;
            state.cuts += u64::from(matches!(mode, Mode::Refuse | Mode::Reset(_)));
        });
    }

    /// Cuts what is connected, once.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }
}

/// Two may be bound to one port, of which one listens.
fn socket(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseport(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

fn listen(address: SocketAddr) -> TcpListener {
    socket(address).listen(1024).unwrap()
}

async fn accept(listener: TcpListener, target: String, mut state: watch::Receiver<State>) {
    let address = listener.local_addr().unwrap();
    let mut listener = Some(listener);
    let mut open = JoinSet::new(); // ends its connections with itself
    loop {
        if state.borrow_and_update().mode == Mode::Refuse {
            listener = None;
        } else if listener.is_none() {
            listener = Some(listen(address));
        }
        let next = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = state.changed() => if changed.is_err() { return },
            accepted = next => if let Ok((client, _)) = accepted {
                open.spawn(carry(client, target.clone(), state.clone()));
            },
            Some(_) = open.join_next(), if !open.is_empty() => {}
        }
    }
}

async fn reset(state: watch::Sender<State>) {
    let mut seen = state.subscribe();
    loop {
        let mode = seen.borrow_and_update().mode;
        let pause = async {
            match mode {
                Mode::Reset(interval) => sleep(interval).await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = seen.changed() => {}
            () = pause => state.send_modify(|state| state.cuts += 1),
        }
    }
}

async fn carry(mut client: TcpStream, target: String, state: watch::Receiver<State>) {
    let State { mode, cuts: born } = *state.borrow();
    let mut cut = state.clone();
    let cut = async move {
        let _ = cut.wait_for(|state| state.cuts > born).await;
    };
    if mode == Mode::Refuse {
        return hang_up(&client);
    }
    let carried = async {
        deliverable(&mut state.clone()).await;
        let mut server = TcpStream::connect(target).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        let carried = tokio::try_join!(
            pump(from_client, to_server, state.clone()),
            pump(from_server, to_client, state.clone()),
        );
        if carried.is_err() {
            hang_up(&server);
        }
        carried.map(|_| ())
    };
    let ended = tokio::select! {
        carried = carried => carried.is_ok(),
        () = cut => false,
    };
    if !ended {
        hang_up(&client);
    }
}

/// Closed from here on, it is reset and not ended.
fn hang_up(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<State>,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let count = from.read(&mut buffer).await?;
        deliverable(&mut state).await;
        match &buffer[..count] {
            [] => return to.shutdown().await,
            bytes => to.write_all(bytes).await?,
        }
    }
}

/// Waits until something may be delivered.
async fn deliverable(state: &mut watch::Receiver<State>) {
    loop {
        let mode = state.borrow_and_update().mode;
        match mode {
            Mode::Silent => {}
            Mode::Slow(delay) => return sleep(delay).await,
            Mode::Pass | Mode::Refuse | Mode::Reset(_) => return,
        }
        if state.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// Sends back whatever it gets.
    async fn echo() -> (SocketAddr, AbortOnDropHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                open.spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        (address, AbortOnDropHandle::new(serving))
    }

    async fn proxied() -> (FaultProxy, AbortOnDropHandle<()>) {
        let (target, serving) = echo().await;
        (FaultProxy::start(target.to_string()), serving)
    }

    async fn say(stream: &mut TcpStream, word: &[u8]) -> io::Result<()> {
        stream.write_all(word).await?;
        let mut back = vec![0; word.len()];
        stream.read_exact(&mut back).await?;
        assert_eq!(back, word);
        Ok(())
    }

    const SOON: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn what_passes_arrives_whole_and_so_does_its_end() {
        let (proxy, _echo) = proxied().await;
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        let sent: Vec<u8> = (0..1_000_000_u32).map(|n| n as u8).collect();
        let (mut from, mut to) = stream.split();
        let sending = async {
            to.write_all(&sent).await.unwrap();
            to.shutdown().await.unwrap();
        };
        let mut got = Vec::new();
        let ((), read) = tokio::join!(sending, from.read_to_end(&mut got));
        read.unwrap();
        assert!(got == sent);
    }

    #[tokio::test]
    async fn a_refusing_one_looks_stopped_and_comes_back_at_the_same_port() {
        let (proxy, _echo) = proxied().await;
        let mut before = TcpStream::connect(proxy.address()).await.unwrap();
        say(&mut before, b"one").await.unwrap();
        for _ in 0..3 {
            proxy.set(Mode::Refuse);
            assert!(say(&mut before, b"two").await.is_err(), "what was connected is cut");
            sleep(SOON).await;
            let refused = TcpStream::connect(proxy.address()).await.unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
            proxy.set(Mode::Pass);
            sleep(SOON).await;
            before = TcpStream::connect(proxy.address()).await.unwrap();
            say(&mut before, b"three").await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_silent_one_accepts_and_holds_everything_back() {
        let (proxy, _echo) = proxied().await;
        let mut before = TcpStream::connect(proxy.address()).await.unwrap();
        say(&mut before, b"one").await.unwrap();
        proxy.set(Mode::Silent);
        let mut during = TcpStream::connect(proxy.address()).await.unwrap();
        {
            let (first, second) = (say(&mut before, b"two"), say(&mut during, b"three"));
            let both = async { tokio::try_join!(first, second) };
            let mut both = std::pin::pin!(both);
            assert!(tokio::time::timeout(SOON, &mut both).await.is_err());
            proxy.set(Mode::Pass);
            both.await.unwrap();
        }
        say(&mut during, b"four").await.unwrap();
    }

    #[tokio::test]
    async fn a_slow_one_delays_both_directions() {
        let (proxy, _echo) = proxied().await;
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        proxy.set(Mode::Slow(SOON));
        let began = Instant::now();
        say(&mut stream, b"word").await.unwrap();
        assert!(began.elapsed() >= SOON * 2);
    }

    #[tokio::test]
    async fn one_that_resets_cuts_again_and_again_but_lets_everybody_in() {
        let (proxy, _echo) = proxied().await;
        proxy.set(Mode::Reset(SOON));
        for _ in 0..3 {
            let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
            say(&mut stream, b"word").await.unwrap();
            let mut rest = Vec::new();
            let cut = stream.read_to_end(&mut rest).await.unwrap_err();
            assert_eq!(cut.kind(), io::ErrorKind::ConnectionReset);
        }
        proxy.set(Mode::Pass);
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        say(&mut stream, b"word").await.unwrap();
        sleep(SOON * 2).await;
        say(&mut stream, b"word").await.unwrap();
        proxy.cut();
        assert!(say(&mut stream, b"word").await.is_err());
    }
}
