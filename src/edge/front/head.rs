//! The head of a request, read from the bytes of a connection: whether all of it is there, and
//! whether the front answers it or actix-web.

use crate::edge::pages::{BAD_REQUEST, Page, TOO_LONG, TOO_MANY_FIELDS};
use crate::edge::request::{Method, Request};
use crate::edge::target::{Unfit, in_ascii};
use httparse::{Error, Header, Status};
use std::borrow::Cow;
use std::mem::MaybeUninit;

/// Of a request, with all its fields, in bytes.
pub const MAX_HEAD: usize = 64 * 1024;
/// Of a request.
pub const MAX_FIELDS: usize = 100;

pub type FieldRoom<'r> = [MaybeUninit<Header<'r>>; MAX_FIELDS];

pub enum Head<'r> {
    /// There is more to come.
    Partial,
    /// An ordinary request, its target in ASCII, and the length of its head.
    Whole { request: Request<'r>, target: Cow<'r, str>, len: usize, closes: bool },
    /// One for actix-web, with all that follows.
    Unusual,
    /// None that can be read: nothing behind it is.
    Malformed(Page),
}

/// `bytes` begin with the first byte of a request; empty lines before it are passed over
/// (RFC 9112, 2.2).
pub fn read<'r>(bytes: &'r [u8], room: &'r mut FieldRoom<'r>) -> Head<'r> {
    let mut parsed = httparse::Request::new(&mut []);
    let status = parsed.parse_with_uninit_headers(bytes, room);
    let len = match status {
        Ok(Status::Complete(len)) => len,
        Ok(Status::Partial) if bytes.len() < MAX_HEAD => return Head::Partial,
        Ok(Status::Partial) => return Head::Malformed(too_large(bytes)),
        Err(Error::TooManyHeaders) => return Head::Malformed(TOO_MANY_FIELDS),
        // Another version: actix-web knows what to say.
        Err(Error::Version) => return Head::Unusual,
        Err(_) => return Head::Malformed(BAD_REQUEST),
    };
    let (Some(method_name), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version)
    else {
        return Head::Malformed(BAD_REQUEST);
    };
    let fields: &'r [Header<'r>] = parsed.headers;
    let method = Method::of(method_name);
    let mut closes = false;
    for field in fields {
        let of = |name: &str| field.name.eq_ignore_ascii_case(name);
        match field.name.len() {
            10 if of("connection") => match connection(field.value) {
                Connection::KeepAlive => {}
                Connection::Close => closes = true,
                Connection::Other => return Head::Unusual,
            },
            6 if of("expect") => return Head::Unusual,
            7 if of("upgrade") => return Head::Unusual,
            14 if of("content-length") => return Head::Unusual,
            17 if of("transfer-encoding") => return Head::Unusual,
            _ => {}
        }
    }
    let is_ordinary = version == 1 && method != Method::Refused && target.starts_with('/');
    if !is_ordinary {
        return Head::Unusual;
    }
    let request = Request { method, method_name, target, authority: None, fields };
    match in_ascii(target) {
        Ok(target) => Head::Whole { request, target, len, closes },
        // actix-web cuts them off.
        Err(Unfit::Fragment) => Head::Unusual,
        Err(Unfit::Malformed) => Head::Malformed(BAD_REQUEST),
    }
}

/// A head that has no end yet, and no more room.
fn too_large(bytes: &[u8]) -> Page {
    if bytes.contains(&b'\n') { TOO_MANY_FIELDS } else { TOO_LONG }
}

enum Connection {
    KeepAlive,
    Close,
    Other,
}

/// A list of options (RFC 9110, 7.6.1). `TE` only says that a field of this name is for this connection.
fn connection(value: &[u8]) -> Connection {
    let mut found = Connection::KeepAlive;
    for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
        match option {
            option if option.eq_ignore_ascii_case(b"close") => found = Connection::Close,
            option if [&b"keep-alive"[..], b"te", b""].iter().any(|one| option.eq_ignore_ascii_case(one)) => {
            }
            _ => return Connection::Other,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(text: &str) -> String {
        let mut room = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        match read(text.as_bytes(), &mut room) {
            Head::Partial => "partial".to_owned(),
            Head::Unusual => "unusual".to_owned(),
            Head::Malformed(page) => page.status.to_string(),
            Head::Whole { request, target, len, closes } => {
                let rest = &text[len..];
                format!("{:?} {target} {} {closes} {rest}", request.method, request.fields.len())
            }
        }
    }

    #[test]
    fn ordinary_requests_are_read_up_to_the_next() {
        for (text, expected) in [
            ("GET /a?b=c HTTP/1.1\r\nHost: a\r\n\r\nGET", "Get /a?b=c 1 false GET"),
            ("\r\nHEAD / HTTP/1.1\r\nHost: a\r\nconnection: Close\r\n\r\n", "Head / 2 true "),
            ("GET / HTTP/1.1\nHost: a\n\n", "Get / 1 false "),
            ("GET / HTTP/1.1\r\nConnection: TE, close\r\n\r\nGET", "Get / 1 true GET"),
            ("GET / HTTP/1.1\r\nConnection: keep-alive, te\r\n\r\n", "Get / 1 false "),
            ("BREW / HTTP/1.1\r\nConnection: keep-alive\r\n\r\n", "Other / 1 false "),
            ("GET / HTTP/1.1\r\nHost: a\r\n", "partial"),
            ("GET /\u{e9}?\u{e9}={`} HTTP/1.1\r\nHost: a\r\n\r\n", "Get /%C3%A9?%C3%A9={`} 1 false "),
            ("", "partial"),
        ] {
            assert_eq!(seen(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_ordinary_is_for_actix_web() {
        for head in [
            "GET / HTTP/1.0\r\n",
            "GET http://a/ HTTP/1.1\r\n",
            "OPTIONS * HTTP/1.1\r\n",
            "CONNECT a:80 HTTP/1.1\r\n",
            "TRACE / HTTP/1.1\r\n",
            "PRI * HTTP/2.0\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 0\r\n",
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n",
            "GET / HTTP/1.1\r\nExpect: 100-continue\r\n",
            "GET / HTTP/1.1\r\nConnection: Upgrade\r\n",
            "GET / HTTP/1.1\r\nConnection: close, Upgrade\r\n",
            "GET / HTTP/1.1\r\nUpgrade: h2c\r\n",
            "GET /a#b HTTP/1.1\r\n",
        ] {
            assert_eq!(seen(&format!("{head}\r\n")), "unusual", "{head}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(MAX_FIELDS + 1));
        let large = format!("GET / HTTP/1.1\r\nA: {}", "b".repeat(MAX_HEAD));
        let long = format!("GET /{}", "b".repeat(MAX_HEAD));
        for (text, status) in [
            ("GET / HTTP/1.1\r\nNo colon\r\n\r\n", "400"),
            ("GET / HTTP/1.1\r\nA : b\r\n\r\n", "400"),
            ("GET / HTTP/1.1\r\nA: b\0\r\n\r\n", "400"),
            ("GET  / HTTP/1.1\r\n\r\n", "400"),
            ("GET /<b> HTTP/1.1\r\n\r\n", "400"),
            ("GET /` HTTP/1.1\r\n\r\n", "400"),
            ("GET /?a=\"b\" HTTP/1.1\r\n\r\n", "400"),
            ("GET /?<b> HTTP/1.1\r\n\r\n", "400"),
            ("\0\0\0", "400"),
            (&many, "431"),
            (&large, "431"),
            (&long, "414"),
        ] {
            assert_eq!(seen(text), status, "{}", &text[..text.len().min(50)]);
        }
    }
}
