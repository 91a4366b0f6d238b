//! A request, as the edge sees it, whoever read it from its connection: the front or actix-web.

use crate::domain::http::accept_encoding::Accepted;
use crate::domain::http::conditions::Conditions;
use crate::domain::routing::request::Fields;
use httparse::Header;

/// Methods that the edge tells apart. Names are case sensitive (RFC 9110, 9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    Options,
    /// CONNECT and TRACE: no site answers them.
    Refused,
    /// The others may be redirected, if nothing else.
    Other,
}

impl Method {
    pub fn of(name: &str) -> Self {
        match name {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "OPTIONS" => Self::Options,
            "CONNECT" | "TRACE" => Self::Refused,
            _ => Self::Other,
        }
    }

    /// As a label: those that are told apart by nobody have none of their own (OpenTelemetry's name for them).
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
            Self::Refused | Self::Other => "_OTHER",
        }
    }

    pub fn reads(self) -> bool {
        matches!(self, Self::Get | Self::Head)
    }
}

#[derive(Clone, Copy)]
pub struct Request<'r> {
    pub method: Method,
    /// As it was sent, for those who read logs.
    pub method_name: &'r str,
    /// Path and query, as they came.
    pub target: &'r str,
    /// Of an absolute target, which wins over the field (RFC 9112, 3.2.2).
    pub authority: Option<&'r str>,
    pub fields: &'r [Header<'r>],
}

impl<'r> Request<'r> {
    pub fn path(&self) -> &'r str {
        self.target.split_once('?').map_or(self.target, |(path, _)| path)
    }

    pub fn query(&self) -> Option<&'r str> {
        self.target.split_once('?').map(|(_, query)| query)
    }

    /// All lines of a field, in order; `name` is in lower case.
    pub fn lines(&self, name: &'static str) -> impl Iterator<Item = &'r [u8]> + Clone + use<'r> {
        let named = self.fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name));
        named.map(|field| field.value)
    }

    /// Ranges are of the file as it is.
    pub fn accepted(&self) -> Accepted {
        if self.method == Method::Get && self.lines("range").next().is_some() {
            return Accepted::default();
        }
        Accepted::parse(self.lines("accept-encoding"))
    }

    pub fn conditions(&self) -> Conditions<'r> {
        let mut conditions = Conditions::default();
        for field in self.fields {
            let of = |name: &str| field.name.eq_ignore_ascii_case(name);
            let lines = match field.name.len() {
                5 if of("range") => &mut conditions.range,
                8 if of("if-match") => &mut conditions.if_match,
                8 if of("if-range") => &mut conditions.if_range,
                13 if of("if-none-match") => &mut conditions.if_none_match,
                _ => continue,
            };
            lines.add(field.value);
        }
        conditions
    }
}

/// The fields of a request, as rules look at them.
pub struct RuleFields<'r>(pub &'r [Header<'r>]);

impl Fields for RuleFields<'_> {
    fn values(&self, name: &str) -> Vec<&str> {
        let named = self.0.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        named.filter_map(|field| std::str::from_utf8(field.value).ok()).map(str::trim_ascii).collect()
    }
}
