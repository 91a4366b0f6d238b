//! What a site answers to a request: the order of one request, one straight function a dialect (the
//! project's `edge-routing` specification, section 2). A pure function of manifest and request; the
//! bytes of the answer are the edge's.
//!
//! Start with [`resolve`].

use crate::domain::manifest::Manifest;
use crate::domain::request_path::RequestPath;
use crate::domain::routing::answer_fields::{FieldEdit, Fields};
use crate::domain::routing::conditions::Guard;
use crate::domain::routing::dialect::Dialect;
use crate::domain::routing::files::{self, Found, Looked};
use crate::domain::routing::matcher::Budget;
use crate::domain::routing::pattern::{HostPattern, Pattern, SPLAT};
use crate::domain::routing::request::{Asked, Varies};
use crate::domain::routing::rules::{List, Rule, Rules};
use crate::domain::routing::sources::is_rule_file;
use crate::domain::routing::target::{Queries, Values};
use crate::domain::routing::trace::Trace;
use crate::domain::routing::vercel_urls;

/// What is to be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer<'m> {
    pub outcome: Outcome<'m>,
    /// What rules do with its fields; none of them is one that [`name_of`] refuses.
    ///
    /// [`name_of`]: crate::domain::routing::headers::name_of
    pub edits: Vec<FieldEdit>,
    /// What it depends on beside the address.
    pub varies: Varies,
    /// It is the same for every request with this path, whatever else is asked: no rule was looked
    /// at that asks for more than a path. Never so for a redirect, which may carry the query along.
    pub is_general: bool,
    /// A rule says so that nothing is there, or shows a page with a status of its own.
    pub is_refused: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<'m> {
    File(Found<'m>),
    /// A file with a status of its own: the site's page for what is not there, or what a rule says.
    Page {
        status: u16,
        found: Found<'m>,
    },
    /// `location` is in ASCII that a header can hold.
    Moved {
        status: u16,
        location: String,
        /// A rule says so, whatever the method; else it is the address of a file.
        by_rule: bool,
    },
    /// Nothing is there, and the site has no page that says so.
    Nothing {
        status: u16,
    },
    /// The patterns of this site would take too long on this address, or its rules set more fields
    /// than an answer can have.
    TooCostly,
}

pub fn resolve<'m>(manifest: &'m Manifest, asked: &Asked<'_>, trace: &mut Trace) -> Answer<'m> {
    let rules = &manifest.rules;
    let mut way = Way {
        manifest,
        rules,
        asked,
        budget: Budget::default(),
        varies: Varies::default(),
        is_general: true,
        is_refused: false,
        trace,
    };
    let outcome = match rules.dialect {
        _ if asked.path.file().is_some_and(is_rule_file) => way.rule_file(),
        Dialect::Vercel => way.vercel(),
        Dialect::Netlify => way.netlify(),
        Dialect::Cloudflare => way.cloudflare(),
        Dialect::Plain => way.plain(),
    };
    let edits = way.edits(&outcome);
    let outcome = if way.budget.is_spent() {
        way.trace.take("address", || format!("414: {UNDECIDED}"));
        Outcome::TooCostly
    } else {
        outcome
    };
    let goes_by_path = !matches!(outcome, Outcome::Moved { .. } | Outcome::TooCostly);
    Answer {
        outcome,
        edits,
        varies: way.varies,
        is_general: way.is_general && goes_by_path,
        is_refused: way.is_refused,
    }
}

/// Why there is no answer where some rule might have been for the request.
const UNDECIDED: &str = "which rules are for this request would cost too much to say";

struct Way<'m, 'r> {
    manifest: &'m Manifest,
    rules: &'m Rules,
    asked: &'r Asked<'r>,
    budget: Budget,
    varies: Varies,
    /// No host pattern and no condition was looked at so far.
    is_general: bool,
    is_refused: bool,
    trace: &'r mut Trace,
}

/// A rule that is for the request, and where it leads: a location or a path of the site.
struct Taken<'m> {
    number: usize,
    rule: &'m Rule,
    to: String,
}

impl<'m> Way<'m, '_> {
    fn vercel(&mut self) -> Outcome<'m> {
        if let Some(location) = vercel_urls::tidy(self.rules, self.asked.path, self.asked.query) {
            self.trace.take("cleanUrls, trailingSlash", || format!("redirect to {location}"));
            return Outcome::Moved { status: 308, location, by_rule: true };
        }
        if let Some(taken) = self.first(&self.rules.redirects, 0, self.asked.path) {
            return Outcome::Moved { status: taken.rule.status, location: taken.to, by_rule: true };
        }
        if let Some(outcome) = self.file() {
            return outcome;
        }
        if let Some(outcome) = self.rewritten() {
            return outcome;
        }
        self.shell().map_or_else(|| self.missing(404), Outcome::File)
    }

    /// The first rewrite that leads to a file: where it leads to none, the later ones go on with the
    /// rewritten path.
    fn rewritten(&mut self) -> Option<Outcome<'m>> {
        let mut path = self.asked.path.clone().into_owned();
        let mut from = 0;
        while let Some(taken) = self.first(&self.rules.rewrites, from, &path) {
            path = RequestPath::parse(&taken.to).ok()?.into_owned();
            if let Some(found) = files::file(self.manifest, &path) {
                let status = taken.rule.status;
                self.is_refused = status != 200;
                return Some(match status {
                    200 => Outcome::File(found),
                    status => Outcome::Page { status, found },
                });
            }
            self.trace.pass(&taken.to, || "no file is there: later rewrites go on with it".to_owned());
            from = taken.number + 1;
        }
        None
    }

    /// The first rule that is for the request is taken; if it is not forced and a file is there, the
    /// file is served.
    fn netlify(&mut self) -> Outcome<'m> {
        let looked = self.look();
        let taken = match looked {
            Looked::Nothing => self.first(&self.rules.redirects, 0, self.asked.path),
            _ => self.first_over_file(),
        };
        match taken {
            Some(taken) if taken.rule.forced => self.follow(&taken),
            Some(taken) => match self.there(looked) {
                Some(outcome) => outcome,
                None => self.follow(&taken),
            },
            None => match self.there(looked).or_else(|| self.shell().map(Outcome::File)) {
                Some(outcome) => outcome,
                None => self.missing(404),
            },
        }
    }

    /// The forced rule that wins over a file that is there. The others only say "the file": one of
    /// them is looked at where a forced one stands behind it, which it would hide. So what it asks of
    /// a visitor is nothing that the file depends on otherwise.
    fn first_over_file(&mut self) -> Option<Taken<'m>> {
        let (list, path, is_explained) = (&self.rules.redirects, self.asked.path, self.trace.is_on());
        if !is_explained && !candidates(list, path, false).any(|(_, rule)| rule.forced) {
            return None;
        }
        let mut passed = Vec::new();
        // What is looked at for the explanation alone costs the answer nothing.
        let mut looking = Budget::default();
        for (number, rule) in candidates(list, path, is_explained) {
            if !rule.forced {
                let asked = self.asked;
                self.trace.pass(&rule.place, || why_file_wins(rule, asked, &mut looking));
                passed.push((number, rule));
                continue;
            }
            let Some(values) = self.on_path(rule.host.as_ref(), &rule.source, path, &rule.place) else {
                continue;
            };
            // Where one of them asks for a path alone, the answer depends on no other.
            passed.sort_by_key(|(_, rule)| !rule.is_for_all());
            if passed.drain(..).any(|(number, rule)| self.take(number, rule, path).is_some()) {
                return None;
            }
            let values = self.guarded(values, &rule.guard, &rule.place);
            if let Some(taken) = values.and_then(|values| self.lead(number, rule, values)) {
                return Some(taken);
            }
        }
        None
    }

    /// As netlify, but for where files are shown and which 404.html is nearest.
    fn plain(&mut self) -> Outcome<'m> {
        self.netlify()
    }

    fn cloudflare(&mut self) -> Outcome<'m> {
        if let Some(taken) = self.first(&self.rules.redirects, 0, self.asked.path) {
            return self.follow(&taken);
        }
        if let Some(outcome) = self.file().or_else(|| self.shell().map(Outcome::File)) {
            return outcome;
        }
        match files::error_page(self.manifest, self.asked.path) {
            Some(found) => self.page(404, found),
            // Pages takes a site without any 404.html on the way up for a single-page app.
            None => {
                match files::find(self.manifest, "index.html").filter(|_| self.rules.spa != Some(false)) {
                    Some(found) => {
                        self.trace
                            .take("index.html", || "there is no 404.html: a single-page app".to_owned());
                        Outcome::File(found)
                    }
                    None => self.missing(404),
                }
            }
        }
    }

    /// Nobody is served what hosts read.
    fn rule_file(&mut self) -> Outcome<'m> {
        self.trace.pass(self.asked.path.sent(), || "files of rules are never served".to_owned());
        self.missing(404)
    }

    /// The file at the requested path, or the redirect to where it is shown.
    fn file(&mut self) -> Option<Outcome<'m>> {
        let looked = self.look();
        self.there(looked)
    }

    fn look(&self) -> Looked<'m> {
        files::look(self.manifest, self.asked.path, self.asked.query)
    }

    fn there(&mut self, looked: Looked<'m>) -> Option<Outcome<'m>> {
        match looked {
            Looked::File(found) => {
                self.trace.take(found.path, || "the file is there".to_owned());
                Some(Outcome::File(found))
            }
            Looked::Moved { location } => {
                self.trace.take("files", || format!("the file is shown at {location}"));
                Some(Outcome::Moved { status: 308, location, by_rule: false })
            }
            Looked::Nothing => {
                self.trace.pass("files", || "no file is there".to_owned());
                None
            }
        }
    }

    /// The page of a single-page app, which answers what is not there.
    fn shell(&mut self) -> Option<Found<'m>> {
        let page = match self.rules.spa {
            Some(true) => Some("index.html"),
            Some(false) => None,
            None if self.rules.dialect == Dialect::Plain => {
                self.manifest.spa_fallback.as_ref().map(|page| page.as_str())
            }
            None => None,
        };
        let found = files::find(self.manifest, page?)?;
        self.trace.take(found.path, || "the site is a single-page app".to_owned());
        Some(found)
    }

    fn missing(&mut self, status: u16) -> Outcome<'m> {
        match files::error_page(self.manifest, self.asked.path) {
            Some(found) => self.page(status, found),
            None => {
                self.trace.take("built-in page", || format!("nothing is there: {status}"));
                Outcome::Nothing { status }
            }
        }
    }

    fn page(&mut self, status: u16, found: Found<'m>) -> Outcome<'m> {
        self.trace.take(found.path, || format!("nothing is there: {status}"));
        Outcome::Page { status, found }
    }

    /// What a rule of `_redirects` does. A target is looked up as a file, not matched again.
    fn follow(&mut self, taken: &Taken<'m>) -> Outcome<'m> {
        let status = taken.rule.status;
        if taken.rule.is_redirect() {
            return Outcome::Moved { status, location: taken.to.clone(), by_rule: true };
        }
        self.is_refused = status != 200;
        let found = RequestPath::parse(&taken.to).ok().and_then(|path| files::file(self.manifest, &path));
        match found {
            Some(found) if status == 200 => Outcome::File(found),
            Some(found) => Outcome::Page { status, found },
            None => {
                self.trace.pass(&taken.to, || "no file is there".to_owned());
                self.missing(if status == 200 { 404 } else { status })
            }
        }
    }

    /// The first rule, from number `from` on, that is for the path and the request.
    fn first(&mut self, list: &'m List<Rule>, from: usize, path: &RequestPath<'_>) -> Option<Taken<'m>> {
        candidates(list, path, self.trace.is_on())
            .skip_while(|(number, _)| *number < from)
            .find_map(|(number, rule)| self.take(number, rule, path))
    }

    fn take(&mut self, number: usize, rule: &'m Rule, path: &RequestPath<'_>) -> Option<Taken<'m>> {
        let values = self.on_path(rule.host.as_ref(), &rule.source, path, &rule.place)?;
        let values = self.guarded(values, &rule.guard, &rule.place)?;
        self.lead(number, rule, values)
    }

    /// Where a rule leads that is for the request.
    fn lead(&mut self, number: usize, rule: &'m Rule, mut values: Values<'_>) -> Option<Taken<'m>> {
        if self.rules.dialect == Dialect::Netlify {
            values.decode_slashes(SPLAT);
        }
        let to = if rule.is_redirect() {
            let queries = match self.rules.dialect {
                Dialect::Vercel => Queries::Merge,
                _ => Queries::Replace,
            };
            rule.target.location(&values, self.asked.query, queries)
        } else {
            Some(rule.target.path_with(&values))
        };
        match to {
            Some(to) => {
                self.trace.take(&rule.place, || format!("{} leads to {to}", rule.describe()));
                Some(Taken { number, rule, to })
            }
            None => {
                self.trace.pass(&rule.place, || "its host cannot have such a name".to_owned());
                None
            }
        }
    }

    /// What the placeholders of a rule stand for, where it is for this path and host.
    fn on_path<'v>(
        &mut self,
        host: Option<&'v HostPattern>,
        source: &'v Pattern,
        path: &'v RequestPath<'_>,
        place: &'v (impl std::fmt::Display + ?Sized),
    ) -> Option<Values<'v>> {
        let Some(mut values) = source.find(path, &mut self.budget) else {
            let is_undecided = self.budget.is_spent();
            self.trace.pass(place, || match is_undecided {
                true => UNDECIDED.to_owned(),
                false => format!("{} is not for this path", source.source),
            });
            return None;
        };
        if let Some(host) = host {
            self.is_general = false;
            if !host.find(self.asked.host, &mut self.budget, &mut values) {
                self.trace.pass(place, || "it is for another host".to_owned());
                return None;
            }
        }
        Some(values)
    }

    /// The same with what its conditions give, where they hold.
    fn guarded<'v>(
        &mut self,
        mut values: Values<'v>,
        guard: &'v Guard,
        place: &(impl std::fmt::Display + ?Sized),
    ) -> Option<Values<'v>> {
        self.is_general &= guard.is_empty();
        match guard.holds(self.asked, &mut values, &mut self.varies, &mut self.budget) {
            Ok(()) => Some(values),
            Err(condition) => {
                let is_undecided = self.budget.is_spent();
                self.trace.pass(place, || match is_undecided {
                    true => UNDECIDED.to_owned(),
                    false => format!("its condition does not hold: {}", condition.describe()),
                });
                None
            }
        }
    }

    /// What header rules do with the answer. They go by the requested path.
    fn edits(&mut self, outcome: &Outcome<'m>) -> Vec<FieldEdit> {
        let dialect = self.rules.dialect;
        let is_redirect = matches!(outcome, Outcome::Moved { .. });
        let mut fields = Fields::new(dialect, is_redirect);
        if is_redirect && dialect != Dialect::Cloudflare {
            return fields.finish();
        }
        let path = self.asked.path;
        for (_, rule) in candidates(&self.rules.headers, path, self.trace.is_on()) {
            let values = self.on_path(rule.host.as_ref(), &rule.source, path, &rule.place);
            let values = values.and_then(|values| self.guarded(values, &rule.guard, &rule.place));
            if let Some(values) = values {
                self.trace.take(&rule.place, || format!("its fields are set: {}", rule.source.source));
                if fields.apply(rule, &values, &mut self.budget).is_err() {
                    self.trace.pass(&rule.place, || "an answer cannot have so many fields".to_owned());
                    self.budget.give_up();
                }
            }
        }
        fields.finish()
    }
}

/// Why a rule that is not forced does nothing where a file is there.
fn why_file_wins(rule: &Rule, asked: &Asked<'_>, budget: &mut Budget) -> String {
    let Some(mut values) = rule.source.find(asked.path, budget) else {
        return match budget.is_spent() {
            true => UNDECIDED.to_owned(),
            false => format!("{} is not for this path", rule.source.source),
        };
    };
    match &rule.host {
        Some(host) if !host.find(asked.host, budget, &mut values) => "it is for another host".to_owned(),
        _ => "it is not forced, and a file is there".to_owned(),
    }
}

/// The rules that could be for a path, with their numbers; `all`: each, for who wants to know why it
/// is not.
fn candidates<'m, T>(
    list: &'m List<T>,
    path: &RequestPath<'_>,
    all: bool,
) -> impl Iterator<Item = (usize, &'m T)> + use<'m, T> {
    let each = all.then(|| list.iter().enumerate());
    let some = (!all).then(|| list.candidates(path.pattern_text()));
    each.into_iter().flatten().chain(some.into_iter().flatten())
}
