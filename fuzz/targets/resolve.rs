//! A request and the rules that answer it, from one input: parts between lines of `---` are the
//! request, then `_redirects`, `_headers`, `netlify.toml`, `vercel.json`, each as far as it is there.
//!
//! The request is a line `dialect host target`, then fields, `name: value` a line. An answer that says
//! what it depends on depends on nothing else.
#![no_main]

use gv_fuzz::domain::routing::dialect::Dialect;
use gv_fuzz::domain::routing::resolve::Answer;
use gv_fuzz::domain::routing::sources::Sources;
use gv_fuzz::site::{MAX_INPUT, Site, Visitor, head};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if text.len() > MAX_INPUT {
        return;
    }
    let mut parts = text.split("\n---\n");
    let (words, fields) = head(parts.next().unwrap_or_default());
    let mut file = || parts.next().filter(|text| !text.trim().is_empty()).map(str::to_owned);
    let (redirects, headers, netlify_toml, vercel_json) = (file(), file(), file(), file());
    let sources = Sources { vercel_json, netlify_toml, cloudflare_file: None, redirects, headers };
    let routing = words[0].parse::<Dialect>().ok();
    let Ok(site) = Site::compile(&sources, routing) else { return };
    let (path, query) = match words.last().copied().unwrap_or_default().split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (words.last().copied().unwrap_or_default(), None),
    };
    let fields = fields.lines().filter_map(|line| line.split_once(": "));
    let visitor = Visitor {
        host: words.get(1).copied().unwrap_or_default().to_lowercase(),
        query,
        fields: fields.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect(),
    };
    let Some(answer) = site.ask(path, &visitor) else { return };
    site.check_explained(path, &visitor, &answer);
    check_dependence(&site, path, &visitor, &answer);
});

/// Asks again as others do.
fn check_dependence(site: &Site, path: &str, visitor: &Visitor, answer: &Answer<'_>) {
    let fields = |name: &str, value: &str| {
        let others = visitor.fields.iter().filter(|(known, _)| known != name).cloned();
        others.chain([(name.to_owned(), value.to_owned())]).collect::<Vec<_>>()
    };
    let varied = answer.varies.list().unwrap_or_default();
    for (name, value) in [("cookie", "a=b; nf_lang=fr"), ("accept-language", "de"), ("x-a", "1")] {
        if !varied.split(", ").any(|known| known == name) {
            let other = site.ask(path, &Visitor { fields: fields(name, value), ..visitor.clone() });
            assert_eq!(other.as_ref(), Some(answer), "it depends on {name}");
        }
    }
    if answer.is_general {
        for (host, query) in [("other.example", Some("q=1&id=5")), ("", None), ("a.b.c", Some(""))] {
            let fields = vec![("cookie".to_owned(), "a=b".to_owned()), ("x-a".to_owned(), "1".to_owned())];
            let other = Visitor { host: host.to_owned(), query: query.map(str::to_owned), fields };
            assert_eq!(site.ask(path, &other).as_ref(), Some(answer), "it is not general");
        }
    }
}
