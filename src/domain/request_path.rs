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
}

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
            return Ok(Self { text: Cow::Borrowed(text), is_folder, reach: text.len() });
        }
        let mut segments: Vec<String> = Vec::new();
        let mut is_folder = true;
        for segment in relative.split('/') {
            let segment = decode(segment)?;
            is_folder = matches!(segment.as_str(), "" | "." | "..");
            match segment.as_str() {
                "" | "." => {}
                ".." => drop(segments.pop()),
                _ => segments.push(segment),
            }
        }
        let plain = segments.iter().take_while(|segment| !segment.contains('/')).count();
        let reach = segments[..plain].join("/").len();
        let is_folder = is_folder || segments.is_empty();
        Ok(Self { text: Cow::Owned(segments.join("/")), is_folder, reach })
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

    proptest! {
        #[test]
        fn whatever_comes_the_path_stays_below_the_root(raw in "/?([a-c./%\\\\25eEfFcC\u{e9}\u{0}-\u{1f}]|%2e|%2f|\\.\\.|//)*") {
            if let Ok(path) = RequestPath::parse(&raw) {
                if let Some(file) = path.file() {
                    prop_assert!(file.is_empty() || file.split('/').all(|s| !matches!(s, "" | "." | "..")), "{file}");
                }
                prop_assert_eq!(path.folders().last(), Some(""));
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
