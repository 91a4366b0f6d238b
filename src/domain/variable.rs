//! A project's variables: what its builds are told, and which of it nobody may see again.

use crate::domain::deployment::Target;
use crate::domain::secret::Secret;
use crate::domain::settings::Variables;
use crate::domain::text::{Invalid, parsed_text};
use time::OffsetDateTime;

/// A variable of a project, for builds of its targets. Another one of the same name may have a value for
/// another target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectVariable {
    pub name: VariableName,
    pub value: Secret,
    /// At least one, each once, production first.
    pub targets: Vec<Target>,
    /// Its value is never given back, and hidden in logs.
    pub secret: bool,
    pub updated_at: OffsetDateTime,
}

/// A variable's name: letters, digits and `_`, as a shell can hold it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VariableName(String);

/// What gv says itself to every build: nobody else's word counts.
const OWN: &[&str] = &["HOME", "PATH", "TMPDIR", "GV_BRANCH", "GV_COMMIT", "GV_DEPLOYMENT", "GV_URL"];

impl VariableName {
    pub const MAX: usize = 200;

    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if !is_name(text) {
            return Err(Invalid::new("must be 1 to 200 letters, digits and _, and not begin with a digit"));
        }
        if OWN.contains(&text) {
            return Err(Invalid::new(format!("is set by gv itself: choose another name than {text}")));
        }
        Ok(Self(text.to_owned()))
    }
}
parsed_text!(VariableName);

pub(super) fn is_name(text: &str) -> bool {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    starts && text.len() <= VariableName::MAX && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Accepts a value that a process can be given. What all of a project's may have together is bounded where
/// they are kept.
pub fn check_value(value: &str) -> Result<(), Invalid> {
    if value.len() > Variables::MAX_BYTES {
        return Err(Invalid::new("must have at most 64 KiB"));
    }
    if value.contains('\0') {
        return Err(Invalid::new("must not contain a NUL character"));
    }
    Ok(())
}

/// What the variables of one target count for together, in bytes.
pub fn weight<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> usize {
    variables.into_iter().map(|(name, value)| name.len() + value.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_a_shell_and_not_those_that_gv_sets() {
        for good in ["A", "_x", "VITE_API_URL", "a1"] {
            assert!(VariableName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "1A", "A-B", "A=B", "é", "A B", "PATH", "HOME", "GV_URL", &"x".repeat(201)] {
            assert!(VariableName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_value_is_bounded_and_has_no_nul() {
        assert!(check_value("line\nline\u{1b}").is_ok());
        assert!(check_value("a\0b").is_err());
        assert!(check_value(&"x".repeat(Variables::MAX_BYTES + 1)).is_err());
    }
}
