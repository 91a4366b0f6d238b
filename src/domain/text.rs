//! Text that strangers send: the checks that every bounded, printable name shares.
//!
//! Start with [`Invalid`], the one error that parsing a value can give.

use std::borrow::Cow;
use std::fmt;

/// Why a value was refused, as a sentence for the person who sent it: what is wrong and what
/// would be right. The field's name is known at the boundary, not here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid(pub Cow<'static, str>);

impl Invalid {
    pub fn new(reason: impl Into<Cow<'static, str>>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Invalid {}

/// Accepts `text` when it has 1 to `max_chars` characters and no control characters (line breaks
/// and invisible direction marks included, since they forge log lines and names).
pub fn printable(text: &str, max_chars: usize) -> Result<&str, Invalid> {
    if text.trim().is_empty() {
        return Err(Invalid::new("must not be empty"));
    }
    // Bytes bound characters from above, so a huge text is refused without counting it.
    if text.len() > max_chars.saturating_mul(4) || text.chars().count() > max_chars {
        return Err(Invalid::new(format!("must have at most {max_chars} characters")));
    }
    if text.chars().any(is_forbidden) {
        return Err(Invalid::new("must not contain control characters"));
    }
    Ok(text)
}

fn is_forbidden(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Gives a parsed string type its `Display`, `FromStr`, `Deserialize` and `Serialize`, so that an
/// invalid value cannot be made, from JSON neither. The type is a tuple struct around `String`
/// with `fn parse(&str) -> Result<Self, Invalid>`.
macro_rules! parsed_text {
    ($name:ident) => {
        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::domain::text::Invalid;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use parsed_text;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_direction_characters_are_refused() {
        for bad in ["a\nb", "a\0", "a\u{202e}b", "\u{7f}"] {
            assert!(printable(bad, 10).is_err(), "{bad:?}");
        }
        assert_eq!(printable("Zoë's site", 10).unwrap(), "Zoë's site");
    }

    #[test]
    fn length_counts_characters_not_bytes() {
        assert!(printable("ëëë", 3).is_ok());
        assert!(printable("eeee", 3).is_err());
    }
}
