//! Path and query of a request, as they came: each byte is looked at once, and tells whether the edge answers
//! the request and what rules look at.

use percent_encoding::{CONTROLS, utf8_percent_encode};
use std::borrow::Cow;

/// Why a target is none for the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It has a fragment, whatever else it has. Clients keep theirs to themselves.
    Fragment,
    Malformed,
}

/// A target as browsers send it: what is no ASCII in percents (RFC 3987, 3.1), since people and programs send
/// that too. A byte that path or query may not have is as the `http` crate has it, by which HTTP/2 and
/// actix-web read them, so that a visitor meets one rule.
pub fn in_ascii(target: &str) -> Result<Cow<'_, str>, Unfit> {
    let (mut seen, mut told) = (0, BAD_IN_PATH | FRAGMENT | BEYOND_ASCII);
    for byte in target.bytes() {
        seen |= TELLS[usize::from(byte)] & told;
        if byte == b'?' {
            told = BAD_IN_QUERY | FRAGMENT | BEYOND_ASCII;
        }
    }
    match seen {
        0 => Ok(Cow::Borrowed(target)),
        BEYOND_ASCII => Ok(utf8_percent_encode(target, CONTROLS).into()),
        seen if seen & FRAGMENT != 0 => Err(Unfit::Fragment),
        _ => Err(Unfit::Malformed),
    }
}

const BAD_IN_PATH: u8 = 1;
const BAD_IN_QUERY: u8 = 1 << 1;
const FRAGMENT: u8 = 1 << 2;
const BEYOND_ASCII: u8 = 1 << 3;

/// What each byte tells of the target that it is in.
static TELLS: [u8; 256] = {
    let mut tells = [0; 256];
    let mut byte = 0;
    while byte < tells.len() {
        tells[byte] = match byte as u8 {
            b'#' => FRAGMENT,
            b'`' => BAD_IN_PATH,
            b'"' => BAD_IN_QUERY,
            ..=b' ' | b'<' | b'>' | 0x7f => BAD_IN_PATH | BAD_IN_QUERY,
            0x80.. => BEYOND_ASCII,
            _ => 0,
        };
        byte += 1;
    }
    tells
};

#[cfg(test)]
mod tests {
    use super::*;
    use http::uri::PathAndQuery;

    #[test]
    fn what_is_no_ascii_is_put_in_percents_and_nothing_else_is_touched() {
        for (target, expected) in [
            ("", ""),
            ("/a?b=c", "/a?b=c"),
            ("/a%20b\"{|}?`?=^", "/a%20b\"{|}?`?=^"),
            ("/\u{e9}?\u{e9}={`}", "/%C3%A9?%C3%A9={`}"),
        ] {
            assert_eq!(in_ascii(target).as_deref(), Ok(expected));
        }
        assert!(matches!(in_ascii("/a?b"), Ok(Cow::Borrowed(_))));
    }

    #[test]
    fn a_fragment_is_told_whatever_else_is_wrong() {
        for target in ["/a#b", "/a?b#c", "/<a>#b", "/#\u{e9}", "/a?\"#"] {
            assert_eq!(in_ascii(target), Err(Unfit::Fragment), "{target}");
        }
        for target in ["/a`?", "/a?b\"", "/\u{e9}<", "/a b", "/a?b c", "/\t", "/\u{7f}"] {
            assert_eq!(in_ascii(target), Err(Unfit::Malformed), "{target}");
        }
    }

    #[test]
    fn each_visible_character_is_judged_as_http_2_judges_it() {
        for visible in (' '..='~').filter(|visible| *visible != '#') {
            for target in [format!("/a{visible}b"), format!("/a?b{visible}c"), format!("/a?b?{visible}")] {
                let is_read = PathAndQuery::try_from(target.as_str()).is_ok();
                assert_eq!(in_ascii(&target).is_ok(), is_read, "{target}");
            }
        }
    }
}
