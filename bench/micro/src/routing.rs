//! From a request to its answer, through the rules that a site may have.

use crate::domain::request_path::RequestPath;
use crate::domain::routing::dialect::Dialect;
use crate::domain::routing::request::Asked;
use crate::domain::routing::resolve::resolve;
use crate::domain::routing::rules::Rules;
use crate::domain::routing::sources::Sources;
use crate::domain::routing::trace::Trace;
use crate::{Measure, site};
use serde_json::json;
use std::fmt::Write as _;
use std::hint::black_box;

/// Pages of the site: what a table of them costs is measured by itself.
const PAGES: usize = 1_000;
/// A page that is there, and a path that no rule is for.
const THERE: &str = "/docs/chapter-0004/page-000420";
const NOWHERE: &str = "/docs/chapter-0004/none";

pub fn all(measure: &mut impl Measure) {
    let mut case = |name: &str, rules: fn() -> Rules, target: &'static str| {
        measure.measure(&format!("resolve/{name}"), || asking(rules(), target));
    };
    case("no_rules_file", Rules::default, THERE);
    case("no_rules_404", Rules::default, NOWHERE);
    case("100_redirects_file", || plain_redirects(100), THERE);
    case("100_redirects_last", || plain_redirects(100), "/old/99");
    case("2000_redirects_file", || plain_redirects(2_000), THERE);
    case("2000_redirects_last", || plain_redirects(2_000), "/old/1999");
    case("2000_redirects_404", || plain_redirects(2_000), NOWHERE);
    case("100_dynamic_file", dynamic_redirects, THERE);
    case("100_dynamic_last", dynamic_redirects, "/old-99/2026/some/post");
    case("100_dynamic_404", dynamic_redirects, NOWHERE);
    // A placeholder first: nothing of the path tells the rules apart before it was read.
    case("100_dynamic_any_first_last", redirects_of_any_language, "/en/old-99/some/post");
    case("1000_headers_file", header_rules, THERE);
    case("vercel_conditions_file", vercel, THERE);
    case("vercel_conditions_last", vercel, "/old-19/post?preview=1");
}

fn asking(rules: Rules, target: &'static str) -> impl FnMut() {
    let manifest = site::manifest(PAGES, rules);
    let fields = [
        ("host", "docs.example.com"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
        ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("accept-language", "en-US,en;q=0.5"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("cookie", "theme=dark; session=0f343b0931126a20f133d67c2b018a3b"),
    ];
    let fields: Vec<(String, String)> =
        fields.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    move || {
        let path = RequestPath::parse(path).expect("a path");
        let asked = Asked { host: "docs.example.com", path: &path, query, fields: &fields };
        black_box(resolve(&manifest, &asked, &mut Trace::off()));
    }
}

fn listed(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).fold(String::new(), |mut text, number| {
        // A text takes whatever is written to it.
        let _ = writeln!(text, "{}", line(number));
        text
    })
}

fn redirects(count: usize, line: impl Fn(usize) -> String) -> Rules {
    let sources = Sources { redirects: Some(listed(count, line)), ..Sources::default() };
    site::rules(Dialect::Plain, &sources)
}

fn plain_redirects(count: usize) -> Rules {
    redirects(count, |number| format!("/old/{number} /docs/new-{number} 301"))
}

fn dynamic_redirects() -> Rules {
    redirects(100, |number| format!("/old-{number}/:year/* /docs/{number}/:year/:splat 301"))
}

fn redirects_of_any_language() -> Rules {
    redirects(100, |number| format!("/:language/old-{number}/* /docs/:language/{number}/:splat 301"))
}

fn header_rules() -> Rules {
    // With the one for all paths it is 1,000, the most that there may be.
    let lines = listed(999, |number| format!("/assets-{number}/*\n  X-Number: {number}"));
    let headers = format!("/*\n  X-Frame-Options: DENY\n{lines}");
    site::rules(Dialect::Plain, &Sources { headers: Some(headers), ..Sources::default() })
}

/// Twenty redirects that ask for a cookie, a query and a field that must not be there.
fn vercel() -> Rules {
    let redirect = |number: usize| {
        json!({
            "source": format!("/old-{number}/:slug"),
            "destination": "/docs/:slug",
            "has": [
                {"type": "cookie", "key": "theme", "value": "(?<theme>dark|light)"},
                {"type": "query", "key": "preview"},
            ],
            "missing": [{"type": "header", "key": "x-internal"}],
            "permanent": true,
        })
    };
    let redirects: Vec<_> = (0..20).map(redirect).collect();
    let text = json!({"cleanUrls": true, "redirects": redirects}).to_string();
    site::rules(Dialect::Vercel, &Sources { vercel_json: Some(text), ..Sources::default() })
}
