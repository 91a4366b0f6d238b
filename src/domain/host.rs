//! Hostnames of sites, and the pointer from a host to the deployment that it shows.

use crate::domain::digest::Digest;
use crate::domain::id::{DeploymentId, ProjectId, UserId};
use crate::domain::project::ProjectName;
use crate::domain::text::{Invalid, parsed_text};
use crate::domain::trace::TraceContext;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use time::OffsetDateTime;

/// A hostname in lower case, without port and without a dot at the end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hostname(String);

impl Hostname {
    /// Takes any spelling of a name: upper case, a dot at the end. At most 253 characters, labels
    /// of 1 to 63 (RFC 1035, 2.3.4), letters, digits and hyphens (`_` too, since DNS has it).
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if text.len() > 253 || !text.split('.').all(label) {
            return Err(Invalid::new("is not a hostname such as www.example.com"));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }

    /// Whether this is a name one label below `domain`.
    pub fn is_under(&self, domain: &Hostname) -> bool {
        self.0
            .strip_suffix(&domain.0)
            .and_then(|rest| rest.strip_suffix('.'))
            .is_some_and(|rest| !rest.contains('.'))
    }
}
parsed_text!(Hostname);

impl std::borrow::Borrow<str> for Hostname {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// What a host stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostKind {
    Production,
    Branch,
    Deployment,
}

/// A host as the database keeps it: the truth that the published [`Pointer`] follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRecord {
    pub host: Hostname,
    pub kind: HostKind,
    /// `None` once its project is gone; the record stays so that the revision goes on counting.
    pub project: Option<ProjectId>,
    pub account: Option<UserId>,
    pub deployment: Option<DeploymentId>,
    /// Counts every move; never goes back.
    pub revision: i64,
    /// The newest submission that this host has answered to; older ones never take it back.
    pub as_of: i64,
    /// The revision that object storage has for certain.
    pub published: i64,
}

/// What object storage and the caches hold for a host. A higher `version` always wins; without a
/// deployment the host shows no site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pointer {
    pub version: i64,
    pub host: Hostname,
    pub kind: HostKind,
    pub target: Option<PointerTarget>,
    /// What it showed before, the newest first: pages that were opened then still ask for files of
    /// theirs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Earlier>,
    /// The move to it, as a part of the deployment's trace: the first visitor's request is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
    /// When it was put into storage, by the clock of who did it. Pointers of before do not say.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub published_at: Option<OffsetDateTime>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointerTarget {
    pub account: UserId,
    pub project: ProjectId,
    pub deployment: DeploymentId,
}

/// A deployment that a host showed, until another took its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earlier {
    #[serde(flatten)]
    pub target: PointerTarget,
    #[serde(with = "time::serde::rfc3339")]
    pub replaced_at: OffsetDateTime,
}

impl Pointer {
    /// Of an encoded pointer, which takes a few hundred and less than 200 for each earlier
    /// deployment: an object larger than this is none.
    pub const MAX_BYTES: u64 = 64 * 1024;
    /// Earlier deployments that are known at most: whoever deploys more often loses the oldest.
    const MAX_EARLIER: usize = 50;

    /// The pointer that takes the place of `before`, and remembers for `window` what that showed of the
    /// same project: a name may come to another's.
    pub fn succeeding(mut self, before: &Self, now: OffsetDateTime, window: Duration) -> Self {
        let replaced = before.target.clone().map(|target| Earlier { target, replaced_at: now });
        let known = replaced.into_iter().chain(before.earlier.iter().cloned());
        let mut earlier: Vec<Earlier> = Vec::new();
        let own = self.target.as_ref().map(PointerTarget::owner);
        for one in known.filter(|one| Some(one.target.owner()) == own && one.is_within(window, now)) {
            let is_shown = self.target.as_ref() == Some(&one.target);
            // Shown twice, the later time counts.
            if !is_shown && !earlier.iter().any(|known| known.target == one.target) {
                earlier.push(one);
            }
        }
        earlier.truncate(Self::MAX_EARLIER);
        self.earlier = earlier;
        self
    }
}

impl Pointer {
    /// Whether it is this record's copy.
    pub fn is_of(&self, record: &HostRecord) -> bool {
        let copy = Self::from(record);
        self.version == copy.version && self.host == copy.host && self.target == copy.target
    }
}

impl PointerTarget {
    fn owner(&self) -> (UserId, ProjectId) {
        (self.account, self.project)
    }
}

impl Earlier {
    /// Whether it was replaced less than `window` ago.
    pub fn is_within(&self, window: Duration, now: OffsetDateTime) -> bool {
        now - self.replaced_at < window
    }
}

impl From<&HostRecord> for Pointer {
    fn from(record: &HostRecord) -> Self {
        let target = match (record.account, record.project, record.deployment) {
            (Some(account), Some(project), Some(deployment)) => {
                Some(PointerTarget { account, project, deployment })
            }
            _ => None,
        };
        Self {
            version: record.revision,
            host: record.host.clone(),
            kind: record.kind,
            target,
            earlier: Vec::new(),
            trace: None,
            published_at: None,
        }
    }
}

/// A host that a deployment or project asks for. The first name that is free, or already the
/// project's own for the same purpose, is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostClaim {
    pub kind: HostKind,
    pub candidates: [Hostname; 2],
}

/// The names of sites below `domain`.
#[derive(Clone, Debug)]
pub struct Names {
    pub domain: Hostname,
}

impl Names {
    /// `<project>.<domain>`, else with a hash of the project's id.
    pub fn production(&self, name: &ProjectName, project: ProjectId) -> HostClaim {
        self.claim(HostKind::Production, name.as_str(), project)
    }

    /// `<project>-git-<branch>.<domain>`.
    pub fn branch(&self, name: &ProjectName, project: ProjectId, branch: &str) -> HostClaim {
        let slug: String = branch
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
            .collect();
        let plain = format!("{name}-git-{}", slug.trim_matches('-'));
        // `a/b` and `a-b` are two branches with one slug: what was lost is kept in a hash.
        let label = if slug == branch && !slug.starts_with('-') && !slug.ends_with('-') {
            plain
        } else {
            with_hash(&plain, branch)
        };
        self.claim(HostKind::Branch, &label, project)
    }

    /// `<project>-<id>.<domain>`: one deployment, for ever.
    pub fn deployment(&self, name: &ProjectName, project: ProjectId, id: DeploymentId) -> HostClaim {
        let room = 63 - 1 - id.body().len();
        self.claim(
            HostKind::Deployment,
            &format!("{}-{}", shortened(name.as_str(), room), id.body()),
            project,
        )
    }

    fn claim(&self, kind: HostKind, label: &str, project: ProjectId) -> HostClaim {
        let full = |label: String| Hostname(format!("{label}.{}", self.domain));
        HostClaim { kind, candidates: [full(shortened(label, 63)), full(with_hash(label, project.body()))] }
    }
}

/// How a site is reached from a browser: scheme and port are the same for all hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteUrls {
    pub scheme: Scheme,
    /// `None`: the scheme's own.
    pub port: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

impl SiteUrls {
    /// The address of a host's start page, without a slash at the end.
    pub fn url(&self, host: &Hostname) -> String {
        let (scheme, own) = match self.scheme {
            Scheme::Http => ("http", 80),
            Scheme::Https => ("https", 443),
        };
        match self.port.filter(|port| *port != own) {
            Some(port) => format!("{scheme}://{host}:{port}"),
            None => format!("{scheme}://{host}"),
        }
    }
}

/// `label` when it fits into `room`, else its beginning and a hash of the whole: two long names
/// never become one.
fn shortened(label: &str, room: usize) -> String {
    if label.len() <= room { label.to_owned() } else { cut_with_hash(label, label, room) }
}

fn with_hash(label: &str, of: &str) -> String {
    cut_with_hash(label, &format!("{label}\0{of}"), 63)
}

fn cut_with_hash(label: &str, hashed: &str, room: usize) -> String {
    let hash = &Digest::of(hashed.as_bytes()).to_string()[..8];
    let kept: String = label.chars().take(room - 9).collect();
    format!("{}-{hash}", kept.trim_end_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> (Names, ProjectId, DeploymentId) {
        let mut rng = rand::rng();
        let now = OffsetDateTime::UNIX_EPOCH;
        (
            Names { domain: Hostname::parse("example.com").unwrap() },
            ProjectId::new(now, &mut rng),
            DeploymentId::new(now, &mut rng),
        )
    }

    fn name(text: &str) -> ProjectName {
        ProjectName::parse(text).unwrap()
    }

    #[test]
    fn every_spelling_of_a_host_is_one_host() {
        assert_eq!(Hostname::parse("WWW.Example.COM.").unwrap().as_str(), "www.example.com");
        for bad in ["", ".", "a..b", "-a.b", "a b", "a/b", "a@b", "a:80", &"a".repeat(64)] {
            assert!(Hostname::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_production_host_is_the_projects_name_below_the_domain() {
        let (names, project, _) = names();
        let claim = names.production(&name("blog"), project);
        assert_eq!(claim.candidates[0].as_str(), "blog.example.com");
        assert!(claim.candidates[1].as_str().starts_with("blog-"));
        assert!(claim.candidates[0].is_under(&names.domain));
    }

    #[test]
    fn a_pointer_remembers_what_it_showed_for_a_while_and_nothing_twice() {
        let mut rng = rand::rng();
        let (_, project, _) = names();
        let account = UserId::new(OffsetDateTime::UNIX_EPOCH, &mut rng);
        let pointer = |version| {
            let (_, _, deployment) = names();
            Pointer {
                version,
                host: Hostname::parse("a.example").unwrap(),
                kind: HostKind::Production,
                target: Some(PointerTarget { account, project, deployment }),
                earlier: Vec::new(),
                trace: None,
                published_at: None,
            }
        };
        let (day, hour) = (Duration::from_secs(86_400), time::Duration::HOUR);
        let at = |hours: i32| OffsetDateTime::UNIX_EPOCH + hour * hours;
        let one = pointer(1);
        let two = pointer(2).succeeding(&one, at(0), day);
        let back = Pointer { version: 3, ..one.clone() }.succeeding(&two, at(1), day);
        let seen = |pointer: &Pointer| {
            pointer.earlier.iter().map(|one| (one.target.clone(), one.replaced_at)).collect::<Vec<_>>()
        };
        assert_eq!(seen(&two), [(one.target.unwrap(), at(0))]);
        assert_eq!(seen(&back), [(two.target.unwrap(), at(1))], "what is shown is not earlier");
        let late = pointer(4).succeeding(&back, at(24), day);
        assert_eq!(seen(&late).len(), 2);
        assert_eq!(
            seen(&pointer(5).succeeding(&late, at(48), day)),
            [(late.target.clone().unwrap(), at(48))]
        );
        assert_eq!(seen(&pointer(6).succeeding(&late, at(24), Duration::ZERO)), []);
        let cleared = Pointer { target: None, ..pointer(5) }.succeeding(&late, at(24), day);
        assert_eq!(seen(&cleared), [], "without a site it gives nothing");
        let (_, other, _) = names();
        let mut foreign = pointer(5);
        foreign.target = foreign.target.map(|target| PointerTarget { project: other, ..target });
        assert_eq!(seen(&foreign.succeeding(&late, at(24), day)), [], "the name came to another project");
        let mut many = late;
        for version in 7..100 {
            many = pointer(version).succeeding(&many, at(24), day);
        }
        assert_eq!(many.earlier.len(), Pointer::MAX_EARLIER);
        let encoded = serde_json::to_vec(&many).unwrap();
        assert!((encoded.len() as u64) < Pointer::MAX_BYTES / 4, "{}", encoded.len());
        assert_eq!(serde_json::from_slice::<Pointer>(&encoded).unwrap(), many);
    }

    #[test]
    fn urls_leave_out_the_port_that_goes_without_saying() {
        let host = Hostname::parse("blog.example.com").unwrap();
        assert_eq!(
            SiteUrls { scheme: Scheme::Https, port: Some(443) }.url(&host),
            "https://blog.example.com"
        );
        assert_eq!(
            SiteUrls { scheme: Scheme::Http, port: Some(8000) }.url(&host),
            "http://blog.example.com:8000"
        );
    }

    #[test]
    fn branches_that_look_alike_get_different_hosts() {
        let (names, project, _) = names();
        let host = |branch| names.branch(&name("blog"), project, branch).candidates[0].clone();
        assert_eq!(host("main").as_str(), "blog-git-main.example.com");
        assert_ne!(host("a/b"), host("a-b"));
        assert_ne!(host("Main"), host("main"));
    }

    #[test]
    fn long_names_fit_a_label_and_stay_apart() {
        let (names, project, id) = names();
        let long = |end: &str| name(&format!("{}{end}", "x".repeat(90)));
        for claim in [
            names.production(&long("a"), project),
            names.deployment(&long("a"), project, id),
            names.branch(&long("a"), project, &"y/".repeat(100)),
        ] {
            for host in claim.candidates {
                assert!(host.as_str().split('.').all(|label| label.len() <= 63), "{host}");
                assert!(Hostname::parse(host.as_str()).is_ok(), "{host}");
            }
        }
        assert_ne!(names.production(&long("a"), project), names.production(&long("b"), project));
    }
}
