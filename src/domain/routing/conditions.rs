//! What a rule asks of a request beside its path: fields, cookies, the query, the host, the
//! visitor's language. Start with [`Guard`].

use crate::domain::routing::matcher::{Budget, Matcher};
use crate::domain::routing::request::{Asked, Varies};
use crate::domain::routing::target::Values;
use serde::{Deserialize, Serialize};

/// All of `has` must hold, and none of `missing`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Guard {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub has: Vec<Condition>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Condition>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// The name in lower case.
    Header(String, Test),
    Cookie(String, Test),
    Query(String, Test),
    Host(Test),
    /// One of these: the first two letters of what the visitor prefers, or the cookie `nf_lang`.
    Language(Vec<String>),
    /// One of these, as the cookie `nf_country` says: gv does not know where visitors are.
    Country(Vec<String>),
    /// One of these cookies is there.
    AnyCookie(Vec<String>),
}

/// What targets call the host that was asked for.
const HOST: &str = "host";

/// What is asked of a value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Test {
    /// It is there and not empty; targets know it by this name.
    Present(String),
    /// It is there; targets know it by this name.
    Bind(String),
    Equals(String),
    /// The pattern is for the whole value; targets know its named groups.
    Matches(Matcher),
    /// All hold.
    Compare(Vec<Comparison>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    Equals(String),
    Differs(String),
    OneOf(Vec<String>),
    NoneOf(Vec<String>),
    Begins(String),
    Ends(String),
    Matches(Matcher),
    Above(f64),
    AtLeast(f64),
    Below(f64),
    AtMost(f64),
}

impl Guard {
    /// Whether the request is one that the rule is for. Notes what the answer depends on, and the
    /// values that targets may use. The reason otherwise.
    pub fn holds<'g>(
        &'g self,
        asked: &Asked<'_>,
        values: &mut Values<'g>,
        varies: &mut Varies,
        budget: &mut Budget,
    ) -> Result<(), &'g Condition> {
        // All are noted, whichever decides.
        self.has.iter().chain(&self.missing).for_each(|condition| condition.note(varies));
        if let Some(failed) = self.has.iter().find(|one| !one.holds(asked, values, budget)) {
            return Err(failed);
        }
        let found = |one: &&Condition| one.holds(asked, &mut Values::default(), budget);
        self.missing.iter().find(found).map_or(Ok(()), Err)
    }

    /// The names that targets may use.
    pub fn names(&self) -> Vec<String> {
        self.has.iter().flat_map(Condition::names).collect()
    }

    /// What it takes in memory, in bytes, about.
    pub fn weight(&self) -> u64 {
        self.has.iter().chain(&self.missing).map(Condition::weight).sum()
    }

    /// How many of its patterns need more than linear time.
    pub fn backtracking(&self) -> usize {
        let matchers = self.has.iter().chain(&self.missing).flat_map(Condition::matchers);
        matchers.filter(|matcher| matcher.is_backtracking()).count()
    }

    pub fn is_empty(&self) -> bool {
        self.has.is_empty() && self.missing.is_empty()
    }
}

impl Condition {
    fn holds<'c>(&'c self, asked: &Asked<'_>, values: &mut Values<'c>, budget: &mut Budget) -> bool {
        if !budget.spend(self.cost(asked)) {
            return false;
        }
        match self {
            Self::Header(name, test) => test.holds(asked.field(name).as_deref(), values, budget),
            Self::Cookie(name, test) => test.holds(asked.cookie(name).as_deref(), values, budget),
            Self::Query(name, Test::Bind(bound)) => match asked.sent_parameter(name) {
                Some(sent) => {
                    values.add_sent(bound, sent);
                    true
                }
                None => false,
            },
            Self::Query(name, test) => test.holds(asked.parameter(name).as_deref(), values, budget),
            Self::Host(test) => {
                let holds = test.holds(Some(asked.host), values, budget);
                values.add_text(HOST, asked.host);
                holds
            }
            Self::Language(wanted) => asked.language().is_some_and(|language| wanted.contains(&language)),
            Self::Country(wanted) => asked
                .cookie("nf_country")
                .is_some_and(|country| wanted.contains(&country.to_ascii_lowercase())),
            Self::AnyCookie(names) => names.iter().any(|name| asked.cookie(name).is_some()),
        }
    }

    /// Of looking for what is asked, in steps: what the visitor sent is read for each name.
    fn cost(&self, asked: &Asked<'_>) -> u64 {
        let sent = |name: &str| asked.fields.values(name).iter().map(|value| value.len()).sum::<usize>();
        let (bytes, times) = match self {
            Self::Header(name, _) => (sent(name), 1),
            Self::Query(..) => (asked.query.map_or(0, str::len), 1),
            Self::Host(_) => (asked.host.len(), 1),
            Self::Language(wanted) | Self::Country(wanted) => {
                (sent("cookie") + sent("accept-language"), 1 + wanted.len() / 16)
            }
            Self::Cookie(..) => (sent("cookie"), 1),
            Self::AnyCookie(names) => (sent("cookie"), names.len()),
        };
        (bytes as u64 + 16).saturating_mul(times as u64)
    }

    fn note(&self, varies: &mut Varies) {
        match self {
            Self::Header(name, _) => varies.add(name),
            Self::Cookie(..) | Self::Country(_) | Self::AnyCookie(_) => varies.add("cookie"),
            Self::Language(_) => {
                varies.add("accept-language");
                varies.add("cookie");
            }
            // Part of what caches tell answers apart by.
            Self::Query(..) | Self::Host(_) => {}
        }
    }

    fn weight(&self) -> u64 {
        let matcher = match self {
            Self::Header(_, test) | Self::Cookie(_, test) | Self::Query(_, test) | Self::Host(test) => {
                test.weight()
            }
            Self::Language(list) | Self::Country(list) | Self::AnyCookie(list) => 60 * list.len() as u64,
        };
        200 + matcher
    }

    /// What is asked of a value, where one is looked at.
    fn test(&self) -> Option<&Test> {
        match self {
            Self::Header(_, test) | Self::Cookie(_, test) | Self::Query(_, test) | Self::Host(test) => {
                Some(test)
            }
            Self::Language(_) | Self::Country(_) | Self::AnyCookie(_) => None,
        }
    }

    fn matchers(&self) -> Vec<&Matcher> {
        match self.test() {
            Some(Test::Matches(matcher)) => vec![matcher],
            Some(Test::Compare(all)) => all.iter().filter_map(Comparison::matcher).collect(),
            _ => Vec::new(),
        }
    }

    fn names(&self) -> Vec<String> {
        let Some(test) = self.test() else { return Vec::new() };
        let mut names = match test {
            Test::Present(name) | Test::Bind(name) => vec![name.clone()],
            Test::Matches(_) | Test::Compare(_) | Test::Equals(_) => {
                self.matchers().into_iter().flat_map(Matcher::names).flatten().map(str::to_owned).collect()
            }
        };
        if matches!(self, Self::Host(_)) {
            names.push(HOST.to_owned());
        }
        names
    }

    /// In words, for those who ask why a rule was not taken.
    pub fn describe(&self) -> String {
        match self {
            Self::Header(name, test) => format!("header {name} {}", test.describe()),
            Self::Cookie(name, test) => format!("cookie {name} {}", test.describe()),
            Self::Query(name, test) => format!("query {name} {}", test.describe()),
            Self::Host(test) => format!("host {}", test.describe()),
            Self::Language(wanted) => format!("language {}", wanted.join(" or ")),
            Self::Country(wanted) => format!("country {}", wanted.join(" or ")),
            Self::AnyCookie(names) => format!("cookie {}", names.join(" or ")),
        }
    }
}

impl Test {
    fn weight(&self) -> u64 {
        match self {
            Self::Matches(matcher) => matcher.bytes(),
            Self::Compare(all) => all.iter().map(Comparison::weight).sum(),
            Self::Present(_) | Self::Bind(_) | Self::Equals(_) => 0,
        }
    }

    fn holds<'t>(&'t self, value: Option<&str>, values: &mut Values<'t>, budget: &mut Budget) -> bool {
        let Some(value) = value else { return false };
        match self {
            Self::Present(name) => {
                values.add_text(name, value);
                !value.is_empty()
            }
            Self::Bind(name) => {
                values.add_text(name, value);
                true
            }
            Self::Equals(wanted) => value == wanted,
            Self::Matches(matcher) => matches(matcher, value, values, budget),
            Self::Compare(all) => all.iter().all(|comparison| comparison.holds(value, values, budget)),
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Present(_) | Self::Bind(_) => "is there".to_owned(),
            Self::Equals(wanted) => format!("is {wanted}"),
            Self::Matches(matcher) => format!("matches {}", matcher.text()),
            Self::Compare(_) => "compares as the rule says".to_owned(),
        }
    }
}

/// Whether a pattern is for a value; its groups with a name are values of their own.
fn matches<'t>(matcher: &'t Matcher, value: &str, values: &mut Values<'t>, budget: &mut Budget) -> bool {
    let Some(groups) = matcher.find(value, budget) else { return false };
    for (name, group) in matcher.names().zip(groups) {
        let text = group.and_then(|group| value.get(group));
        if let (Some(name), Some(text)) = (name, text) {
            values.add_text(name, text);
        }
    }
    true
}

impl Comparison {
    fn matcher(&self) -> Option<&Matcher> {
        match self {
            Self::Matches(matcher) => Some(matcher),
            _ => None,
        }
    }

    fn weight(&self) -> u64 {
        match self {
            Self::Matches(matcher) => matcher.bytes(),
            Self::OneOf(list) | Self::NoneOf(list) => list.iter().map(|one| 50 + one.len() as u64).sum(),
            _ => 50,
        }
    }

    fn holds<'t>(&'t self, value: &str, values: &mut Values<'t>, budget: &mut Budget) -> bool {
        let number = |compare: fn(&f64, &f64) -> bool, with: &f64| {
            value.trim().parse::<f64>().is_ok_and(|value| compare(&value, with))
        };
        match self {
            Self::Equals(wanted) => value == wanted,
            Self::Differs(other) => value != other,
            Self::OneOf(wanted) => wanted.iter().any(|one| one == value),
            Self::NoneOf(others) => others.iter().all(|one| one != value),
            Self::Begins(start) => value.starts_with(start.as_str()),
            Self::Ends(end) => value.ends_with(end.as_str()),
            Self::Matches(matcher) => matches(matcher, value, values, budget),
            Self::Above(with) => number(f64::gt, with),
            Self::AtLeast(with) => number(f64::ge, with),
            Self::Below(with) => number(f64::lt, with),
            Self::AtMost(with) => number(f64::le, with),
        }
    }
}
