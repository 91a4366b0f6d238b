//! The build of a `netlify.toml`: `[build]` with `base`, `command`, `publish`, `environment` and
//! `ignore`, under those of `[context.production]` or, for previews, `[context.deploy-preview]` and then
//! `[context.branch-deploy]`, of which gv's are both (docs.netlify.com, "File-based configuration"). Its rules are `domain::routing::netlify_toml`'s,
//! which also says when it cannot be read.

use super::{Declared, environment, lenient, wrong_kind};
use crate::domain::deployment::Target;
use crate::domain::routing::sources::NETLIFY_TOML;
use crate::domain::settings::{CommandLine, RelativeDir};
use toml::{Table, Value};

/// The error is a sentence with the line that cannot be read.
pub(super) fn parse(text: &str, target: Target) -> Result<Declared, String> {
    let document = toml::from_str::<Table>(text).map_err(|error| {
        let place = super::line_of(text, error.span());
        format!("{NETLIFY_TOML}{place}: {}.", error.message().replace('\n', " ").trim_end_matches('.'))
    })?;
    // The first that says a thing is followed; `CONTEXT` names it.
    let wanted: &[&str] = match target {
        Target::Production => &["production"],
        Target::Preview => &["deploy-preview", "branch-deploy"],
    };
    let table = |value: Option<&Value>| value.and_then(Value::as_table).cloned().unwrap_or_default();
    let build = table(document.get("build"));
    let contexts = table(document.get("context"));
    let mut context = Table::new();
    for name in wanted.iter().rev() {
        let mut own = table(contexts.get(*name));
        if let Some(Value::Table(variables)) = own.get("environment") {
            let mut all = table(context.get("environment"));
            all.extend(variables.clone());
            own.insert("environment".to_owned(), Value::Table(all));
        }
        context.extend(own);
    }
    let text = |key: &str| {
        let found = context.get(key).or_else(|| build.get(key)).and_then(Value::as_str);
        found.filter(|text| !text.is_empty())
    };
    let mut notes = wrong_kinds(&document, &build, &context);
    // A slash at the beginning means nothing there.
    let folder = |text: &str| match text.trim_start_matches('/') {
        "" => RelativeDir::parse("."),
        text => RelativeDir::parse(text),
    };
    let base = build.get("base").and_then(Value::as_str).filter(|text| !text.is_empty());
    let root_dir = lenient(base, "base", NETLIFY_TOML, folder, &mut notes);
    let output_dir = lenient(text("publish"), "publish", NETLIFY_TOML, folder, &mut notes);
    let build_command = lenient(text("command"), "command", NETLIFY_TOML, CommandLine::parse, &mut notes);
    let ignore_command = lenient(text("ignore"), "ignore", NETLIFY_TOML, CommandLine::parse, &mut notes);
    let mut variables = table(build.get("environment"));
    variables.extend(table(context.get("environment")));
    let pairs = variables.into_iter().filter_map(|(name, value)| {
        let value = match value {
            Value::String(text) => text,
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Boolean(flag) => flag.to_string(),
            _ => {
                notes.push(wrong_kind(&format!("environment.{name}"), "a text", NETLIFY_TOML));
                return None;
            }
        };
        Some((name, value))
    });
    let pairs: Vec<_> = pairs.collect();
    let environment = environment(pairs, NETLIFY_TOML, &mut notes);
    Ok(Declared {
        root_dir,
        output_dir,
        build_command,
        ignore_command,
        environment,
        notes,
        ..Declared::default()
    })
}

fn wrong_kinds(document: &Table, build: &Table, context: &Table) -> Vec<String> {
    let mut notes = Vec::new();
    let tables =
        [(document, "build"), (document, "context"), (build, "environment"), (context, "environment")];
    for (table, key) in tables {
        if table.get(key).is_some_and(|value| !value.is_table()) {
            notes.push(wrong_kind(key, "a table", NETLIFY_TOML));
        }
    }
    for key in ["base", "command", "publish", "ignore"] {
        if [build, context].iter().any(|table| table.get(key).is_some_and(|value| !value.is_str())) {
            notes.push(wrong_kind(key, "a text", NETLIFY_TOML));
        }
    }
    notes
}
