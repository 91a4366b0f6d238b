//! Heads of requests and answers, between the form that HTTP/2 has for them and the one that the edge
//! works with.

use crate::edge::front::head::MAX_FIELDS;
use crate::edge::pages::{BAD_REQUEST, Page, TOO_MANY_FIELDS};
use crate::edge::reply::{Reply, cache_status, fields_of};
use crate::edge::request::{Method, Request};
use crate::edge::site_host::parse;
use crate::edge::target::in_ascii;
use crate::http2::OF_CONNECTION;
use http::header::{COOKIE, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Uri};
use httparse::Header;
use std::borrow::Cow;

/// Brings the head of a request into the form of HTTP/1.1, where rules look for it: the authority is the
/// field Host (RFC 9113, 8.3.1), and cookies are one field (8.2.3). `Err`: it is refused so.
pub fn bring_into_form(head: &mut Parts) -> Result<(), Page> {
    if let Some(authority) = head.uri.authority() {
        let site = parse(authority.as_str());
        let is_other = |line: &HeaderValue| line.to_str().map_or(true, |line| parse(line) != site);
        if head.headers.get_all(HOST).iter().any(is_other) {
            return Err(BAD_REQUEST);
        }
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| BAD_REQUEST)?;
        head.headers.insert(HOST, host);
    }
    let mut cookies = head.headers.get_all(COOKIE).iter();
    if let (Some(first), Some(second)) = (cookies.next(), cookies.next()) {
        let crumbs: Vec<&[u8]> =
            [first, second].into_iter().chain(cookies).map(HeaderValue::as_bytes).collect();
        let joined = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])).map_err(|_| BAD_REQUEST)?;
        head.headers.insert(COOKIE, joined);
    }
    if head.headers.len() > MAX_FIELDS {
        return Err(TOO_MANY_FIELDS);
    }
    if let Cow::Owned(ascii) = in_ascii(target(head)).map_err(|_| BAD_REQUEST)? {
        head.uri = Uri::try_from(ascii).map_err(|_| BAD_REQUEST)?;
    }
    Ok(())
}

pub fn fields(head: &Parts) -> Vec<Header<'_>> {
    head.headers.iter().map(|(name, value)| Header { name: name.as_str(), value: value.as_bytes() }).collect()
}

pub fn request<'r>(head: &'r Parts, fields: &'r [Header<'r>]) -> Request<'r> {
    let method_name = head.method.as_str();
    Request { method: Method::of(method_name), method_name, target: target(head), authority: None, fields }
}

fn target(head: &Parts) -> &str {
    head.uri.path_and_query().map_or("", |target| target.as_str())
}

/// `more` are whole lines.
pub fn response(reply: &Reply, more: [&[u8]; 2]) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::NOT_FOUND);
    let fields = response.headers_mut();
    append(fields, reply.lines.as_bytes());
    append(fields, reply.manner.layer.map_or(&[], cache_status));
    for lines in more {
        append(fields, lines);
    }
    response
}

fn append(fields: &mut HeaderMap, lines: &[u8]) {
    for (name, value) in fields_of(lines) {
        let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) else {
            continue;
        };
        if !OF_CONNECTION.contains(&name.as_str()) {
            fields.append(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brought(uri: &str, fields: &[(&'static str, &str)]) -> Result<Vec<(String, String)>, u16> {
        let mut request = http::Request::builder().uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (mut head, ()) = request.body(()).unwrap().into_parts();
        bring_into_form(&mut head).map_err(|page| page.status)?;
        let text =
            |field: &Header<'_>| (field.name.to_owned(), String::from_utf8(field.value.to_vec()).unwrap());
        let mut fields: Vec<_> = super::fields(&head).iter().map(text).collect();
        fields.sort();
        Ok(fields)
    }

    fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_authority_is_the_host_and_cookies_are_one_field() {
        let crumbs = [("cookie", "a=b"), ("cookie", "c=d"), ("cookie", "e=f")];
        let expected = pairs(&[("cookie", "a=b; c=d; e=f"), ("host", "a.example:8443")]);
        assert_eq!(brought("https://a.example:8443/x", &crumbs), Ok(expected));
        assert_eq!(brought("/x", &[("host", "a.example")]), Ok(pairs(&[("host", "a.example")])));
    }

    #[test]
    fn a_host_that_is_not_the_authority_is_malformed() {
        let one = pairs(&[("host", "a.example")]);
        for same in ["a.example", "A.Example:443", "a.example."] {
            assert_eq!(brought("https://a.example/", &[("host", same)]), Ok(one.clone()), "{same}");
        }
        for other in ["b.example", "", "a b"] {
            assert_eq!(brought("https://a.example/", &[("host", other)]), Err(400), "{other}");
        }
        let twice = [("host", "a.example"), ("host", "b.example")];
        assert_eq!(brought("https://a.example/", &twice), Err(400));
    }

    #[test]
    fn fields_are_as_few_as_by_http_1() {
        let many = vec![("x", "y"); MAX_FIELDS + 1];
        assert_eq!(brought("https://a.example/", &many), Err(431));
    }
}
