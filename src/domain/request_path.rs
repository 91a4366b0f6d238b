//! The path that a visitor asked for, made plain once, before any rule or file is looked up.
//!
//! Not the path of a file ([`SitePath`](crate::domain::manifest::SitePath)): that one was checked
//! when the site was deployed, this one comes from a stranger. Start with [`RequestPath::parse`].

use crate::domain::text::Invalid;
use std::borrow::Cow;

/// Decoded segments between `/`, without empty, `.` and `..` ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestPath<'r> {
    text: Cow<'r, str>,
    is_folder: bool,
    /// Where in `text` the folders end that a file can stand in: an encoded `/` is data of its
    /// segment, which no file of a site has in its name.
    reach: usize,
    /// The same path as it was sent, escapes and all: `/a%20b/`.
    sent: Cow<'r, str>,
    /// The same path as patterns see it: `/a b/`.
    pattern_text: Cow<'r, str>,
    /// Where in `sent` each byte of `pattern_text` begins, and its end. `None`: both are one text.
    origins: Option<Box<[u32]>>,
}

/// An encoded `/` in the text that patterns see. No path has it otherwise: control characters are
/// refused.
pub const ENCODED_SLASH: char = '\u{1}';

impl<'r> RequestPath<'r> {
    /// Takes the path of a request target, as it came, without its query. Escapes are decoded
    /// once; `//` counts as `/`; `..` above the root stays at the root (RFC 3986, 5.2.4). Bad
    /// escapes, control characters and what is no UTF-8 are refused.
    pub fn parse(raw: &'r str) -> Result<Self, Invalid> {
        let Some(relative) = raw.strip_prefix('/') else {
            return Err(Invalid::new("must begin with a slash"));
        };
        if is_plain(raw) {
            let is_folder = relative.is_empty() || relative.ends_with('/');
            let text = relative.strip_suffix('/').unwrap_or(relative);
            return Ok(Self {
                text: Cow::Borrowed(text),
                is_folder,
                reach: text.len(),
                sent: Cow::Borrowed(raw),
                pattern_text: Cow::Borrowed(raw),
                origins: None,
            });
        }
        let mut segments: Vec<(&str, String)> = Vec::new();
        let mut is_folder = true;
        for sent in relative.split('/') {
            let segment = decode(sent)?;
            is_folder = matches!(segment.as_str(), "" | "." | "..");
            match segment.as_str() {
                "" | "." => {}
                ".." => drop(segments.pop()),
                _ => segments.push((sent, segment)),
            }
        }
        Ok(Self::of(&segments, is_folder || segments.is_empty()))
    }

    pub fn root() -> Self {
        Self::of(&[], true)
    }

    fn of(segments: &[(&str, String)], is_folder: bool) -> Self {
        let decoded = |count: usize| {
            segments[..count].iter().map(|(_, segment)| segment.as_str()).collect::<Vec<_>>().join("/")
        };
        let plain = segments.iter().take_while(|(_, segment)| !segment.contains('/')).count();
        let (mut sent, mut pattern_text, mut origins) = (String::new(), String::new(), Vec::new());
        for (raw, _) in segments {
            sent.push('/');
            pattern_text.push('/');
            origins.push(sent.len() as u32 - 1);
            append_pattern_text(raw, sent.len(), &mut pattern_text, &mut origins);
            sent.push_str(raw);
        }
        if is_folder {
            sent.push('/');
            pattern_text.push('/');
            origins.push(sent.len() as u32 - 1);
        }
        origins.push(sent.len() as u32);
        Self {
            text: Cow::Owned(decoded(segments.len())),
            is_folder,
            reach: decoded(plain).len(),
            sent: Cow::Owned(sent),
            pattern_text: Cow::Owned(pattern_text),
            origins: Some(origins.into()),
        }
    }

    /// The path as patterns see it: it begins with `/`, is decoded, and has [`ENCODED_SLASH`] where
    /// a `/` was data of its segment. A slash at the end is kept.
    pub fn pattern_text(&self) -> &str {
        &self.pattern_text
    }

    /// The path as it was sent, but for `//`, `.` and `..`.
    pub fn sent(&self) -> &str {
        &self.sent
    }

    /// A part of [`pattern_text`](Self::pattern_text), as it was sent. Both ends lie between
    /// characters.
    pub fn sent_part(&self, part: std::ops::Range<usize>) -> &str {
        let place = |at: usize| match &self.origins {
            Some(origins) => origins.get(at).map_or(self.sent.len(), |place| *place as usize),
            None => at,
        };
        self.sent.get(place(part.start)..place(part.end)).unwrap_or_default()
    }

    pub fn into_owned(self) -> RequestPath<'static> {
        RequestPath {
            text: Cow::Owned(self.text.into_owned()),
            is_folder: self.is_folder,
            reach: self.reach,
            sent: Cow::Owned(self.sent.into_owned()),
            pattern_text: Cow::Owned(self.pattern_text.into_owned()),
            origins: self.origins,
        }
    }

    /// The path as a file would have it: relative, no slash at the end, empty for the root.
    /// `None`: no file can have it.
    pub fn file(&self) -> Option<&str> {
        (self.reach == self.text.len()).then_some(&*self.text)
    }

    /// Whether it ended with a slash.
    pub fn is_folder(&self) -> bool {
        self.is_folder
    }

    /// The folders that the path stands in, innermost first, the root (empty) last. A path that
    /// ended with a slash stands in itself.
    pub fn folders(&self) -> impl Iterator<Item = &str> {
        let within = &self.text[..self.reach];
        let first = if self.is_folder || self.reach < self.text.len() { within } else { parent(within) };
        let mut next = Some(first);
        std::iter::from_fn(move || {
            let folder = next?;
            next = (!folder.is_empty()).then(|| parent(folder));
            Some(folder)
        })
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// Nothing to decode, merge or resolve: what nearly all requests are.
fn is_plain(raw: &str) -> bool {
    let bytes = raw.as_bytes();
    bytes.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'%')
        && !bytes.windows(2).any(|pair| pair == b"//" || pair == b"/.")
}

/// Text of a rule in the form of [`RequestPath::pattern_text`]. What is no escape stays as it is:
/// people write `100%` too.
pub fn pattern_text_of(text: &str) -> String {
    let (mut decoded, mut origins) = (String::with_capacity(text.len()), Vec::new());
    append_pattern_text(text, 0, &mut decoded, &mut origins);
    decoded
}

/// Decodes what was sent, noting for each byte where it came from, counted from `start`. A run of
/// escapes that is no text is kept as it is.
fn append_pattern_text(sent: &str, start: usize, into: &mut String, origins: &mut Vec<u32>) {
    let bytes = sent.as_bytes();
    let escape = |at: usize| match bytes.get(at..at + 3)? {
        [b'%', high, low] => Some(nibble(*high)? << 4 | nibble(*low)?),
        _ => None,
    };
    let mut at = 0;
    while at < sent.len() {
        let mut run = Vec::new();
        while let Some(byte) = escape(at + 3 * run.len()) {
            run.push(byte);
        }
        let text = String::from_utf8(run).ok().filter(|text| !text.is_empty());
        if let Some(text) = text {
            for c in text.chars() {
                origins.extend(std::iter::repeat_n((start + at) as u32, c.len_utf8()));
                into.push(if c == '/' { ENCODED_SLASH } else { c });
                at += 3 * c.len_utf8();
            }
        } else if let Some(c) = sent.get(at..).and_then(|rest| rest.chars().next()) {
            origins.extend(std::iter::repeat_n((start + at) as u32, c.len_utf8()));
            into.push(c);
            at += c.len_utf8();
        }
    }
}

fn decode(segment: &str) -> Result<String, Invalid> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => match (rest.next().and_then(nibble), rest.next().and_then(nibble)) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => return Err(Invalid::new("has a % that no two hexadecimal digits follow")),
            },
            plain => plain,
        });
    }
    let text = String::from_utf8(bytes).map_err(|_| Invalid::new("is not UTF-8"))?;
    if text.chars().any(char::is_control) {
        return Err(Invalid::new("has control characters"));
    }
    Ok(text)
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(raw: &str) -> (String, bool) {
        let path = RequestPath::parse(raw).unwrap();
        (path.file().unwrap_or("(no file)").to_owned(), path.is_folder())
    }

    #[test]
    fn every_spelling_of_a_path_is_one_path() {
        for (raw, file, folder) in [
            ("/", "", true),
            ("/a/b.css", "a/b.css", false),
            ("/a/", "a", true),
            ("//a///b//", "a/b", true),
            ("/a/./b/../c", "a/c", false),
            ("/a/.", "a", true),
            ("/a/b/..", "a", true),
            ("/../../etc/passwd", "etc/passwd", false),
            ("/%2e%2E/%2e/x", "x", false),
            ("/caf%C3%A9", "café", false),
            ("/caf%c3%a9", "café", false),
            ("/a%20b", "a b", false),
            ("/%252e%252e/x", "%2e%2e/x", false),
            ("/.well-known/x", ".well-known/x", false),
            ("/a%5C..%5Cb", "a\\..\\b", false),
            ("/...", "...", false),
        ] {
            assert_eq!(parsed(raw), (file.to_owned(), folder), "{raw}");
        }
    }

    #[test]
    fn bad_escapes_control_characters_and_other_encodings_are_refused() {
        for bad in [
            "",
            "*",
            "a",
            "/%",
            "/%4",
            "/%zz",
            "/a%2",
            "/%00",
            "/a%0d%0ab",
            "/%7f",
            "/%ff",
            "/%c3%28",
            "/%C2%85",
            "/%+1",
        ] {
            assert!(RequestPath::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_encoded_slash_is_data_which_no_file_has() {
        for (raw, folders) in [
            ("/a%2Fb", vec![""]),
            ("/a/b%2fc/d", vec!["a", ""]),
            ("/..%2f..%2fetc/passwd", vec![""]),
            ("/x/%2F/", vec!["x", ""]),
        ] {
            let path = RequestPath::parse(raw).unwrap();
            assert_eq!(path.file(), None, "{raw}");
            assert_eq!(path.folders().collect::<Vec<_>>(), folders, "{raw}");
        }
        // Resolved away, it is gone.
        assert_eq!(RequestPath::parse("/a%2Fb/../c").unwrap().file(), Some("c"));
    }

    #[test]
    fn folders_go_from_the_innermost_to_the_root() {
        let folders = |raw| RequestPath::parse(raw).unwrap().folders().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(folders("/a/b/c"), ["a/b", "a", ""]);
        assert_eq!(folders("/a/b/"), ["a/b", "a", ""]);
        assert_eq!(folders("/"), [""]);
        assert_eq!(folders("/x"), [""]);
    }

    #[test]
    fn patterns_see_the_decoded_path_and_get_back_what_was_sent() {
        let path = RequestPath::parse("//a%20b/./caf%c3%A9/x%2Fy/").unwrap();
        assert_eq!(path.pattern_text(), "/a b/café/x\u{1}y/");
        assert_eq!(path.sent(), "/a%20b/caf%c3%A9/x%2Fy/");
        let part = |text: &str| {
            let at = path.pattern_text().find(text).unwrap();
            path.sent_part(at..at + text.len())
        };
        assert_eq!(part("a b"), "a%20b");
        assert_eq!(part("é/x"), "%c3%A9/x");
        assert_eq!(part("\u{1}y/"), "%2Fy/");
        assert_eq!(path.sent_part(0..path.pattern_text().len()), path.sent());
        let plain = RequestPath::parse("/a/b.css").unwrap();
        assert_eq!((plain.pattern_text(), plain.sent_part(3..8)), ("/a/b.css", "b.css"));
    }

    #[test]
    fn text_of_rules_is_decoded_where_it_can_be() {
        assert_eq!(pattern_text_of("/caf%C3%A9/100%/%ff/a%2fb"), "/café/100%/%ff/a\u{1}b");
    }

    proptest! {
        #[test]
        fn whatever_comes_the_path_stays_below_the_root(raw in "/?([a-c./%\\\\25eEfFcC\u{e9}\u{0}-\u{1f}]|%2e|%2f|\\.\\.|//)*") {
            if let Ok(path) = RequestPath::parse(&raw) {
                if let Some(file) = path.file() {
                    prop_assert!(file.is_empty() || file.split('/').all(|s| !matches!(s, "" | "." | "..")), "{file}");
                }
                prop_assert_eq!(path.folders().last(), Some(""));
                prop_assert!(path.sent().starts_with('/') && !path.sent().contains("//"));
                let again = RequestPath::parse(path.sent()).unwrap();
                prop_assert_eq!(again.pattern_text(), path.pattern_text());
                for (at, _) in path.pattern_text().char_indices() {
                    let (before, after) =
                        (path.sent_part(0..at), path.sent_part(at..path.pattern_text().len()));
                    prop_assert_eq!(format!("{before}{after}"), path.sent());
                }
            }
        }

        #[test]
        fn the_quick_way_agrees_with_the_long_way(raw in "/[a-c./]*") {
            let quick = RequestPath::parse(&raw).unwrap();
            let escaped = raw.replace('a', "%61") + "%61/..";
            let long = RequestPath::parse(&escaped).unwrap();
            if raw.ends_with('/') {
                prop_assert_eq!(quick.file(), long.file());
            }
        }
    }
}
