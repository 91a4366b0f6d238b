//! The keys of traces.

use super::reader::Reader;
use crate::domain::secret::Secret;
use http::{HeaderName, HeaderValue};
use url::Url;

#[derive(Clone, Debug)]
pub struct Telemetry {
    /// Where spans go; `None`: nowhere.
    pub otlp: Option<Otlp>,
}

#[derive(Clone, Debug)]
pub struct Otlp {
    /// Of the collector, http or https.
    pub endpoint: Url,
    /// Sent with every request, as whoever runs the collector wants it.
    pub headers: Vec<(String, Secret)>,
    /// Of a hundred traces that begin here.
    pub sample_percent: u8,
}

pub(super) fn read(from: &mut Reader<'_>) -> Telemetry {
    let headers = headers(from);
    let sample_percent = from.number("telemetry.sample_percent", 0..=100);
    let text = from.text("telemetry.otlp_endpoint");
    if text.is_empty() {
        return Telemetry { otlp: None };
    }
    let is_web = |url: &Url| {
        let is_plain = url.username().is_empty() && url.password().is_none();
        ["http", "https"].contains(&url.scheme()) && url.has_host() && url.query().is_none() && is_plain
    };
    let endpoint = Url::parse(text).ok().filter(is_web);
    if endpoint.is_none() {
        from.problem(
            "telemetry.otlp_endpoint",
            "must be an http or https URL without a query or password, such as http://collector:4318, or empty",
        );
    }
    Telemetry { otlp: endpoint.map(|endpoint| Otlp { endpoint, headers, sample_percent }) }
}

/// What is wrong is not repeated: a value may be a secret.
fn headers(from: &mut Reader<'_>) -> Vec<(String, Secret)> {
    let items = from.list("telemetry.otlp_headers");
    let parsed = items.iter().map(|item| {
        let (name, value) = item.split_once('=')?;
        let (name, value) = (name.trim(), value.trim());
        HeaderName::from_bytes(name.as_bytes()).ok()?;
        HeaderValue::from_str(value).ok()?;
        Some((name.to_owned(), Secret::new(value)))
    });
    let parsed: Option<Vec<_>> = parsed.collect();
    parsed.unwrap_or_else(|| {
        from.problem("telemetry.otlp_headers", "must be a list of name=value, as fields of HTTP have them");
        Vec::new()
    })
}
