//! One connection of a build to its proxy: one request, then bytes both ways until either is silent
//! for too long.

use super::head::{self, Asked};
use super::rules::{Refused, Rules};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

/// How long a build may take to say what it wants.
const HEAD: Duration = Duration::from_secs(30);
/// How long nothing may move, either way.
const IDLE: Duration = Duration::from_secs(120);
const PIECE: usize = 32 * 1024;

pub(super) async fn serve<C>(mut build: C, rules: &Rules, has_place: bool)
where
    C: AsyncRead + AsyncWrite + Send + Unpin,
{
    if !has_place {
        let refused =
            Refused { reason: "busy", sentence: "too many connections at the same time".to_owned() };
        return refuse(&mut build, 503, &refused).await;
    }
    let asked = match timeout(HEAD, head::read(&mut build)).await {
        Ok(Ok(Some(asked))) => asked,
        Ok(Ok(None)) | Err(_) => return,
        Ok(Err(sentence)) => {
            let refused = Refused { reason: "malformed", sentence: sentence.to_owned() };
            return refuse(&mut build, 400, &refused).await;
        }
    };
    let (opened, first) = match asked {
        (Asked::Tunnel { host, port }, rest) => {
            let opened = rules.tunnel(&host, port).await;
            if opened.is_ok()
                && build.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.is_err()
            {
                return;
            }
            (opened, rest)
        }
        (Asked::Plain { url, mut head }, rest) => {
            head.extend(rest);
            (rules.plain(&url).await, head)
        }
    };
    match opened {
        Ok(server) => carry(build, server, &first).await,
        Err(refused) => refuse(&mut build, status(&refused), &refused).await,
    }
}

fn status(refused: &Refused) -> u16 {
    match refused.reason {
        "lookup" | "unreachable" => 502,
        "malformed" => 400,
        _ => 403,
    }
}

/// The sentence stands in the status line, too: of a refused tunnel most programs show nothing else.
async fn refuse(build: &mut (impl AsyncWrite + Unpin), status: u16, refused: &Refused) {
    metrics::counter!("gv_egress_refused_total", "reason" => refused.reason).increment(1);
    tracing::debug!(reason = refused.reason, sentence = refused.sentence, "a build was refused a connection");
    let sentence = refused.sentence.replace(|c: char| c.is_control() || !c.is_ascii(), "?");
    let hint = match status {
        403 => " (the operator can allow it: worker.egress_allow)",
        _ => "",
    };
    let body = format!("gv: {sentence}{hint}\n");
    let answer = format!(
        "HTTP/1.1 {status} gv: {sentence}{hint}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = timeout(HEAD, build.write_all(answer.as_bytes())).await;
    let _ = timeout(HEAD, build.shutdown()).await;
}

async fn carry<C: AsyncRead + AsyncWrite + Send + Unpin>(build: C, mut server: TcpStream, first: &[u8]) {
    if !first.is_empty() && server.write_all(first).await.is_err() {
        return;
    }
    let (moved, moves) = watch::channel(Instant::now());
    let (build_in, build_out) = tokio::io::split(build);
    let (server_in, server_out) = server.into_split();
    let both = async {
        tokio::join!(copy(build_in, server_out, "up", &moved), copy(server_in, build_out, "down", &moved))
    };
    tokio::select! {
        _ = both => {}
        () = silence(moves) => tracing::debug!("a silent connection of a build is closed"),
    }
}

/// Copies until the end, which it passes on.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    direction: &'static str,
    moved: &watch::Sender<Instant>,
) -> io::Result<()> {
    let bytes = metrics::counter!("gv_egress_bytes_total", "direction" => direction);
    let mut piece = vec![0; PIECE];
    loop {
        let read = from.read(&mut piece).await.unwrap_or(0);
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(piece.get(..read).unwrap_or_default()).await?;
        bytes.increment(read as u64);
        moved.send_replace(Instant::now());
    }
}

async fn silence(moves: watch::Receiver<Instant>) {
    loop {
        let until = *moves.borrow() + IDLE;
        if Instant::now() >= until {
            return;
        }
        sleep_until(until).await;
    }
}
