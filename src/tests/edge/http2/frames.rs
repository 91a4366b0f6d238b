//! A connection whose frames a test writes and reads itself (RFC 9113, 4): clients that keep to no rule
//! cannot be had from a library.

use super::Secure;
use std::collections::HashMap;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// SETTINGS_INITIAL_WINDOW_SIZE
pub const WINDOW: u16 = 4;

pub const ENHANCE_YOUR_CALM: u32 = 11;
pub const REFUSED_STREAM: u32 = 7;
pub const PROTOCOL_ERROR: u32 = 1;

pub struct Frames(TlsStream<TcpStream>);

/// What came back until the edge was silent for a while, or ended.
#[derive(Debug, Default)]
pub struct Seen {
    /// By stream, in order.
    pub heads: Vec<u32>,
    pub bytes: HashMap<u32, usize>,
    /// Stream and error.
    pub resets: Vec<(u32, u32)>,
    pub pongs: usize,
    /// Its error.
    pub goaway: Option<u32>,
    pub is_closed: bool,
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A field as it is, that no table remembers (RFC 7541, 6.2.2).
pub fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| {
        let mut bytes = number(text.len());
        bytes.extend_from_slice(text.as_bytes());
        bytes
    };
    [vec![0], text(name), text(value)].concat()
}

/// With a prefix of seven bits (RFC 7541, 5.1).
fn number(value: usize) -> Vec<u8> {
    if value < 127 {
        return vec![value as u8];
    }
    let (mut bytes, mut rest) = (vec![127], value - 127);
    while rest >= 128 {
        bytes.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    bytes.push(rest as u8);
    bytes
}

/// The fields of `GET path` for `blog.localhost`.
pub fn get(path: &str) -> Vec<u8> {
    [
        field(":method", "GET"),
        field(":scheme", "https"),
        field(":authority", "blog.localhost"),
        field(":path", path),
    ]
    .concat()
}

pub fn whole_get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &get(path))
}

impl Frames {
    /// With these settings of the client.
    pub async fn connect(secure: &Secure, settings: &[(u16, u32)]) -> Self {
        let mut stream = secure.connect(&[b"h2"]).await;
        let setting = |(name, value): &(u16, u32)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat();
        let settings: Vec<u8> = settings.iter().flat_map(setting).collect();
        let opening = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 0, &settings)].concat();
        stream.write_all(&opening).await.unwrap();
        Self(stream)
    }

    /// The edge may have closed before it has read all: `false`.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        let sent = async { self.0.write_all(bytes).await.is_ok() && self.0.flush().await.is_ok() };
        tokio::time::timeout(Duration::from_secs(20), sent).await.unwrap_or(false)
    }

    /// Reads until nothing comes for so long.
    pub async fn seen(&mut self, silence: Duration) -> Seen {
        let mut seen = Seen::default();
        loop {
            let mut head = [0; 9];
            match tokio::time::timeout(silence, self.0.read_exact(&mut head)).await {
                Err(_) => return seen,
                Ok(Err(_)) => {
                    seen.is_closed = true;
                    return seen;
                }
                Ok(Ok(_)) => {}
            }
            let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let mut payload = vec![0; len];
            if self.0.read_exact(&mut payload).await.is_err() {
                seen.is_closed = true;
                return seen;
            }
            let code =
                |at: usize| payload.get(at..at + 4).map(|four| u32::from_be_bytes(four.try_into().unwrap()));
            match head[3] {
                HEADERS => seen.heads.push(stream),
                DATA => *seen.bytes.entry(stream).or_default() += len,
                RST_STREAM => seen.resets.push((stream, code(0).unwrap())),
                PING if head[4] & ACK != 0 => seen.pongs += 1,
                GOAWAY => seen.goaway = code(4),
                SETTINGS if head[4] & ACK == 0 => {
                    let _ = self.0.write_all(&frame(SETTINGS, ACK, 0, &[])).await;
                }
                _ => {}
            }
        }
    }
}
