//! Where a file stands in a site.

use crate::domain::text::{Invalid, parsed_text};

/// A file's place in a site: relative, `/` between segments, no empty, `.` or `..` segment.
/// Decoded UTF-8, not percent-encoded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SitePath(String);

impl SitePath {
    /// At most 4,096 bytes, segments of at most 255.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if !Self::is_valid(text) {
            return Err(Invalid::new("is not the path of a file in a site"));
        }
        Ok(Self(text.to_owned()))
    }

    /// Whether [`parse`](Self::parse) takes it, for those who need no value of it.
    pub fn is_valid(text: &str) -> bool {
        let segment =
            |s: &[u8]| !s.is_empty() && s != b"." && s != b".." && s.len() <= 255 && !s.contains(&0);
        text.len() <= 4096 && text.as_bytes().split(|byte| *byte == b'/').all(segment)
    }
}
parsed_text!(SitePath);

impl std::borrow::Borrow<str> for SitePath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside_the_site() {
        for bad in ["", "/a", "a//b", "../a", "a/..", "a/./b", "a/", "a\0"] {
            assert!(SitePath::parse(bad).is_err(), "{bad:?}");
        }
        assert!(SitePath::parse(".well-known/a b/é.txt").is_ok());
    }

    #[test]
    fn paths_and_their_segments_are_bounded() {
        assert!(SitePath::parse(&"a".repeat(255)).is_ok());
        assert!(SitePath::parse(&"a".repeat(256)).is_err());
        let long = vec!["a".repeat(255); 16].join("/");
        assert!(long.len() == 4095 && SitePath::parse(&long).is_ok());
        assert!(SitePath::parse(&format!("{long}/a")).is_err());
    }
}
