//! A project: what one repository becomes, over all its deployments.

use crate::domain::host::Hostname;
use crate::domain::id::{ProjectId, UserId};
use crate::domain::repo::RepoUrl;
use crate::domain::settings::BuildSettings;
use crate::domain::text::{Invalid, parsed_text};
use time::OffsetDateTime;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    pub id: ProjectId,
    pub account: UserId,
    /// Unique within the account.
    pub name: ProjectName,
    /// The production hostname, claimed when the project was made: `<name>.<domain>`, or with a
    /// hash when another account was first.
    pub host: Hostname,
    pub repo_url: Option<RepoUrl>,
    pub production_branch: Option<String>,
    /// The preset's slug that the last build recognised.
    pub framework: Option<String>,
    pub settings: BuildSettings,
    pub created_at: OffsetDateTime,
}

/// A project's name: lower-case letters, digits and inner hyphens, as a hostname needs it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProjectName(String);

/// Labels under the domain that are gv's own, now or by custom.
const RESERVED: &[&str] = &[
    "api",
    "app",
    "www",
    "admin",
    "dashboard",
    "docs",
    "status",
    "static",
    "assets",
    "mail",
    "ns1",
    "ns2",
    "localhost",
    "gv",
];

impl ProjectName {
    pub const MAX: usize = 100;

    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() || text.len() > Self::MAX {
            return Err(Invalid::new("must have 1 to 100 characters"));
        }
        let shaped = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-');
        if !shaped {
            return Err(Invalid::new("must be lower-case letters, digits and hyphens, such as my-site"));
        }
        // IDNA keeps labels with hyphens at places 3 and 4 for itself (RFC 5891, 4.2.3.1).
        if text.get(2..4) == Some("--") {
            return Err(Invalid::new("must not have hyphens at its third and fourth place"));
        }
        if RESERVED.contains(&text) {
            return Err(Invalid::new(format!("is reserved: choose another name than {text}")));
        }
        Ok(Self(text.to_owned()))
    }

    /// Makes a name out of any text: `My Site_2` becomes `my-site-2`, `api` becomes `api-site`.
    pub fn derive(text: &str) -> Self {
        let mut name = String::new();
        for c in text.chars().take(200) {
            if c.is_ascii_alphanumeric() {
                name.push(c.to_ascii_lowercase());
            } else if !name.ends_with('-') && !name.is_empty() {
                name.push('-');
            }
        }
        name.truncate(Self::MAX - 10);
        let name = name.trim_matches('-');
        Self::parse(name)
            .or_else(|_| Self::parse(&format!("{name}-site")))
            .or_else(|_| Self::parse(&format!("site-{name}")))
            .unwrap_or_else(|_| Self("site".to_owned()))
    }

    /// This name with a number behind it, for when the plain one is taken.
    pub fn numbered(&self, number: u32) -> Self {
        Self(format!("{}-{number}", self.0))
    }
}
parsed_text!(ProjectName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_repository_name_becomes_a_project_name() {
        for (from, to) in [
            ("My Site_2", "my-site-2"),
            ("--weird--", "weird"),
            ("api", "api-site"),
            ("日本", "site"),
            ("a.b.c", "a-b-c"),
            ("xn--caf", "xn-caf"),
        ] {
            assert_eq!(ProjectName::derive(from).as_str(), to);
        }
        assert!(ProjectName::derive(&"x".repeat(500)).as_str().len() <= ProjectName::MAX);
    }

    #[test]
    fn reserved_and_shapeless_names_are_refused() {
        for bad in ["api", "www", "A", "a_b", "-a", "a-", "", "a.b", "xn--a"] {
            assert!(ProjectName::parse(bad).is_err(), "{bad}");
        }
    }
}
