//! The forms in which a secret value may come out of a tool: as it is, encoded, escaped.
//!
//! All without white space, by which tools wrap and indent what they print; the log is looked through
//! the same way (see [`super::mask`]). Start with [`forms`].

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Shorter values are everywhere: hiding them would make a log unreadable and hide nothing.
const LEAST: usize = 6;
/// Longer forms are looked for in pieces, so that a log never waits for the end of a long one.
const PIECE: usize = 512;
/// Values that say nothing about anybody, in lower case.
const COMMON: &[&str] = &[
    "default",
    "development",
    "disabled",
    "enabled",
    "localhost",
    "nodejs",
    "preview",
    "production",
    "public",
    "release",
    "staging",
    "verbose",
    "warning",
];

/// What is to be hidden for a value. Of one with several lines each line, too: a log has no other.
pub(super) fn forms(value: &str) -> BTreeSet<Vec<u8>> {
    let mut found = BTreeSet::new();
    for text in std::iter::once(value.trim()).chain(value.lines().map(str::trim)) {
        if is_worth_hiding(text) {
            for form in encodings(text) {
                found.extend(pieces(squeezed(&form)));
            }
        }
    }
    found
}

fn is_worth_hiding(text: &str) -> bool {
    squeezed(text).len() >= LEAST && !COMMON.contains(&text.to_ascii_lowercase().as_str())
}

/// Without white space and control characters.
fn squeezed(text: &str) -> Vec<u8> {
    text.chars().filter(|c| !c.is_ascii_whitespace() && !c.is_control()).collect::<String>().into_bytes()
}

/// In pieces of bounded length; the last one ends where the whole does, and is as long as the others.
fn pieces(form: Vec<u8>) -> Vec<Vec<u8>> {
    if form.len() <= PIECE {
        return if form.len() < LEAST { Vec::new() } else { vec![form] };
    }
    let mut pieces: Vec<_> = form.chunks_exact(PIECE).map(<[u8]>::to_vec).collect();
    pieces.push(form[form.len() - PIECE..].to_vec());
    pieces
}

fn encodings(text: &str) -> Vec<String> {
    let json = json(text);
    let mut found = vec![
        text.to_owned(),
        self::json(&json),
        json.replace('/', "\\/"),
        json_in_ascii(text),
        text.replace('\'', "'\\''"),
        html(text),
        hex(text, "", false),
        hex(text, "", true),
        hex(text, ":", false),
        hex(text, ":", true),
        hex(text, "\\x", false),
    ];
    found.push(json);
    for kept in ["-_.~", "-_.!~*'()", "-_.*", "-_.!~*'();,/?:@&=+$#"] {
        found.push(percent(text, kept, false));
        found.push(percent(text, kept, true));
    }
    // Of a form, where a space is a plus: by browsers and Java, by Python, by PHP.
    for kept in ["-_.* ", "-_.~ ", "-_. "] {
        found.extend([false, true].map(|upper| percent(text, kept, upper).replace(' ', "+")));
    }
    found.extend(base64(text.as_bytes()));
    found
}

/// As it stands between the quotes of a JSON text.
fn json(text: &str) -> String {
    // Text is always JSON.
    let quoted = serde_json::to_string(text).unwrap_or_default();
    quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_owned()
}

fn json_in_ascii(text: &str) -> String {
    let mut escaped = String::new();
    for c in json(text).chars() {
        if c.is_ascii() {
            escaped.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a text cannot fail.
            let _ = write!(escaped, "\\u{unit:04x}");
        }
    }
    escaped
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn hex(text: &str, before: &str, upper: bool) -> String {
    let digits = |byte: &u8| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") };
    let all: Vec<String> = text.as_bytes().iter().map(digits).collect();
    all.join(before)
}

/// Percent-encoded but for letters, digits and what is `kept`.
fn percent(text: &str, kept: &str, upper: bool) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || kept.as_bytes().contains(&byte) {
            encoded.push(byte.into());
        } else {
            let digits = if upper { format!("%{byte:02X}") } else { format!("%{byte:02x}") };
            encoded.push_str(&digits);
        }
    }
    encoded
}

/// Wherever in what is encoded the value begins: base64 takes three bytes at a time, so there are three
/// ways. Digits at the ends that other bytes have a share in are left out.
fn base64(bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for before in 0..3 {
        let padded = [vec![0; before].as_slice(), bytes].concat();
        let shared = [0, 2, 3][before];
        let whole = padded.len() * 8 / 6;
        for encoded in [STANDARD_NO_PAD.encode(&padded), URL_SAFE_NO_PAD.encode(&padded)] {
            found.extend(encoded.get(shared..whole).map(str::to_owned));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(value: &str, form: &str) -> bool {
        forms(value).contains(form.as_bytes())
    }

    #[test]
    fn a_value_is_known_in_the_forms_that_tools_print() {
        let value = "pa/ss w\"örd?+'x";
        for form in [
            "pa/ssw\"örd?+'x",
            "pa/ssw\\\"örd?+'x",
            "pa\\/ssw\\\"örd?+'x",
            "pa/ssw\\\"\\u00f6rd?+'x",
            "pa/ssw&quot;örd?+'x",
            "pa%2Fss%20w%22%C3%B6rd%3F%2B'x",
            "pa%2fss%20w%22%c3%b6rd%3f%2b%27x",
            "pa%2Fss+w%22%C3%B6rd%3F%2B%27x",
            "70612f73732077",
        ] {
            let known =
                has(value, form) || forms(value).iter().any(|known| known.starts_with(form.as_bytes()));
            assert!(known, "{form}");
        }
    }

    #[test]
    fn a_value_is_known_in_the_forms_of_each_language() {
        for form in ["with+space~and%2Astar", "with+space%7Eand*star", "with+space%7eand%2astar"] {
            assert!(has("with space~and*star", form), "{form}");
        }
    }

    #[test]
    fn base64_is_known_wherever_the_value_begins() {
        let value = "hunter22-and-more";
        for (before, after) in [("", ""), ("a", "z"), ("ab", "\n"), ("user:", "@host")] {
            for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
                let encoded = engine.encode(format!("{before}{value}{after}"));
                let known = forms(value).into_iter().map(|form| String::from_utf8(form).unwrap());
                let longest =
                    known.filter(|form| encoded.contains(form.as_str())).map(|form| form.len()).max();
                assert!(longest.unwrap_or(0) >= value.len() * 8 / 6 - 2, "{before} {encoded}");
            }
        }
    }

    #[test]
    fn short_and_common_values_are_not_hidden() {
        for value in ["", "1", "true", "12345", "a b c", "production", "Production", "  \n "] {
            assert!(forms(value).is_empty(), "{value}");
        }
        assert!(!forms("123456").is_empty());
    }

    #[test]
    fn each_line_of_a_value_is_hidden_and_a_long_one_in_pieces() {
        assert!(
            has("-----BEGIN\n  c2VjcmV0\n", "c2VjcmV0")
                && has("-----BEGIN\n  c2VjcmV0\n", "-----BEGINc2VjcmV0")
        );
        let long = forms(&"0123456789abcdef".repeat(100));
        assert!(long.iter().all(|form| (LEAST..=PIECE).contains(&form.len())));
    }
}
