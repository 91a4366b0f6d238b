//! The head of a proxy's request: read, taken apart, and written anew for a plain request's server.

use std::fmt::Write;
use tokio::io::{AsyncRead, AsyncReadExt};
use url::Url;

/// Longer heads are refused; in bytes.
const MOST: usize = 16 * 1024;
const FIELDS: usize = 100;

/// Fields of one hop (RFC 9110, 7.6.1), which end here.
const OF_THIS_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "proxy-authenticate",
    "te",
    "host",
];

#[derive(Debug)]
pub(super) enum Asked {
    Tunnel {
        host: String,
        port: u16,
    },
    Plain {
        url: Url,
        /// What its server is to read first.
        head: Vec<u8>,
    },
}

/// What was asked, and the bytes behind the head that came with it. `None`: nobody asked anything.
pub(super) async fn read(
    from: &mut (impl AsyncRead + Unpin),
) -> Result<Option<(Asked, Vec<u8>)>, &'static str> {
    let mut bytes = Vec::new();
    loop {
        if let Some((asked, length)) = parse(&bytes)? {
            return Ok(Some((asked, bytes.split_off(length))));
        }
        if bytes.len() >= MOST {
            return Err("the head of this request is too long");
        }
        let mut piece = [0; 4096];
        match from.read(&mut piece).await {
            Ok(0) | Err(_) if bytes.is_empty() => return Ok(None),
            Ok(0) | Err(_) => return Err("this request broke off"),
            Ok(read) => bytes.extend_from_slice(&piece[..read]),
        }
    }
}

/// `None`: it is not whole yet.
fn parse(bytes: &[u8]) -> Result<Option<(Asked, usize)>, &'static str> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err("that is no HTTP request"),
    };
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return Err("that is no HTTP request");
    };
    let asked = if method == "CONNECT" { tunnel(target)? } else { plain(method, target, request.headers)? };
    Ok(Some((asked, length)))
}

fn tunnel(target: &str) -> Result<Asked, &'static str> {
    let (host, port) = target.rsplit_once(':').ok_or("CONNECT wants a host and a port")?;
    let port = port.parse().map_err(|_| "CONNECT wants a host and a port")?;
    Ok(Asked::Tunnel { host: host.to_owned(), port })
}

fn plain(method: &str, target: &str, fields: &[httparse::Header<'_>]) -> Result<Asked, &'static str> {
    let url = Url::parse(target).ok().filter(|url| url.scheme() == "http");
    let url = url.ok_or("a proxy wants a whole http URL")?;
    let host = crate::domain::address::place(&url).ok_or("a proxy wants a whole http URL")?;
    let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
    // One request a connection: then the end of its answer is the end of the connection.
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    let named = fields.iter().filter(|field| field.name.eq_ignore_ascii_case("connection"));
    let named: Vec<String> = named
        .flat_map(|field| {
            String::from_utf8_lossy(field.value).split(',').map(str::to_owned).collect::<Vec<_>>()
        })
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let mut bytes = Vec::new();
    for field in fields {
        let name = field.name.to_ascii_lowercase();
        if OF_THIS_HOP.contains(&name.as_str()) || named.contains(&name) {
            continue;
        }
        let _ = write!(head, "{}: ", field.name);
        bytes.append(&mut std::mem::take(&mut head).into_bytes());
        bytes.extend_from_slice(field.value);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    bytes.append(&mut head.into_bytes());
    Ok(Asked::Plain { url, head: bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(mut text: &[u8]) -> Result<Option<(Asked, Vec<u8>)>, &'static str> {
        read(&mut text).await
    }

    #[tokio::test]
    async fn a_tunnel_is_asked_for_by_host_and_port_and_what_follows_is_kept() {
        let text = b"CONNECT [2606::1]:443 HTTP/1.1\r\nHost: x\r\n\r\n\x16\x03\x01";
        let (asked, rest) = ask(text).await.unwrap().unwrap();
        assert!(matches!(asked, Asked::Tunnel { host, port: 443 } if host == "[2606::1]"));
        assert_eq!(rest, b"\x16\x03\x01");
    }

    #[tokio::test]
    async fn a_plain_request_is_written_anew_for_its_server() {
        let text = b"POST http://Mirror.Internal:8080/a%20b?q=1#f HTTP/1.1\r\nHost: other\r\nAccept: */*\r\n\
            Proxy-Authorization: hush\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nContent-Length: 2\r\n\r\nhi";
        let (asked, rest) = ask(text).await.unwrap().unwrap();
        let Asked::Plain { url, head } = asked else { panic!("{asked:?}") };
        assert_eq!(url.port(), Some(8080));
        assert_eq!(
            String::from_utf8(head).unwrap(),
            "POST /a%20b?q=1 HTTP/1.1\r\nHost: mirror.internal:8080\r\nConnection: close\r\nAccept: */*\r\n\
             Content-Length: 2\r\n\r\n"
        );
        assert_eq!(rest, b"hi");
    }

    #[tokio::test]
    async fn what_is_no_proxy_request_is_refused() {
        for bad in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET https://x/ HTTP/1.1\r\n\r\n",
            "GET file:///etc/passwd HTTP/1.1\r\n\r\n",
            "CONNECT x HTTP/1.1\r\n\r\n",
            "CONNECT x:99999 HTTP/1.1\r\n\r\n",
            "\x16\x03\x01 tls",
            "GET http://x/ HTTP/1.1\r\nhalf",
        ] {
            assert!(ask(bad.as_bytes()).await.is_err(), "{bad:?}");
        }
        assert!(ask(b"").await.unwrap().is_none());
        let long = format!("GET http://x/ HTTP/1.1\r\nA: {}\r\n\r\n", "a".repeat(MOST));
        assert!(ask(long.as_bytes()).await.is_err());
    }
}
