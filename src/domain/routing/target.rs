//! Where a rule leads: templates that are filled with the values of one request.
//!
//! What comes out is safe in a `Location`: ASCII without quotes, backslashes and control
//! characters, and on the site's own host unless the rule names another. Start with [`Target`].

use crate::domain::routing::pattern::name_at;
use crate::domain::text::Invalid;
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use url::Url;

/// What stands for itself nowhere in a `Location`. Escapes stay as they came.
const UNSAFE: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'\'')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// For values that did not come from a path: what could begin another part of an address.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What placeholders stand for, the first of a name winning.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Values<'v>(Vec<(&'v str, Cow<'v, str>)>);

impl<'v> Values<'v> {
    /// A part of a path, as it was sent.
    pub fn add(&mut self, name: &'v str, value: &'v str) {
        self.0.push((name, Cow::Borrowed(value)));
    }

    /// The value of a parameter of the query, as it was sent.
    pub fn add_sent(&mut self, name: &'v str, value: &str) {
        self.0.push((name, Cow::Owned(value.replace('?', "%3F").replace('#', "%23"))));
    }

    /// Text of any kind.
    pub fn add_text(&mut self, name: &'v str, value: &str) {
        self.0.push((name, Cow::Owned(utf8_percent_encode(value, VALUE).to_string())));
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| &**value)
    }

    /// Netlify hands on `%2F` in a splat as a slash.
    pub fn decode_slashes(&mut self, name: &str) {
        for (known, value) in &mut self.0 {
            if *known == name && (value.contains("%2F") || value.contains("%2f")) {
                *value = Cow::Owned(value.replace("%2F", "/").replace("%2f", "/"));
            }
        }
    }
}

/// How placeholders are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// `:name`, `:splat`.
    Colon,
    /// `:name`, `:name*`, `$1`, and `\` before what is none.
    Vercel,
    /// `:name`, `$1`: vercel's values of fields, in which a `\` is text.
    VercelField,
}

/// Text with places for values. Which names have a value is decided when it is read: others are text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Part {
    Text(String),
    Value(String),
}

/// Of a filled template: twice what the largest header rule of vercel's schema may have.
const FILLED_BYTES: usize = 64 * 1024;

impl Template {
    pub fn parse(text: &str, syntax: Syntax, names: &[String]) -> Self {
        let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(c) = rest.chars().next() {
            let behind = &rest[c.len_utf8()..];
            let (name, len) = match c {
                ':' => placeholder(behind, syntax, names),
                '$' if syntax != Syntax::Colon => numbered(behind, names),
                '\\' if syntax == Syntax::Vercel => match behind.chars().next() {
                    Some(next) => {
                        plain.push(next);
                        rest = &behind[next.len_utf8()..];
                        continue;
                    }
                    None => (None, 0),
                },
                _ => (None, 0),
            };
            match name {
                Some(name) => {
                    if !plain.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut plain)));
                    }
                    parts.push(Part::Value(name));
                    rest = &behind[len..];
                }
                None => {
                    plain.push(c);
                    rest = behind;
                }
            }
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Self(parts)
    }

    /// What would grow past [`FILLED_BYTES`] ends there: no client takes an address or a field that
    /// long, and a visitor's text may stand in many places.
    pub fn fill(&self, values: &Values<'_>) -> String {
        let mut filled = String::new();
        for part in &self.0 {
            let piece = match part {
                Part::Text(text) => text.as_str(),
                Part::Value(name) => values.get(name).unwrap_or_default(),
            };
            let room = FILLED_BYTES.saturating_sub(filled.len());
            if piece.len() > room {
                filled.push_str(&piece[..piece.floor_char_boundary(room)]);
                break;
            }
            filled.push_str(piece);
        }
        filled
    }

    /// What it takes in memory, in bytes, about.
    pub fn weight(&self) -> u64 {
        let part = |part: &Part| match part {
            Part::Text(text) | Part::Value(text) => 64 + text.len() as u64,
        };
        self.0.iter().map(part).sum()
    }

    fn has_values(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Value(_)))
    }

    /// In a host, every placeholder is followed by a dot and the host ends with a name of the
    /// rule's own: nothing that a visitor sends says where it ends.
    fn is_host(&self) -> bool {
        let text_behind = |at: usize| match self.0.get(at + 1) {
            Some(Part::Text(text)) => text.as_str(),
            _ => "",
        };
        let guarded = |(at, part): (usize, &Part)| {
            let behind = text_behind(at);
            matches!(part, Part::Text(_)) || behind.starts_with('.') && behind.len() > 1
        };
        self.0.iter().enumerate().all(guarded)
    }

    fn safe(mut self) -> Self {
        for part in &mut self.0 {
            if let Part::Text(text) = part {
                *text = encoded(text);
            }
        }
        self
    }
}

fn placeholder(behind: &str, syntax: Syntax, names: &[String]) -> (Option<String>, usize) {
    let len = match syntax {
        Syntax::Colon | Syntax::VercelField => name_at(behind),
        Syntax::Vercel => {
            behind.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(behind.len())
        }
    };
    let Some(name) = names.iter().find(|name| !name.is_empty() && **name == behind[..len]) else {
        return (None, 0);
    };
    let modified = syntax == Syntax::Vercel && behind[len..].starts_with(['*', '+']);
    (Some(name.clone()), len + usize::from(modified))
}

fn numbered(behind: &str, names: &[String]) -> (Option<String>, usize) {
    let len = behind.find(|c: char| !c.is_ascii_digit()).unwrap_or(behind.len());
    let number: Option<usize> = behind[..len].parse().ok();
    let name = number.and_then(|number| names.get(number.checked_sub(1)?));
    (name.cloned(), len)
}

fn encoded(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for (at, piece) in text.split('%').enumerate() {
        if at > 0 {
            let is_escape =
                piece.as_bytes().get(..2).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
            safe.push_str(if is_escape { "%" } else { "%25" });
        }
        safe.extend(utf8_percent_encode(piece, UNSAFE));
    }
    safe
}

/// What becomes of the query that a visitor sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queries {
    /// The target's own takes its place, where it has one.
    Replace,
    /// The target's own is added, and wins for its names.
    Merge,
}

/// An address: a path of the site, or one of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<Origin>,
    path: Template,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    query: Option<Template>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fragment: Option<Template>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Origin {
    scheme: String,
    host: Template,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
}

impl Target {
    /// Reads a path or an absolute URL of http or https. `names` have values.
    pub fn parse(text: &str, syntax: Syntax, names: &[String]) -> Result<Self, Invalid> {
        let (rest, fragment) = match text.split_once('#') {
            Some((rest, fragment)) => (rest, Some(fragment)),
            None => (text, None),
        };
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(query)),
            None => (rest, None),
        };
        // As `*` and `+` do, a `?` behind a name says how often it was there: it begins no query.
        let query = query.filter(|query| syntax != Syntax::Vercel || !query.is_empty());
        let template = |text| Template::parse(text, syntax, names).safe();
        let (origin, path) = match rest.split_once("://") {
            Some((scheme, behind)) if !rest.starts_with('/') => {
                let end = behind.find('/').unwrap_or(behind.len());
                (Some(Origin::parse(scheme, &behind[..end], syntax, names)?), &behind[end..])
            }
            _ if rest.starts_with('/') && !rest.starts_with("//") => (None, rest),
            // A path may begin with a value: `:path*`, `$1`.
            _ if Template::parse(rest, syntax, names)
                .0
                .first()
                .is_some_and(|part| matches!(part, Part::Value(_))) =>
            {
                (None, rest)
            }
            _ => return Err(Invalid::new("leads neither to a path nor to a URL of http:// or https://")),
        };
        Ok(Self {
            origin,
            path: template(path),
            query: query.map(template),
            fragment: fragment.map(template),
        })
    }

    /// Whether it names a host, which may be another than the site's.
    pub fn leaves_site(&self) -> bool {
        self.origin.is_some()
    }

    pub fn is_plain_http(&self) -> bool {
        self.origin.as_ref().is_some_and(|origin| origin.scheme == "http")
    }

    /// Whether the visitor's query is replaced or added to.
    pub fn has_query(&self) -> bool {
        self.query.is_some()
    }

    /// The host that it names, where it is the same for every request.
    pub fn fixed_host(&self) -> Option<String> {
        let host = &self.origin.as_ref()?.host;
        (!host.has_values()).then(|| host.fill(&Values::default()))
    }

    /// The path alone, where it is the same for every request.
    pub fn fixed_path(&self) -> Option<String> {
        (!self.path.has_values()).then(|| self.path_with(&Values::default()))
    }

    pub fn weight(&self) -> u64 {
        let others = self.query.iter().chain(&self.fragment).map(Template::weight).sum::<u64>();
        self.path.weight() + others + 100
    }

    /// The path with these values: it begins with exactly one slash.
    pub fn path_with(&self, values: &Values<'_>) -> String {
        let path = encoded(&self.path.fill(values));
        // Two slashes would begin another host. What browsers take for a slash is encoded by now.
        format!("/{}", path.trim_start_matches('/'))
    }

    /// The whole address, for a `Location`. `None`: a value cannot be part of a host.
    pub fn location(&self, values: &Values<'_>, query: Option<&str>, queries: Queries) -> Option<String> {
        let mut location = String::new();
        if let Some(Origin { scheme, host, port }) = &self.origin {
            let host = host.fill(values);
            if !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.') {
                return None;
            }
            location = format!("{scheme}://{host}");
            if let Some(port) = port {
                location.push_str(&format!(":{port}"));
            }
        }
        if self.origin.is_none() || !self.path.0.is_empty() {
            location.push_str(&self.path_with(values));
        }
        let own = self.query.as_ref().map(|query| encoded(&query.fill(values)));
        let sent = query.map(encoded);
        let query = match (own, sent) {
            (Some(own), Some(sent)) if queries == Queries::Merge => Some(merged(&own, &sent)),
            (Some(own), _) => Some(own),
            (None, sent) => sent,
        };
        for (mark, part) in
            [('?', query), ('#', self.fragment.as_ref().map(|fragment| encoded(&fragment.fill(values))))]
        {
            if let Some(part) = part {
                location.push(mark);
                location.push_str(&part);
            }
        }
        Some(location)
    }
}

/// The target's query with what the visitor's has beside it.
fn merged(own: &str, sent: &str) -> String {
    let name = |pair: &str| pair.split('=').next().unwrap_or_default().to_owned();
    let named: Vec<String> = own.split('&').map(name).collect();
    let more = sent.split('&').filter(|pair| !pair.is_empty() && !named.contains(&name(pair)));
    std::iter::once(own).filter(|own| !own.is_empty()).chain(more).collect::<Vec<_>>().join("&")
}

impl Origin {
    fn parse(scheme: &str, authority: &str, syntax: Syntax, names: &[String]) -> Result<Self, Invalid> {
        let scheme = scheme.to_ascii_lowercase();
        if !matches!(scheme.as_str(), "http" | "https") {
            return Err(Invalid::new("leads neither to a path nor to a URL of http:// or https://"));
        }
        let host_of = |text: &str| match text.rsplit_once(':') {
            Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
                (host.to_owned(), port.parse().ok())
            }
            _ => (text.to_owned(), None),
        };
        let (host, port) = host_of(authority);
        let template = Template::parse(&host, syntax, names);
        if template.has_values() {
            let literal = template.fill(&Values::default());
            let plain = literal.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
            if !plain || !template.is_host() {
                return Err(Invalid::new(
                    "has a placeholder in its host that is not followed by a name of your own, as in :a.example.com",
                ));
            }
            return Ok(Self { scheme, host: template, port });
        }
        let url = Url::parse(&format!("{scheme}://{authority}/")).ok();
        let url = url.filter(|url| url.username().is_empty() && url.password().is_none());
        let host = url.as_ref().and_then(Url::host_str).filter(|host| !host.starts_with('['));
        let host = host.ok_or_else(|| Invalid::new("has a host that none can have"))?;
        Ok(Self { scheme, host: Template(vec![Part::Text(host.to_owned())]), port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        ["splat", "id", "#3"].map(str::to_owned).into()
    }

    fn values<'v>(splat: &'v str, id: &'v str) -> Values<'v> {
        let mut values = Values::default();
        values.add("splat", splat);
        values.add("id", id);
        values
    }

    fn location(target: &str, splat: &str, query: Option<&str>) -> Option<String> {
        let target = Target::parse(target, Syntax::Colon, &names()).unwrap();
        target.location(&values(splat, "5"), query, Queries::Replace)
    }

    #[test]
    fn values_fill_path_query_fragment_and_host() {
        for (target, splat, query, expected) in [
            ("/x/:splat", "a/b", None, "/x/a/b"),
            ("/x/:splat/:id-:id", "a%20b", None, "/x/a%20b/5-5"),
            ("/x/:other/:idx", "", None, "/x/:other/:idx"),
            ("/x", "", Some("a=1&b=%2F"), "/x?a=1&b=%2F"),
            ("/x?own=:id", "", Some("a=1"), "/x?own=5"),
            ("/x#part", "", Some("a=1"), "/x?a=1#part"),
            ("/x?q=1#:id", "", None, "/x?q=1#5"),
            ("https://:id.example.com/:splat", "a", None, "https://5.example.com/a"),
            ("https://Example.com", "", None, "https://example.com"),
            ("https://bücher.example:8443/x", "", None, "https://xn--bcher-kva.example:8443/x"),
            ("http://example.com/?a#b", "", Some("c"), "http://example.com/?a#b"),
            ("/café/a b", "", None, "/caf%C3%A9/a%20b"),
            ("/caf%C3%A9/100%", "", None, "/caf%C3%A9/100%25"),
        ] {
            assert_eq!(location(target, splat, query).as_deref(), Some(expected), "{target}");
        }
    }

    #[test]
    fn nothing_that_a_visitor_sends_leads_to_another_host() {
        for (target, splat, expected) in [
            ("/:splat", "/evil.example", "/evil.example"),
            ("/:splat", "//evil.example", "/evil.example"),
            ("/:splat", "\\evil.example", "/%5Cevil.example"),
            ("/:splat", "/\\/evil.example", "/%5C/evil.example"),
            ("/:splat", "%5Cevil.example", "/%5Cevil.example"),
            ("/:splat", "a\"b'c", "/a%22b%27c"),
            (":splat", "evil.example", "/evil.example"),
            (":splat", "https://evil.example", "/https://evil.example"),
        ] {
            assert_eq!(location(target, splat, None).as_deref(), Some(expected), "{target} {splat}");
        }
        assert_eq!(location("/x", "", Some("a=\r\nSet-Cookie: b")).unwrap(), "/x?a=%0D%0ASet-Cookie:%20b");
        let target = Target::parse("https://:id.example.com/", Syntax::Colon, &names()).unwrap();
        for id in ["evil.example/", "a@b", "a:1", "evil.example%2F", "é", "a\\b"] {
            assert_eq!(target.location(&values("", id), None, Queries::Replace), None, "{id}");
        }
        for bad in [
            "//evil.example",
            "evil.example",
            "javascript:alert(1)",
            "mailto:a@b",
            "ftp://x/",
            "https://:splat",
            "https://example.com:splat/",
            "https://x.:id",
            "https://:id./",
            "https://a@b/",
            "https:///x",
        ] {
            assert!(Target::parse(bad, Syntax::Colon, &names()).is_err(), "{bad}");
        }
    }

    #[test]
    fn vercel_knows_numbers_modifiers_and_escapes() {
        let location = |target: &str| {
            let target = Target::parse(target, Syntax::Vercel, &names()).unwrap();
            let mut values = values("a/b", "5");
            values.add("#3", "x");
            target.location(&values, Some("a=1&c=2"), Queries::Merge).unwrap()
        };
        assert_eq!(location("/n/:splat*/:id/$3/$9"), "/n/a/b/5/x/$9?a=1&c=2");
        assert_eq!(location("/n?a=:id"), "/n?a=5&c=2");
        assert_eq!(location("/n/:id?"), "/n/5?a=1&c=2");
        assert_eq!(location("/n/:id?a=:id"), "/n/5?a=5&c=2");
        assert_eq!(location("/n/:id?#:id"), "/n/5?a=1&c=2#5");
        assert_eq!(location("/n\\:id"), "/n:id?a=1&c=2");
    }

    #[test]
    fn texts_of_headers_and_cookies_cannot_begin_another_part() {
        let mut values = Values::default();
        values.add_text("id", "a/b?c#d&é");
        values.add_sent("splat", "x?y#z");
        let target = Target::parse("/:id/:splat", Syntax::Colon, &names()).unwrap();
        assert_eq!(
            target.location(&values, None, Queries::Replace).unwrap(),
            "/a%2Fb%3Fc%23d%26%C3%A9/x%3Fy%23z"
        );
    }
}
