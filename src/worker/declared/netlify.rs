//! The build of a `netlify.toml`: `[build]` with `base`, `command`, `publish`, `environment` and
//! `ignore`, under those of `[context.production]` or `[context.deploy-preview]`
//! (docs.netlify.com, "File-based configuration"). Its rules are `domain::routing::netlify_toml`'s,
//! which also says when it cannot be read.

use super::{Declared, environment, lenient};
use crate::domain::deployment::Target;
use crate::domain::routing::sources::NETLIFY_TOML;
use crate::domain::settings::{CommandLine, RelativeDir};
use toml::{Table, Value};

pub(super) fn parse(text: &str, target: Target) -> Declared {
    let Ok(document) = toml::from_str::<Table>(text) else { return Declared::default() };
    let context = match target {
        Target::Production => "production",
        Target::Preview => "deploy-preview",
    };
    let table = |value: Option<&Value>| value.and_then(Value::as_table).cloned().unwrap_or_default();
    let build = table(document.get("build"));
    let contexts = table(document.get("context"));
    let context = table(contexts.get(context));
    let text = |key: &str| {
        let found = context.get(key).or_else(|| build.get(key)).and_then(Value::as_str);
        found.filter(|text| !text.is_empty())
    };
    let mut notes = Vec::new();
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
            _ => return None,
        };
        Some((name, value))
    });
    let environment = environment(pairs, NETLIFY_TOML, &mut notes);
    Declared {
        root_dir,
        output_dir,
        build_command,
        ignore_command,
        environment,
        notes,
        ..Declared::default()
    }
}
