//! The build keys of a `vercel.json`: `buildCommand`, `installCommand`, `outputDirectory`,
//! `framework` and `ignoreCommand` (vercel.com/docs/project-configuration). Its rules are
//! `domain::routing::vercel_json`'s, which also says when it cannot be read.

use super::{Declared, Said, lenient, wrong_kind};
use crate::domain::routing::sources::VERCEL_JSON;
use crate::domain::settings::{CommandLine, RelativeDir};
use crate::worker::presets::presets;
use serde_json::Value;

pub(super) fn parse(text: &str) -> Declared {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let Ok(document) = serde_json::from_str::<Value>(text) else { return Declared::default() };
    let mut notes = Vec::new();
    // Null is what "as recognised" is called there.
    for key in ["installCommand", "buildCommand", "ignoreCommand", "outputDirectory", "framework"] {
        if !matches!(document.get(key), None | Some(Value::Null | Value::String(_))) {
            notes.push(wrong_kind(key, "a text", VERCEL_JSON));
        }
    }
    let mut command =
        |key: &str| lenient(document[key].as_str(), key, VERCEL_JSON, CommandLine::parse, &mut notes);
    let (install_command, build_command, ignore_command) =
        (command("installCommand"), command("buildCommand"), command("ignoreCommand"));
    let output = document["outputDirectory"].as_str().filter(|text| !text.is_empty());
    let output_dir = lenient(output, "outputDirectory", VERCEL_JSON, RelativeDir::parse, &mut notes);
    let framework = match document.get("framework") {
        Some(Value::Null) => Some(Said { value: None, by: VERCEL_JSON }),
        Some(Value::String(name)) if presets().named(name).is_some() => {
            Some(Said { value: Some(name.clone()), by: VERCEL_JSON })
        }
        Some(Value::String(name)) => {
            let name: String = name.chars().filter(|c| !c.is_control()).take(50).collect();
            notes.push(format!(
                "Warning: vercel.json: gv has no framework {name:?}: it recognises one itself."
            ));
            None
        }
        _ => None,
    };
    Declared {
        install_command,
        build_command,
        ignore_command,
        output_dir,
        framework,
        notes,
        ..Declared::default()
    }
}
