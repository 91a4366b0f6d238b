//! vercel's `cleanUrls` and `trailingSlash`: which address a page has (`@vercel/routing-utils` 6.6,
//! `convertCleanUrls` and `convertTrailingSlash`).

use crate::domain::request_path::RequestPath;
use crate::domain::routing::files;
use crate::domain::routing::rules::Rules;

/// The location that a path goes to by 308, with the query. `None`: it is as it should be.
pub fn tidy(rules: &Rules, path: &RequestPath<'_>, query: Option<&str>) -> Option<String> {
    let sent = path.sent();
    let cleaned = if rules.clean_urls { without_html(sent) } else { None };
    let is_cleaned = cleaned.is_some();
    let plain = cleaned.unwrap_or(sent);
    let tidied = match rules.trailing_slash {
        None => plain.to_owned(),
        Some(false) => match plain.strip_suffix('/') {
            Some(short) if !short.is_empty() => short.to_owned(),
            _ => plain.to_owned(),
        },
        Some(true) => with_slash(plain, is_cleaned),
    };
    (tidied != sent).then(|| files::located(&tidied, query))
}

/// `/x.html`, `/x/index.html` and `/x/index` without what is not shown.
fn without_html(sent: &str) -> Option<&str> {
    let bare = sent.strip_suffix('/').unwrap_or(sent);
    let name = bare.rsplit('/').next().unwrap_or(bare);
    if matches!(name, "index" | "index.html") {
        let folder = &bare[..bare.len() - name.len()];
        return Some(folder.strip_suffix('/').filter(|folder| !folder.is_empty()).unwrap_or("/"));
    }
    // A file that is called `.html` and nothing else is no page.
    bare.strip_suffix(".html").filter(|short| !short.ends_with('/'))
}

fn with_slash(path: &str, is_cleaned: bool) -> String {
    if path == "/" || path == "/.well-known" || path.starts_with("/.well-known/") {
        return path.to_owned();
    }
    let bare = path.strip_suffix('/').unwrap_or(path);
    let name = bare.rsplit('/').next().unwrap_or(bare);
    match name.rsplit_once('.') {
        // vercel: `[^/]+\.\w+`. A page that lost its `.html` is none of these.
        Some((stem, extension)) if !is_cleaned => {
            let is_file = !stem.is_empty()
                && !extension.is_empty()
                && extension.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if is_file { bare.to_owned() } else { path.to_owned() }
        }
        _ => format!("{bare}/"),
    }
}
