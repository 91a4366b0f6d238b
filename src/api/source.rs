//! What may be cloned, as far as a URL by itself can tell.
//!
//! A name is resolved, and judged by the address that it then has, by the source adapter alone: at
//! the moment of connecting. Here only what can never work is refused, while somebody listens.

use crate::api::Api;
use crate::api::error::Problem;
use crate::domain::address::{AllowedHost, may_be_public, place};
use crate::domain::repo::RepoUrl;
use crate::domain::secret::Secret;
use crate::domain::text::Invalid;
use serde::Deserialize;

/// A repository's URL that is still to be judged.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct CloneableUrl(RepoUrl);

/// A token for a private repository, as it may stand in a header.
#[derive(Clone, Debug)]
pub struct GitToken(Secret);

impl CloneableUrl {
    /// The URL, if it may be cloned from, with this token.
    pub fn checked(self, api: &Api, token: Option<&GitToken>) -> Result<RepoUrl, Problem> {
        let allowed = &api.settings.source_allow;
        check_host(&self.0, allowed)?;
        if token.is_some() {
            check_way_of_token(&self.0, allowed)?;
        }
        Ok(self.0)
    }
}

impl GitToken {
    const MAX: usize = 1_000;

    pub fn secret(&self) -> &Secret {
        &self.0
    }
}

impl<'de> Deserialize<'de> for GitToken {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        if text.is_empty() || text.len() > Self::MAX || !visible {
            let reason = "must have 1 to 1000 characters, all of them visible ASCII";
            return Err(serde::de::Error::custom(Invalid::new(reason)));
        }
        Ok(Self(Secret::new(text)))
    }
}

/// Refuses to send a token in the clear. The operator vouches for the way to what is allowed by name.
pub fn check_way_of_token(repo_url: &RepoUrl, allowed: &[AllowedHost]) -> Result<(), Problem> {
    let url = repo_url.url();
    if url.scheme() == "https" || allowed.iter().any(|allowed| allowed.is_of(&url)) {
        return Ok(());
    }
    Err(Problem::invalid("git_token", "is sent to https:// URLs only"))
}

fn check_host(repo_url: &RepoUrl, allowed: &[AllowedHost]) -> Result<(), Problem> {
    let url = repo_url.url();
    if may_be_public(&url) || allowed.iter().any(|allowed| allowed.is_of(&url)) {
        return Ok(());
    }
    let place = place(&url).unwrap_or_default();
    let why =
        format!("leads to {place}, which is no public address: the operator can allow it as source.allow");
    Err(Problem::invalid("repo_url", why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_public_is_refused_unless_it_is_allowed() {
        let local = RepoUrl::parse("http://127.0.0.1:3000/x.git").unwrap();
        let problem = check_host(&local, &[]).unwrap_err();
        assert!(problem.to_string().starts_with("repo_url leads to 127.0.0.1:3000"), "{problem}");
        assert!(check_host(&local, &[AllowedHost::parse("127.0.0.1:3000").unwrap()]).is_ok());
        assert!(check_host(&RepoUrl::parse("https://example.com/x.git").unwrap(), &[]).is_ok());
    }

    #[test]
    fn a_token_is_one_line_of_visible_characters() {
        let read = |text: &str| serde_json::from_value::<GitToken>(text.into());
        assert_eq!(read("ghp_abc").unwrap().secret().expose(), "ghp_abc");
        for bad in ["", "a b", "a\r\nX: y", "é", &"x".repeat(1_001)] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
