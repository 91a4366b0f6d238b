//! Which file answers a path, before and behind all rules: the tables of static files (the
//! project's `edge-routing` specification, section 3).
//!
//! Start with [`look`].

use crate::domain::manifest::{FileEntry, Manifest};
use crate::domain::request_path::RequestPath;
use crate::domain::routing::dialect::Dialect;
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'m> {
    pub path: &'m str,
    pub entry: FileEntry<'m>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looked<'m> {
    File(Found<'m>),
    /// The file goes by another name. `location` is a path of the same site, in ASCII that a header
    /// can hold, with the query of the request.
    Moved {
        location: String,
    },
    Nothing,
}

/// What there is for a path that a visitor asked for.
pub fn look<'m>(manifest: &'m Manifest, path: &RequestPath<'_>, query: Option<&str>) -> Looked<'m> {
    match manifest.rules.dialect {
        Dialect::Cloudflare | Dialect::Plain => at_its_address(manifest, path, query),
        Dialect::Vercel | Dialect::Netlify => file(manifest, path).map_or(Looked::Nothing, Looked::File),
    }
}

/// What there is for the target of a rewrite: the same files, but under every name, since no
/// visitor sees it.
pub fn file<'m>(manifest: &'m Manifest, path: &RequestPath<'_>) -> Option<Found<'m>> {
    let asked = path.file()?;
    let rules = &manifest.rules;
    let is_vercel = rules.dialect == Dialect::Vercel;
    let exact = || find(manifest, asked);
    let page = || find(manifest, &format!("{asked}.html")).filter(|_| !asked.is_empty());
    let index = || find(manifest, &below(asked, "index.html"));
    if path.is_folder() {
        let shows_page = !is_vercel || rules.clean_urls && rules.trailing_slash == Some(true);
        return index().or_else(|| page().filter(|_| shows_page));
    }
    let page = || page().filter(|_| !is_vercel || rules.clean_urls);
    exact().or_else(page).or_else(index)
}

/// A page has one address: without `.html`, and a folder's page with the slash. A file without
/// extension wins over the `.html` beside it, which then stays at its own address.
fn at_its_address<'m>(manifest: &'m Manifest, path: &RequestPath<'_>, query: Option<&str>) -> Looked<'m> {
    let Some(asked) = path.file() else { return Looked::Nothing };
    let moved = |address: &str| Looked::Moved { location: location(address, query) };
    let index = || find(manifest, &below(asked, "index.html"));
    let page = || find(manifest, &format!("{asked}.html"));
    if path.is_folder() {
        if let Some(found) = index() {
            return Looked::File(found);
        }
        return match find(manifest, asked).or_else(page) {
            Some(found) => moved(address(manifest, found.path)),
            None => Looked::Nothing,
        };
    }
    if let Some(found) = find(manifest, asked).or_else(page) {
        let address = address(manifest, found.path);
        return if address == asked { Looked::File(found) } else { moved(address) };
    }
    match index() {
        Some(_) => moved(&format!("{asked}/")),
        None => Looked::Nothing,
    }
}

/// The site's own page for what is not there: the nearest on the way up, or the root's.
pub fn error_page<'m>(manifest: &'m Manifest, path: &RequestPath<'_>) -> Option<Found<'m>> {
    match manifest.rules.dialect {
        Dialect::Cloudflare | Dialect::Plain => {
            path.folders().find_map(|folder| find(manifest, &below(folder, "404.html")))
        }
        Dialect::Vercel | Dialect::Netlify => find(manifest, "404.html"),
    }
}

pub fn find<'m>(manifest: &'m Manifest, path: &str) -> Option<Found<'m>> {
    manifest.files.get(path).map(|(path, entry)| Found { path, entry })
}

fn below(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// Where a file is shown: relative, decoded; a folder ends with `/`, the root is empty.
fn address<'p>(manifest: &Manifest, file: &'p str) -> &'p str {
    let name_at = file.rfind('/').map_or(0, |slash| slash + 1);
    let (folder, name) = file.split_at(name_at);
    if name == "index.html" {
        return folder;
    }
    match file.strip_suffix(".html") {
        // `.`, `..` and nothing at all are no names; a browser would resolve them away.
        Some(short) if !matches!(&short[name_at..], "" | "." | "..") && find(manifest, short).is_none() => {
            short
        }
        _ => file,
    }
}

/// What a segment may hold as it stands (RFC 3986, 3.3), less `'`.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@')
    .remove(b'/');

/// What a query must not hold; its escapes stay as they came.
const QUERY: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'\'').add(b'<').add(b'>').add(b'#').add(b'\\').add(b'^').add(b'`');

fn location(address: &str, query: Option<&str>) -> String {
    // No segment of an address is empty, so this never begins with `//`.
    located(&format!("/{}", utf8_percent_encode(address, SEGMENT)), query)
}

/// A path, as it was sent or encoded, with the query of the request, in what a header can hold.
pub fn located(path: &str, query: Option<&str>) -> String {
    let mut location = utf8_percent_encode(path, QUERY).to_string();
    if let Some(query) = query {
        location.push('?');
        location.extend(utf8_percent_encode(query, QUERY));
    }
    location
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::digest::Digest;
    use crate::domain::id::{DeploymentId, ProjectId, UserId};
    use crate::domain::manifest::{Codings, FileTable, NewEntry, SitePath};
    use crate::domain::routing::rules::Rules;
    use proptest::prelude::*;
    use time::OffsetDateTime;

    fn site(files: &[&str]) -> Manifest {
        let mut rng = rand::rng();
        let now = OffsetDateTime::UNIX_EPOCH;
        let entry = |name: &str| NewEntry {
            digest: Digest::of(name.as_bytes()),
            size: name.len() as u64,
            media_type: "text/html; charset=utf-8".into(),
            codings: Codings::default(),
        };
        Manifest {
            deployment: DeploymentId::new(now, &mut rng),
            account: UserId::new(now, &mut rng),
            project: ProjectId::new(now, &mut rng),
            spa_fallback: None,
            rules: Rules::default(),
            files: FileTable::build(files.iter().map(|name| (SitePath::parse(name).unwrap(), entry(name))))
                .unwrap(),
        }
    }

    /// The answer in a word: `about.html`, `-> /about`, `nothing`.
    fn answer(manifest: &Manifest, target: &str) -> String {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        match look(manifest, &RequestPath::parse(path).unwrap(), query) {
            Looked::File(found) => found.path.to_string(),
            Looked::Moved { location } => format!("-> {location}"),
            Looked::Nothing => "nothing".to_owned(),
        }
    }

    #[test]
    fn static_files_answer_by_the_table_of_the_plain_dialect() {
        let manifest = site(&[
            "index.html",
            "about.html",
            "docs/index.html",
            "docs/intro.html",
            "app.js",
            ".well-known/x",
        ]);
        for (target, expected) in [
            ("/", "index.html"),
            ("/index.html", "-> /"),
            ("/index", "-> /"),
            ("/index/", "-> /"),
            ("/about", "about.html"),
            ("/about.html", "-> /about"),
            ("/about/", "-> /about"),
            ("/about.html/", "-> /about"),
            ("/docs", "-> /docs/"),
            ("/docs/", "docs/index.html"),
            ("/docs/index.html", "-> /docs/"),
            ("/docs/index", "-> /docs/"),
            ("/docs/index/", "-> /docs/"),
            ("/docs/intro", "docs/intro.html"),
            ("/app.js", "app.js"),
            ("/app.js/", "-> /app.js"),
            ("/.well-known/x", ".well-known/x"),
            ("/.well-known/", "nothing"),
            ("/About", "nothing"),
            ("/app", "nothing"),
            ("/docs/../about", "about.html"),
        ] {
            assert_eq!(answer(&manifest, target), expected, "{target}");
        }
    }

    #[test]
    fn redirects_keep_the_query() {
        let manifest = site(&["about.html", "docs/index.html"]);
        assert_eq!(answer(&manifest, "/about.html?a=1&b=%2F"), "-> /about?a=1&b=%2F");
        assert_eq!(answer(&manifest, "/docs?"), "-> /docs/?");
        assert_eq!(answer(&manifest, "/docs?x=\"<é>"), "-> /docs/?x=%22%3C%C3%A9%3E");
    }

    #[test]
    fn a_file_without_extension_wins_over_the_page_beside_it() {
        let manifest = site(&["about", "about.html", "x/index", "x/index.html"]);
        assert_eq!(answer(&manifest, "/about"), "about");
        assert_eq!(answer(&manifest, "/about.html"), "about.html");
        assert_eq!(answer(&manifest, "/x/index"), "x/index");
        assert_eq!(answer(&manifest, "/x/index.html"), "-> /x/");
    }

    #[test]
    fn a_page_and_a_folder_of_one_name_both_have_an_address() {
        let manifest = site(&["docs.html", "docs/index.html"]);
        assert_eq!(answer(&manifest, "/docs"), "docs.html");
        assert_eq!(answer(&manifest, "/docs/"), "docs/index.html");
        assert_eq!(answer(&manifest, "/docs.html"), "-> /docs");
    }

    #[test]
    fn redirects_never_leave_the_site() {
        let manifest = site(&[
            "evil.example/index.html",
            "\\evil.example/index.html",
            "a\r\nb/index.html",
            "q\"'/index.html",
            "http:/index.html",
            "é.html",
            "%2F.html",
        ]);
        for (target, expected) in [
            ("//evil.example", "-> /evil.example/"),
            ("///evil.example", "-> /evil.example/"),
            ("/%5Cevil.example", "-> /%5Cevil.example/"),
            ("/\\evil.example", "-> /%5Cevil.example/"),
            ("/q%22'", "-> /q%22%27/"),
            ("/http:", "-> /http:/"),
            ("/é.html", "-> /%C3%A9"),
            ("/%252F.html", "-> /%252F"),
            ("/%2Fevil.example", "nothing"),
        ] {
            assert_eq!(answer(&manifest, target), expected, "{target}");
        }
    }

    const NAME: &str = "(a|b|index|404|\\.|\\.\\.\\.|é|\\\\|%2F|evil\\.example)?(\\.html)?(\\.html)?";

    proptest! {
        #[test]
        fn following_redirects_ends_at_once_and_every_file_has_an_address(
            names in prop::collection::vec(prop::collection::vec(NAME, 1..4), 1..8)
        ) {
            let paths: Vec<String> = names
                .iter()
                .map(|segments| segments.join("/"))
                .filter(|path| SitePath::parse(path).is_ok())
                .collect();
            let manifest = site(&paths.iter().map(String::as_str).collect::<Vec<_>>());
            for path in &paths {
                let mut target = location(path, None);
                if let Looked::Moved { location } =
                    look(&manifest, &RequestPath::parse(&target).unwrap(), None)
                {
                    target = location;
                }
                let parsed = RequestPath::parse(&target).unwrap();
                match look(&manifest, &parsed, None) {
                    Looked::File(found) => prop_assert_eq!(found.path, path.as_str()),
                    other => prop_assert!(false, "{} gives {:?}", target, other),
                }
            }
        }

        #[test]
        fn a_location_is_a_path_of_this_site_whatever_was_asked(
            path in "/([a-b./\\\\]|%5c|%2f|%2e|é|evil\\.example|index|\\.html)*",
            query in prop::option::of("\\PC*"),
        ) {
            let manifest = site(&[
                "index.html", "a.html", "b/index.html", "evil.example/index.html", "\\/index.html", "é.html",
            ]);
            if let Ok(parsed) = RequestPath::parse(&path)
                && let Looked::Moved { location } = look(&manifest, &parsed, query.as_deref())
            {
                prop_assert!(location.starts_with('/') && !location.starts_with("//"));
                prop_assert!(location.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\'));
            }
        }
    }
}
