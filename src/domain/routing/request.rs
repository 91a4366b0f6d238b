//! What rules may look at of a request, and what an answer came to depend on. The request itself
//! belongs to the edge; who asks for an explanation makes one up.

use crate::domain::request_path::RequestPath;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;

pub struct Asked<'r> {
    /// In lower case, without port.
    pub host: &'r str,
    pub path: &'r RequestPath<'r>,
    /// As it was sent, without `?`.
    pub query: Option<&'r str>,
    pub fields: &'r dyn Fields,
}

/// The header fields of a request.
pub trait Fields {
    /// All values of a field, in order; `name` is in lower case.
    fn values(&self, name: &str) -> Vec<&str>;
}

impl Fields for Vec<(String, String)> {
    fn values(&self, name: &str) -> Vec<&str> {
        let named = self.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }
}

impl Asked<'_> {
    /// A field's value; several are one list (RFC 9110, 5.3).
    pub fn field(&self, name: &str) -> Option<String> {
        let values = self.fields.values(name);
        (!values.is_empty()).then(|| values.join(", "))
    }

    pub fn cookie(&self, name: &str) -> Option<String> {
        let fields = self.fields.values("cookie");
        let mut pairs = fields.iter().flat_map(|field| field.split(';'));
        pairs.find_map(|pair| {
            let (known, value) = pair.trim().split_once('=')?;
            (known == name).then(|| value.to_owned())
        })
    }

    /// The value of the last parameter of this name, decoded.
    pub fn parameter(&self, name: &str) -> Option<String> {
        self.sent_parameter(name).map(|sent| form_decoded(sent).into_owned())
    }

    /// The same as it was sent.
    pub fn sent_parameter(&self, name: &str) -> Option<&str> {
        let pairs = self.query?.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.rev().find(|(known, _)| form_decoded(known) == name).map(|(_, value)| value)
    }

    /// Two letters: the cookie `nf_lang`, else the first member of Accept-Language.
    pub fn language(&self) -> Option<String> {
        let preferred = || {
            let list = self.field("accept-language")?;
            list.split(',').next().map(|first| first.trim().to_owned())
        };
        let language = self.cookie("nf_lang").or_else(preferred)?;
        language.get(..2).map(str::to_ascii_lowercase)
    }
}

fn form_decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned())
}

/// The fields that an answer depends on, in lower case. Where there are any, it is not to be shared
/// between visitors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Varies(Vec<String>);

impl Varies {
    pub fn add(&mut self, field: &str) {
        if !self.0.iter().any(|known| known == field) {
            self.0.push(field.to_owned());
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// For `Vary`. `None`: it depends on no field.
    pub fn list(&self) -> Option<String> {
        (!self.0.is_empty()).then(|| self.0.join(", "))
    }
}
