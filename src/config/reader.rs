//! What a value of a setting can be, whichever key it is of: each is parsed into its type, and problems are
//! gathered.

use super::layers::{Problem, Settings};
use crate::domain::address::AllowedHost;
use crate::domain::secret::Secret;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

/// Everything below one day, in the units of the keys.
pub(super) const A_DAY_S: i64 = 86_400;
pub(super) const A_TEBIBYTE_MB: i64 = 1 << 20;

pub(super) struct Reader<'a> {
    settings: &'a Settings,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    /// `problems` are those that were found before.
    pub(super) fn new(settings: &'a Settings, problems: Vec<Problem>) -> Self {
        Self { settings, problems }
    }

    pub(super) fn problems(self) -> Vec<Problem> {
        self.problems
    }

    pub(super) fn problem(&mut self, key: &str, message: impl Into<String>) {
        let origin = self.settings.get(key).map(|setting| setting.origin.clone());
        self.problems.push(Problem { key: key.to_owned(), origin, message: message.into() });
    }

    pub(super) fn text(&self, key: &str) -> &str {
        self.settings.get(key).and_then(|setting| setting.value.as_str()).unwrap_or_default()
    }

    pub(super) fn list(&mut self, key: &str) -> Vec<String> {
        let items =
            self.settings.get(key).and_then(|setting| setting.value.as_array()).cloned().unwrap_or_default();
        let texts: Vec<String> = items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect();
        if texts.len() != items.len() {
            self.problem(key, "must be a list of texts");
        }
        texts
    }

    pub(super) fn number<T: TryFrom<i64> + Default>(&mut self, key: &str, range: RangeInclusive<i64>) -> T {
        let number =
            self.settings.get(key).and_then(|setting| setting.value.as_integer()).unwrap_or_default();
        match T::try_from(number) {
            Ok(value) if range.contains(&number) => value,
            _ => {
                self.problem(key, format!("must be {} to {}", range.start(), range.end()));
                T::default()
            }
        }
    }

    pub(super) fn flag(&mut self, key: &str) -> bool {
        let flag = self.settings.get(key).and_then(|setting| setting.value.as_bool());
        if flag.is_none() {
            self.problem(key, "must be true or false");
        }
        flag.unwrap_or_default()
    }

    pub(super) fn parsed<T: FromStr>(&mut self, key: &str, expected: &str) -> Option<T> {
        let parsed = self.text(key).parse().ok();
        if parsed.is_none() {
            self.problem(key, format!("must be {expected}"));
        }
        parsed
    }

    pub(super) fn optional_secret(&self, key: &str) -> Option<Secret> {
        Some(self.text(key)).filter(|text| !text.is_empty()).map(Secret::new)
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> Option<T> {
        let found = words.iter().find(|(word, _)| *word == self.text(key)).map(|(_, value)| *value);
        if found.is_none() {
            let known: Vec<&str> =
                words.iter().map(|(word, _)| *word).filter(|word| !word.is_empty()).collect();
            self.problem(key, format!("must be {}", known.join(" or ")));
        }
        found
    }

    /// A URL of one of the schemes given.
    pub(super) fn url(&mut self, key: &str, default: String, schemes: &[&str]) -> String {
        let url = Some(self.text(key).to_owned()).filter(|text| !text.is_empty()).unwrap_or(default);
        if !schemes.iter().any(|scheme| url.starts_with(scheme)) {
            self.problem(key, format!("must begin with {}", schemes.join(" or ")));
        }
        url
    }
    pub(super) fn folder(&self, key: &str) -> Option<PathBuf> {
        Some(self.text(key)).filter(|text| !text.is_empty()).map(PathBuf::from)
    }

    pub(super) fn allowed_hosts(&mut self, key: &str) -> Vec<AllowedHost> {
        let items = self.list(key);
        let parsed = items
            .iter()
            .map(|item| AllowedHost::parse(item).map_err(|invalid| format!("{item:?} {invalid}")));
        let parsed: Result<Vec<_>, String> = parsed.collect();
        parsed.unwrap_or_else(|problem| {
            self.problem(key, problem);
            Vec::new()
        })
    }
}
