//! What a server offers, and which of it a request means.
//!
//! Not here: asking the server. Start with [`Offer::resolve`].

use gix::ObjectId;
use gix::bstr::{BStr, ByteSlice};
use gix::protocol::handshake::Ref;

use crate::domain::repo::GitRef;
use crate::ports::source::SourceError;

/// The references that matter to one request.
pub(super) struct Offer<'a> {
    pub(super) refs: &'a [Ref],
}

/// The object to ask the server for, and the branch that led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// A commit, or a tag that leads to one.
    pub(super) id: ObjectId,
    pub(super) branch: Option<String>,
}

/// What of the references to ask the server for: `HEAD`, and whatever `reference` could name.
pub(super) fn prefixes(reference: Option<&GitRef>) -> Vec<String> {
    let mut prefixes = vec!["HEAD".to_owned()];
    if let Some(reference) = reference.filter(|reference| !reference.is_commit()) {
        prefixes.extend(candidates(reference.as_str()));
    }
    prefixes
}

/// A short name means a branch before a tag, as in `git clone --branch`.
fn candidates(name: &str) -> Vec<String> {
    let mut names = vec![format!("refs/heads/{name}"), format!("refs/tags/{name}")];
    if name.starts_with("refs/") {
        names.insert(0, name.to_owned());
    }
    names
}

impl Offer<'_> {
    pub(super) fn resolve(&self, reference: Option<&GitRef>) -> Result<Wanted, SourceError> {
        let Some(reference) = reference else {
            return self.head().ok_or_else(|| SourceError::RefNotFound("HEAD".to_owned()));
        };
        let not_found = || SourceError::RefNotFound(reference.as_str().to_owned());
        if reference.is_commit() {
            return commit(reference.as_str()).map(|id| Wanted { id, branch: None }).ok_or_else(not_found);
        }
        let found = candidates(reference.as_str()).into_iter().find_map(|name| {
            let id = self.find(name.as_bytes().as_bstr())?;
            Some(Wanted { id, branch: branch_name(name.as_bytes().as_bstr()) })
        });
        found.ok_or_else(not_found)
    }

    /// The branch that `HEAD` names. Where it names none that exists (a repository whose first push
    /// went to another branch), the only branch.
    pub(super) fn default_branch(&self) -> Option<String> {
        let head = self.refs.iter().find_map(|offered| match offered {
            Ref::Symbolic { full_ref_name, target, .. } if full_ref_name == "HEAD" => Some(target.as_bstr()),
            _ => None,
        });
        head.or_else(|| Some(self.only_branch()?.0)).and_then(branch_name)
    }

    fn only_branch(&self) -> Option<(&BStr, ObjectId)> {
        if self.find("HEAD".into()).is_some() {
            return None;
        }
        let mut branches =
            self.refs.iter().filter_map(target).filter(|(name, _)| name.starts_with(b"refs/heads/"));
        branches.next().filter(|_| branches.next().is_none())
    }

    /// Whether there is any branch or tag at all.
    pub(super) fn is_empty(&self) -> bool {
        !self.refs.iter().any(|offered| target(offered).is_some())
    }

    fn head(&self) -> Option<Wanted> {
        let id = self.find("HEAD".into()).or_else(|| Some(self.only_branch()?.1))?;
        Some(Wanted { id, branch: self.default_branch() })
    }

    fn find(&self, name: &BStr) -> Option<ObjectId> {
        self.refs.iter().filter_map(target).find(|(offered, _)| *offered == name).map(|(_, id)| id)
    }
}

/// The object that a reference names: for an annotated tag the tag itself, which is what every
/// server lets one ask for.
fn target(offered: &Ref) -> Option<(&BStr, ObjectId)> {
    match offered {
        Ref::Peeled { full_ref_name, tag, .. } => Some((full_ref_name.as_bstr(), *tag)),
        Ref::Direct { full_ref_name, object } => Some((full_ref_name.as_bstr(), *object)),
        Ref::Symbolic { full_ref_name, tag, object, .. } => {
            Some((full_ref_name.as_bstr(), tag.unwrap_or(*object)))
        }
        Ref::Unborn { .. } => None,
    }
}

fn branch_name(full: &BStr) -> Option<String> {
    full.strip_prefix(b"refs/heads/").map(|name| name.to_str_lossy().into_owned())
}

/// A full commit id: an abbreviated one cannot be asked for.
pub(super) fn commit(text: &str) -> Option<ObjectId> {
    (text.len() == 40).then(|| ObjectId::from_hex(text.as_bytes()).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: char) -> ObjectId {
        commit(&digit.to_string().repeat(40)).unwrap()
    }

    fn offered() -> Vec<Ref> {
        let direct = |name: &str, digit| Ref::Direct { full_ref_name: name.into(), object: id(digit) };
        vec![
            Ref::Symbolic {
                full_ref_name: "HEAD".into(),
                target: "refs/heads/main".into(),
                tag: None,
                object: id('1'),
            },
            direct("refs/heads/main", '1'),
            direct("refs/heads/v1", '2'),
            direct("refs/tags/v1", '3'),
            Ref::Peeled { full_ref_name: "refs/tags/v2".into(), tag: id('4'), object: id('5') },
            direct("refs/heads/main-old", '6'),
        ]
    }

    fn resolve(name: &str) -> Option<(ObjectId, Option<String>)> {
        let refs = offered();
        let found = Offer { refs: &refs }.resolve(Some(&GitRef::parse(name).unwrap())).ok()?;
        Some((found.id, found.branch))
    }

    #[test]
    fn a_short_name_means_a_branch_before_a_tag() {
        assert_eq!(resolve("main"), Some((id('1'), Some("main".into()))));
        assert_eq!(resolve("v1"), Some((id('2'), Some("v1".into()))));
        assert_eq!(resolve("refs/tags/v1"), Some((id('3'), None)));
        assert_eq!(resolve("v2"), Some((id('4'), None)));
        assert_eq!(resolve("mai"), None);
    }

    #[test]
    fn an_abbreviated_commit_is_a_name_like_any_other() {
        assert_eq!(resolve(&"a".repeat(40)), Some((id('a'), None)));
        assert_eq!(resolve("1111111"), None);
    }

    #[test]
    fn without_a_reference_the_default_branch_is_meant() {
        let refs = offered();
        let found = Offer { refs: &refs }.resolve(None).unwrap();
        assert_eq!((found.id, found.branch.as_deref()), (id('1'), Some("main")));
    }
}
