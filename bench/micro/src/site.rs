//! Sites of any size, as a deployment leaves them: the same on every machine.
//!
//! Start with [`manifest`].

use crate::domain::coding::Coding;
use crate::domain::digest::Digest;
use crate::domain::id::{DeploymentId, ProjectId, UserId};
use crate::domain::manifest::{Coded, CodedCheck, Codings, FileTable, Manifest, NewEntry, SitePath};
use crate::domain::routing::compile::{Settings, compile};
use crate::domain::routing::dialect::Dialect;
use crate::domain::routing::rules::Rules;
use crate::domain::routing::sources::Sources;

const BODY: &str = "00000000000000000001";
/// Pages of one folder.
const FOLDER: usize = 100;

/// A page of a documentation: 34 bytes.
pub fn page(number: usize) -> String {
    format!("docs/chapter-{:04}/page-{number:06}.html", number / FOLDER)
}

/// With so many pages, each in three codings, and these rules.
pub fn manifest(pages: usize, rules: Rules) -> Manifest {
    let file = |path: &str, number: usize| {
        let path = SitePath::parse(path).expect("a path of a site");
        let digest = Digest::of(&number.to_le_bytes());
        (path, entry(digest))
    };
    let others = ["index.html", "404.html", "a/index.html"].map(|path| file(path, usize::MAX));
    let files = (0..pages).map(|number| file(&page(number), number)).chain(others);
    Manifest {
        deployment: id(),
        account: format!("{}{BODY}", UserId::PREFIX).parse().expect("an id"),
        project: format!("{}{BODY}", ProjectId::PREFIX).parse().expect("an id"),
        spa_fallback: None,
        rules,
        files: FileTable::build(files).expect("a table"),
    }
}

pub fn id() -> DeploymentId {
    format!("{}{BODY}", DeploymentId::PREFIX).parse().expect("an id")
}

fn entry(digest: Digest) -> NewEntry {
    let coded = Coded { size: 2_000, check: CodedCheck::from(digest) };
    let codings = Coding::ALL.into_iter().fold(Codings::default(), |all, coding| all.with(coding, coded));
    NewEntry { digest, size: 8_000, media_type: "text/html; charset=utf-8".to_owned(), codings }
}

/// The rules of these files. None of them may be refused or left out.
pub fn rules(dialect: Dialect, sources: &Sources) -> Rules {
    let compiled = compile(sources, Settings { routing: Some(dialect), spa: None }).expect("rules");
    let warnings: Vec<String> = compiled.notes.iter().map(ToString::to_string).collect();
    assert!(!warnings.iter().any(|note| note.starts_with("Warning")), "{warnings:#?}");
    compiled.rules
}
