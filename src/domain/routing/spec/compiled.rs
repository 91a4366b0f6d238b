//! Whatever people write into rule files and visitors into addresses: nothing panics, everything
//! is bounded, and no `Location` is more than it may be.

use super::Site;
use crate::domain::request_path::RequestPath;
use crate::domain::routing::compile::{Settings, compile};
use crate::domain::routing::dialect::Dialect;
use crate::domain::routing::request::Asked;
use crate::domain::routing::resolve::{Outcome, resolve};
use crate::domain::routing::sources::Sources;
use crate::domain::routing::trace::Trace;
use proptest::prelude::*;

const LINE: &str =
    "(/|\\*|:[a-z]{0,3}|[a-z./%2F#=!?é\\\\\"' \\t]|https?://|200|301!|404|Language=de|[ \\t])*";
const FIELD: &str = "(/|\\*|:[a-z]{0,3}|[ \\t]|! ?|[A-Za-z-]{1,8}: ?|[a-zé\"%\\r])*";
const SOURCE: &str =
    "/([a-z/]|:[a-z]|\\(|\\)|\\*|\\+|\\?|\\{|\\}|\\(\\.\\*\\)|\\(\\?!|\\\\\\\\d|\\||\\[|\\]|%2F|é){0,20}";
const TARGET: &str = "/([a-z./]|%2[fF]|%5c|%2e|//|\\\\|é|%C3%A9|index|\\.html){0,20}";

fn dialects() -> impl Strategy<Value = Dialect> {
    prop::sample::select(Dialect::ALL.to_vec())
}

/// Asks for a path, whatever the site: the answer can be sent.
fn ask(site: &Site, target: &str, query: Option<&str>) -> Result<(), TestCaseError> {
    let Ok(path) = RequestPath::parse(target) else { return Ok(()) };
    let fields = vec![("accept-language".to_owned(), "de".to_owned())];
    let asked = Asked { host: "blog.example", path: &path, query, fields: &fields };
    let answer = resolve(&site.manifest, &asked, &mut Trace::off());
    if let Outcome::Moved { location, .. } = &answer.outcome {
        prop_assert!(
            location.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\\"'<>".contains(&byte)),
            "{location}"
        );
        let is_path = location.starts_with('/') && !location.starts_with("//");
        prop_assert!(
            is_path || location.starts_with("https://") || location.starts_with("http://"),
            "{location}"
        );
    }
    for edit in &answer.edits {
        prop_assert!(edit.values.iter().all(|value| !value.contains(['\r', '\n', '\0'])), "{edit:?}");
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_redirects_file_is_read(
        lines in prop::collection::vec(LINE, 0..8), dialect in dialects(), target in TARGET,
        query in prop::option::of("[a-z=&%\\r\\n/é]{0,10}"),
    ) {
        let site = Site::redirects(dialect, &["index.html", "a/b.html"], &lines.join("\n"));
        ask(&site, &target, query.as_deref())?;
        for line in &lines {
            if let Some(from) = line.split_whitespace().next() {
                ask(&site, from, query.as_deref())?;
            }
        }
    }

    #[test]
    fn any_headers_file_is_read(
        lines in prop::collection::vec(FIELD, 0..12), dialect in dialects(), target in TARGET,
    ) {
        ask(&Site::headers(dialect, &lines.join("\n")), &target, None)?;
    }

    #[test]
    fn any_vercel_json_is_read_or_refused_with_a_position(
        source in SOURCE, destination in "(/|https://[a-z]|[a-z:$1*/?#é ]){0,10}", value in "[a-z().*?!+|\\[\\]{}0-9]{0,12}",
        target in TARGET, cut in prop::option::of(0usize..200),
    ) {
        let json = serde_json::json!({
            "cleanUrls": true,
            "redirects": [{"source": source, "destination": destination, "has": [{"type": "query", "key": "q", "value": value}]}],
            "rewrites": [{"source": source, "destination": destination}],
            "headers": [{"source": source, "headers": [{"key": "x-a", "value": destination}]}],
        });
        let mut text = json.to_string();
        if let Some(cut) = cut.filter(|cut| text.is_char_boundary(*cut)) {
            text.truncate(cut);
        }
        let sources = Sources { vercel_json: Some(text.clone()), ..Sources::default() };
        match compile(&sources, Settings::default()) {
            Ok(_) => ask(&Site::vercel(&["index.html"], &text), &target, Some("q=a"))?,
            Err(refused) => prop_assert!(refused.0.line.is_some() && refused.0.column.is_some()),
        }
    }

    #[test]
    fn any_netlify_toml_is_read(
        from in LINE, to in LINE, status in any::<i64>(), value in FIELD, target in TARGET,
    ) {
        let toml = format!(
            "[[redirects]]\nfrom = {from:?}\nto = {to:?}\nstatus = {status}\n[[headers]]\nfor = {from:?}\n[headers.values]\nX-A = {value:?}\n"
        );
        ask(&Site::netlify(&["index.html"], &toml), &target, None)?;
        // As Rust writes texts is not always as TOML reads them: cut off, it is as good a test.
        ask(&Site::netlify(&["index.html"], toml.get(..toml.len() / 2).unwrap_or("")), &target, None)?;
    }

    #[test]
    fn any_text_at_all_is_read(text in "\\PC*", dialect in dialects()) {
        let sources = Sources {
            vercel_json: Some(text.clone()),
            netlify_toml: Some(text.clone()),
            redirects: Some(text.clone()),
            headers: Some(text),
            cloudflare_file: None,
        };
        let _ = compile(&sources, Settings { routing: Some(dialect), spa: None });
    }
}
