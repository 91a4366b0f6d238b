//! Where a site's source is: the URL of a Git repository and what of it is wanted.
//!
//! Whether an address may be contacted is not decided here (a name can mean another address by
//! then) but by the source adapter at the moment of connecting.

use crate::domain::text::{Invalid, parsed_text, printable};
use url::Url;

/// An `http` or `https` URL of a Git repository, without credentials.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RepoUrl(String);

impl RepoUrl {
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let text = printable(text, 2_000)?;
        if text.starts_with('-') || text.contains(char::is_whitespace) {
            return Err(Invalid::new("must be an https:// URL of a Git repository"));
        }
        let url = Url::parse(text).map_err(|_| {
            Invalid::new(
                "must be an https:// URL of a Git repository, such as https://example.com/team/site.git",
            )
        })?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Invalid::new(format!(
                "must begin with https:// or http://; {}: URLs are not cloned",
                url.scheme()
            )));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Invalid::new("must not hold credentials: send a token as git_token instead"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(Invalid::new(
                "must not have a query or a fragment: name a branch, tag or commit as ref",
            ));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(Invalid::new("must name a host"));
        }
        // Percent-encoding makes it longer; what is kept must be readable again.
        let text = url.to_string();
        if text.len() > 2_000 {
            return Err(Invalid::new("must have at most 2000 characters"));
        }
        Ok(Self(text))
    }

    pub fn url(&self) -> Url {
        // The text came out of `Url::to_string`, which its parser takes back (WHATWG URL, 4.5).
        #[expect(clippy::expect_used, reason = "see above")]
        Url::parse(&self.0).expect("a serialised URL parses")
    }

    /// The repository's own name: the last segment of the path without `.git`, else the host.
    pub fn name(&self) -> String {
        let url = self.url();
        let last =
            url.path_segments().and_then(|mut parts| parts.rfind(|part| !part.is_empty()).map(str::to_owned));
        let last = last.or_else(|| url.host_str().map(str::to_owned)).unwrap_or_default();
        last.strip_suffix(".git").unwrap_or(&last).to_owned()
    }
}
parsed_text!(RepoUrl);

/// A branch, a tag or a commit, by the rules of `git check-ref-format`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GitRef(String);

impl GitRef {
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let text = printable(text, 250)?;
        let forbidden = text.starts_with(['-', '/'])
            || text.ends_with(['/', '.'])
            || text.contains("..")
            || text.contains("//")
            || text.contains("@{")
            || text == "@"
            || text.contains(|c: char| c.is_whitespace() || "~^:?*[\\".contains(c))
            || text.split('/').any(|part| part.starts_with('.') || part.ends_with(".lock"));
        if forbidden {
            return Err(Invalid::new("is not the name of a branch, a tag or a commit"));
        }
        Ok(Self(text.to_owned()))
    }

    /// Whether this can only be a commit: 40 hexadecimal digits.
    pub fn is_commit(&self) -> bool {
        self.0.len() == 40 && self.0.bytes().all(|b| b.is_ascii_hexdigit())
    }
}
parsed_text!(GitRef);

/// What was really checked out.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Commit {
    /// 40 lower-case hexadecimal digits.
    pub id: String,
    /// The first line of its message, cut to 500 characters.
    pub message: String,
    /// The branch that was followed; `None` for a tag or a bare commit.
    pub branch: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_named_after_the_end_of_its_path() {
        let name = |url: &str| RepoUrl::parse(url).unwrap().name();
        assert_eq!(name("https://example.com/team/my-site.git"), "my-site");
        assert_eq!(name("https://example.com/team/my-site/"), "my-site");
        assert_eq!(name("http://example.com"), "example.com");
    }

    #[test]
    fn only_http_urls_without_credentials_are_taken() {
        for bad in [
            "file:///etc/passwd",
            "ssh://git@example.com/x",
            "git@example.com:x.git",
            "ext::sh -c id",
            "-upload-pack=id",
            "https://user:secret@example.com/x",
            "https://token@example.com/x",
            "https://example.com/x?token=1",
            "/etc",
            "",
            "https://",
            "javascript:alert(1)",
            "https://example.com/a b",
        ] {
            assert!(RepoUrl::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_kept_of_a_url_reads_back() {
        assert!(RepoUrl::parse(&format!("https://example.com/{}", "é".repeat(400))).is_err());
        let kept = RepoUrl::parse(&format!("https://example.com/{}", "é".repeat(300))).unwrap();
        assert_eq!(RepoUrl::parse(kept.as_str()).unwrap(), kept);
    }

    #[test]
    fn refs_that_git_itself_refuses_are_refused() {
        for bad in ["-x", "a..b", "a b", "a~1", "x.lock", ".x", "a/.b", "a^", "a:b", "@", "a\\b", "x/", ""] {
            assert!(GitRef::parse(bad).is_err(), "{bad}");
        }
        for good in ["main", "feature/x-1", "v1.0", "0123456789012345678901234567890123456789"] {
            assert!(GitRef::parse(good).is_ok(), "{good}");
        }
    }
}
