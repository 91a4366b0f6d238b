//! Where values come from: the built-in defaults, a file, the environment, flags, each over the
//! one before. What comes out is flat: a dotted key, its value, its origin.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// The complete default configuration, which also says which keys there are and of what type.
pub const DEFAULTS: &str = include_str!("../../config/gv.toml");

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    File(PathBuf),
    Environment(String),
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    pub value: Value,
    pub origin: Origin,
}

/// All settings by their dotted keys.
pub type Settings = BTreeMap<String, Setting>;

/// Something wrong with the configuration: the key (or the file), and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub key: String,
    pub origin: Option<Origin>,
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)?;
        self.origin.as_ref().map_or(Ok(()), |origin| write!(f, " (from {origin})"))
    }
}

/// What stands outside the program, read once by the caller so that tests can say otherwise.
#[derive(Clone, Debug, Default)]
pub struct Outside {
    /// The file named by flag or `GV_CONFIG`; one that is missing is a problem.
    pub file: Option<PathBuf>,
    /// The whole environment.
    pub environment: Vec<(String, String)>,
    /// Key, value and the flag that gave it.
    pub flags: Vec<(&'static str, String, &'static str)>,
}

impl Outside {
    /// Of this process: `GV_CONFIG`, else `config/gv.toml` where there is one.
    pub fn of_process(config: Option<PathBuf>) -> Self {
        let named =
            config.or_else(|| std::env::var_os("GV_CONFIG").filter(|v| !v.is_empty()).map(PathBuf::from));
        let file = named.or_else(|| Some(PathBuf::from("config/gv.toml")).filter(|path| path.exists()));
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self { file, environment, flags: Vec::new() }
    }
}

/// Lays the layers over each other. Settings that are wrong keep their default, and a problem.
pub fn gather(outside: &Outside) -> (Settings, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut settings = Settings::new();
    // The defaults are built in and tested: they parse.
    for (key, value) in flatten(DEFAULTS.parse::<Table>().unwrap_or_default()) {
        settings.insert(key, Setting { value, origin: Origin::Default });
    }
    if let Some(path) = &outside.file {
        match read_file(path) {
            Ok(table) => {
                for (key, value) in flatten(table) {
                    lay(&mut settings, &mut problems, &key, value, Origin::File(path.clone()));
                }
            }
            Err(problem) => problems.push(problem),
        }
    }
    for (name, text) in &outside.environment {
        if let Some(key) = key_of_variable(name, &settings) {
            lay_text(&mut settings, &mut problems, &key, text, Origin::Environment(name.clone()));
        }
    }
    for (key, text, flag) in &outside.flags {
        lay_text(&mut settings, &mut problems, key, text, Origin::Flag(flag));
    }
    (settings, problems)
}

fn read_file(path: &Path) -> Result<Table, Problem> {
    let problem = |message: String| Problem { key: path.display().to_string(), origin: None, message };
    let text = std::fs::read_to_string(path).map_err(|error| problem(format!("cannot be read: {error}")))?;
    text.parse::<Table>().map_err(|error| problem(error.to_string().trim_end().to_owned()))
}

/// Dotted keys of a table, one level of sections deep. A deeper table is kept as a value, which no
/// known key has: it is then refused by name.
fn flatten(table: Table) -> Vec<(String, Value)> {
    let mut flat = Vec::new();
    for (section, value) in table {
        match value {
            Value::Table(inner) => {
                flat.extend(inner.into_iter().map(|(key, value)| (format!("{section}.{key}"), value)));
            }
            value => flat.push((section, value)),
        }
    }
    flat
}

/// The key that a variable sets: all `GV_<SECTION>__<KEY>`, known or not, and the plain names of
/// top-level keys, or what is most likely a misspelling of one.
fn key_of_variable(name: &str, known: &Settings) -> Option<String> {
    let rest = name.strip_prefix("GV_")?.to_ascii_lowercase();
    if let Some((section, key)) = rest.split_once("__") {
        return Some(format!("{section}.{key}"));
    }
    let close = |key: &String| !key.contains('.') && strsim::damerau_levenshtein(key, &rest) <= 2;
    known.keys().any(close).then_some(rest)
}

fn lay_text(settings: &mut Settings, problems: &mut Vec<Problem>, key: &str, text: &str, origin: Origin) {
    let value = match settings.get(key).map(|setting| &setting.value) {
        Some(Value::Integer(_)) => match text.trim().parse() {
            Ok(number) => Value::Integer(number),
            Err(_) => Value::String(text.to_owned()),
        },
        Some(Value::Boolean(_)) => match text.trim().parse() {
            Ok(flag) => Value::Boolean(flag),
            Err(_) => Value::String(text.to_owned()),
        },
        Some(Value::Array(_)) => Value::Array(
            text.split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(|item| Value::String(item.to_owned()))
                .collect(),
        ),
        _ => Value::String(text.to_owned()),
    };
    lay(settings, problems, key, value, origin);
}

fn lay(settings: &mut Settings, problems: &mut Vec<Problem>, key: &str, value: Value, origin: Origin) {
    let message = match settings.get(key) {
        None => unknown(key, settings),
        Some(present) if present.value.same_type(&value) => {
            settings.insert(key.to_owned(), Setting { value, origin });
            return;
        }
        Some(present) => format!("must be {}, not {}", words_of(&present.value), words_of(&value)),
    };
    problems.push(Problem { key: key.to_owned(), origin: Some(origin), message });
}

fn unknown(key: &str, known: &Settings) -> String {
    let nearest = known.keys().min_by_key(|candidate| strsim::damerau_levenshtein(candidate, key));
    match nearest {
        Some(nearest) => format!("is no key of the configuration; the nearest is {nearest}"),
        None => "is no key of the configuration".to_owned(),
    }
}

fn words_of(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a fraction",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a time",
        Value::Array(_) => "a list",
        Value::Table(_) => "a section",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Outside {
        let environment =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Outside { environment, ..Outside::default() }
    }

    #[test]
    fn the_environment_goes_over_the_file_and_flags_over_both() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gv.toml");
        std::fs::write(&file, "domain = \"file.example\"\n[worker]\nlease_s = 10\nconcurrency = 7\n")
            .unwrap();
        let mut outside =
            environment(&[("GV_WORKER__LEASE_S", "20"), ("GV_DOMAIN", "env.example"), ("PATH", "/bin")]);
        outside.file = Some(file.clone());
        outside.flags = vec![("domain", "flag.example".into(), "--domain")];
        let (settings, problems) = gather(&outside);
        assert_eq!(problems, []);
        assert_eq!(settings["domain"].value, Value::from("flag.example"));
        assert_eq!(settings["worker.lease_s"].value, Value::from(20));
        assert_eq!(settings["worker.lease_s"].origin, Origin::Environment("GV_WORKER__LEASE_S".into()));
        assert_eq!(settings["worker.concurrency"].origin, Origin::File(file));
        assert_eq!(settings["worker.max_attempts"].origin, Origin::Default);
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_known_one() {
        let (_, problems) =
            gather(&environment(&[("GV_WORKER__LEASES", "20"), ("GV_DOMIAN", "x"), ("GV_TOKEN", "y")]));
        let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), 2, "{texts:?}");
        assert!(texts[0].contains("worker.leases") && texts[0].contains("worker.lease_s"), "{texts:?}");
        assert!(texts[1].contains("nearest is domain"), "{texts:?}");
    }

    #[test]
    fn a_value_of_the_wrong_type_is_refused_by_name() {
        let (settings, problems) = gather(&environment(&[("GV_WORKER__LEASE_S", "soon")]));
        assert_eq!(problems[0].key, "worker.lease_s");
        assert!(problems[0].message.contains("whole number"));
        assert_eq!(settings["worker.lease_s"].origin, Origin::Default);
    }

    #[test]
    fn lists_in_the_environment_are_separated_by_commas() {
        let (settings, _) = gather(&environment(&[("GV_SOURCE__ALLOW", "127.0.0.1:3000, git.internal:443")]));
        assert_eq!(settings["source.allow"].value.as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn a_named_file_that_is_missing_or_broken_is_a_problem() {
        let missing = Outside { file: Some("/nowhere/gv.toml".into()), ..Outside::default() };
        assert!(gather(&missing).1[0].message.contains("cannot be read"));
    }
}
