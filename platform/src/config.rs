//! Configuration: documented defaults, then a file, then `TAMBO_*` variables; the later wins, key by key.
//!
//! The defaults are a committed TOML file in which every key has a comment; a key without a default stands there
//! commented out. `TAMBO_HTTP__TIMEOUT_MS=500` sets `http.timeout_ms`. A key that nobody reads is an error: it is a
//! spelling mistake, and the value that was meant is missing. All types carry `#[serde(deny_unknown_fields)]`.

use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// What the variables begin with.
pub const PREFIX: &str = "TAMBO_";
/// Variables that name no key: where the file is, and what the commands of `tambo` that call a control plane read.
const RESERVED: &[&str] =
    &["TAMBO_CONFIG", "TAMBO_URL", "TAMBO_TOKEN", "TAMBO_TOKEN_FILE", "TAMBO_CLIENT_FILE", "TAMBO_CA_FILE"];

/// The configuration of a process.
pub trait Config: DeserializeOwned {
    /// The documented defaults, TOML.
    const DEFAULTS: &'static str;

    /// Adds what is wrong with values that have the right type. All of it, so that one start shows every mistake.
    fn check(&self, faults: &mut Faults);
}

/// Values that are not acceptable, gathered by [`Config::check`].
#[derive(Debug, Default)]
pub struct Faults(Vec<(String, String)>);

impl Faults {
    /// The value of `key` (dotted) is not acceptable; `reason` reads after "must": "be at least 1".
    pub fn add(&mut self, key: impl Into<String>, reason: impl Into<String>) {
        self.0.push((key.into(), reason.into()));
    }

    /// Adds the fault unless the value is good.
    pub fn unless(&mut self, good: bool, key: &str, reason: &str) {
        if !good {
            self.add(key, reason);
        }
    }
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The documented defaults.
    Defaults,
    /// A file.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Defaults => f.write_str("the defaults"),
            Self::File(path) => write!(f, "the file {}", path.display()),
            Self::Variable(name) => write!(f, "the environment variable {name}"),
        }
    }
}

/// One value that is not acceptable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The key, dotted.
    pub key: String,
    /// Where its value came from.
    pub source: Source,
    /// What it must be.
    pub reason: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` (from {}) must {}", self.key, self.source, self.reason)
    }
}

/// Why there is no configuration. Every text names the key or the file, and what to do follows from it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}: {error}", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{origin} is not TOML: {error}")]
    Syntax {
        /// The file.
        origin: Source,
        /// Where and why.
        error: Box<toml::de::Error>,
    },
    /// Nothing reads this key.
    #[error("unknown key `{key}` in {origin}; the keys are documented in the default configuration")]
    UnknownKey {
        /// The key, dotted.
        key: String,
        /// Where it stands.
        origin: Source,
    },
    /// A key has no default and was not given.
    #[error("the key `{key}` is required and has no default")]
    Missing {
        /// The key, dotted.
        key: String,
    },
    /// The value has the wrong type.
    #[error("`{key}` in {origin}: {reason}")]
    Type {
        /// The key, dotted.
        key: String,
        /// Where it stands.
        origin: Source,
        /// What was expected.
        reason: String,
    },
    /// Values have the right types and are still not acceptable.
    #[error("the configuration is not acceptable:\n{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Refused(Vec<Refused>),
}

/// The layers, the weakest first.
struct Layers(Vec<(Source, Table)>);

impl Layers {
    /// Where the value of a key came from; what nobody gave is for the defaults to have.
    fn origin(&self, key: &[String]) -> Source {
        let has = |table: &Table| {
            let mut value = table.get(key.first()?)?;
            for part in &key[1..] {
                value = match value {
                    Value::Array(items) => items.get(part.parse::<usize>().ok()?)?,
                    value => value.get(part)?,
                };
            }
            Some(())
        };
        let strongest = self.0.iter().rev().find(|(_, table)| has(table).is_some());
        strongest.map_or(Source::Defaults, |(source, _)| source.clone())
    }

    fn merged(&self) -> Table {
        let mut merged = Table::new();
        for (_, layer) in &self.0 {
            merge(&mut merged, layer);
        }
        merged
    }

    /// serde's error with its key and where that came from.
    fn named(&self, error: &serde_path_to_error::Error<toml::de::Error>) -> ConfigError {
        use serde_path_to_error::Segment;
        let mut path: Vec<String> = error
            .path()
            .iter()
            .filter_map(|segment| match segment {
                Segment::Map { key } => Some(key.clone()),
                Segment::Seq { index } => Some(index.to_string()),
                Segment::Enum { .. } | Segment::Unknown => None,
            })
            .collect();
        let message = error.inner().message();
        let field = message.split('`').nth(1).unwrap_or_default().to_owned();
        let dotted = |path: &[String]| path.join(".");
        if message.starts_with("unknown field") {
            if path.last() != Some(&field) {
                path.push(field);
            }
            return ConfigError::UnknownKey { key: dotted(&path), origin: self.origin(&path) };
        }
        if message.starts_with("missing field") {
            path.push(field);
            return ConfigError::Missing { key: dotted(&path) };
        }
        ConfigError::Type { key: dotted(&path), origin: self.origin(&path), reason: message.to_owned() }
    }
}

/// Reads the configuration from the defaults, this file and these variables (`std::env::vars()`).
///
/// # Errors
/// The first of: unreadable, not TOML, an unknown key, a missing key, a wrong type; then everything that
/// [`Config::check`] refuses.
pub fn load<C: Config>(
    file: Option<&Path>,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<C, ConfigError> {
    let defaults = table(C::DEFAULTS, Source::Defaults)?;
    let mut layers = Layers(vec![(Source::Defaults, defaults.clone())]);
    if let Some(file) = file {
        let unreadable = |error| ConfigError::Unreadable { file: file.to_owned(), error };
        let source = Source::File(file.to_owned());
        let text = std::fs::read_to_string(file).map_err(unreadable)?;
        layers.0.push((source.clone(), table(&text, source)?));
    }
    let variables = variables.into_iter().filter_map(|(name, value)| {
        let key = name.strip_prefix(PREFIX).filter(|_| !RESERVED.contains(&name.as_str()))?;
        let key: Vec<String> = key.split("__").map(str::to_lowercase).collect();
        Some((name, (key, value)))
    });
    let variables: BTreeMap<String, (Vec<String>, String)> = variables.collect();
    for (name, (key, value)) in &variables {
        layers.0.push((Source::Variable(name.clone()), nested(key, guessed(key, value, &defaults))));
    }
    let mut texts = BTreeSet::new();
    let config: C = loop {
        let error = match serde_path_to_error::deserialize(Value::Table(layers.merged())) {
            Ok(config) => break config,
            Err(error) => layers.named(&error),
        };
        // Digits may be meant as a text, which only the type knows: a second try, once for each variable.
        let ConfigError::Type { origin: Source::Variable(name), .. } = &error else { return Err(error) };
        let Some((key, value)) = variables.get(name).filter(|_| texts.insert(name.clone())) else {
            return Err(error);
        };
        let text = nested(key, Value::String(value.clone()));
        for (source, table) in &mut layers.0 {
            if *source == Source::Variable(name.clone()) {
                *table = text.clone();
            }
        }
    };
    let mut faults = Faults::default();
    config.check(&mut faults);
    if faults.0.is_empty() {
        return Ok(config);
    }
    let refused = faults.0.into_iter().map(|(key, reason)| {
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        Refused { source: layers.origin(&path), key, reason }
    });
    Err(ConfigError::Refused(refused.collect()))
}

fn table(text: &str, origin: Source) -> Result<Table, ConfigError> {
    text.parse().map_err(|error| ConfigError::Syntax { origin, error: Box::new(error) })
}

/// A variable's value: a text where the default is a text, else TOML if it is that, else a text.
fn guessed(key: &[String], value: &str, defaults: &Table) -> Value {
    let (first, rest) = key.split_first().map_or(("", key), |(first, rest)| (first.as_str(), rest));
    let default = rest.iter().fold(defaults.get(first), |value, part| value?.get(part));
    let read = || format!("v = {value}").parse::<Table>().ok()?.remove("v");
    let text = || Value::String(value.to_owned());
    if default.is_some_and(Value::is_str) { text() } else { read().unwrap_or_else(text) }
}

/// The table that holds this value under this key.
fn nested(key: &[String], value: Value) -> Table {
    let value =
        key.iter().rev().fold(value, |value, part| Value::Table(Table::from_iter([(part.clone(), value)])));
    if let Value::Table(table) = value { table } else { Table::new() }
}

/// Tables are merged; everything else, lists too, is replaced.
fn merge(into: &mut Table, from: &Table) {
    for (key, value) in from {
        match (into.get_mut(key), value) {
            (Some(Value::Table(into)), Value::Table(from)) => merge(into, from),
            _ => {
                into.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drain::DrainConfig;
    use crate::layers::HttpConfig;
    use std::io::Write;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        name: String,
        key: Option<String>,
        hosts: Vec<String>,
        http: HttpConfig,
        drain: DrainConfig,
    }

    impl Config for Sample {
        const DEFAULTS: &'static str = r#"
            name = "sample"
            hosts = []
            [http]
            timeout_ms = 1000
            body_limit_bytes = 1000
            in_flight_limit = 10
            compress_from_bytes = 1024
            language = "en"
            [drain]
            notice_ms = 0
            limit_ms = 1
        "#;

        fn check(&self, faults: &mut Faults) {
            faults.unless(self.http.timeout_ms > 0, "http.timeout_ms", "be at least 1");
            faults.unless(self.http.in_flight_limit > 0, "http.in_flight_limit", "be at least 1");
        }
    }

    fn read(file: &str, variables: &[(&str, &str)]) -> Result<Sample, String> {
        let mut path = tempfile::NamedTempFile::new().unwrap();
        path.write_all(file.as_bytes()).unwrap();
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let name = path.path().display().to_string();
        load(Some(path.path()), variables)
            .map_err(|error: ConfigError| error.to_string().replace(&name, "FILE"))
    }

    #[test]
    fn variables_beat_the_file_and_the_file_beats_the_defaults() {
        let variables =
            [("TAMBO_HTTP__TIMEOUT_MS", "7"), ("TAMBO_NAME", "123"), ("HOME", "x"), ("TAMBO_CONFIG", "y")];
        let sample =
            read("hosts = [\"a\"]\n[http]\ntimeout_ms = 5\nbody_limit_bytes = 6\n", &variables).unwrap();
        assert_eq!(
            (sample.http.timeout_ms, sample.http.body_limit_bytes, sample.http.in_flight_limit),
            (7, 6, 10)
        );
        assert_eq!(
            (sample.name.as_str(), sample.hosts, sample.drain.limit_ms),
            ("123", vec!["a".to_owned()], 1)
        );
        assert_eq!(sample.key, None);
        assert_eq!(read("", &[("TAMBO_KEY", "plain text")]).unwrap().key.as_deref(), Some("plain text"));
        assert_eq!(read("", &[("TAMBO_KEY", "123")]).unwrap().key.as_deref(), Some("123"));
        assert_eq!(read("", &[("TAMBO_HOSTS", "[\"b\", \"c\"]")]).unwrap().hosts, ["b", "c"]);
    }

    #[test]
    fn every_mistake_names_its_key_and_where_it_stands() {
        for (file, variables, expected) in [
            ("[http]\ntimeout = 5", &[][..], "unknown key `http.timeout` in the file FILE"),
            ("", &[("TAMBO_HTPP__X", "1")], "unknown key `htpp` in the environment variable TAMBO_HTPP__X"),
            ("[http]\ntimeout_ms = \"x\"", &[], "`http.timeout_ms` in the file FILE: invalid type"),
            (
                "",
                &[("TAMBO_HTTP__TIMEOUT_MS", "soon")],
                "`http.timeout_ms` in the environment variable TAMBO_HTTP__TIMEOUT_MS",
            ),
            ("http = ", &[], "the file FILE is not TOML"),
            (
                "[http]\ntimeout_ms = 0",
                &[("TAMBO_HTTP__IN_FLIGHT_LIMIT", "0")],
                "`http.timeout_ms` (from the file FILE) must be at least 1\n\
                 `http.in_flight_limit` (from the environment variable TAMBO_HTTP__IN_FLIGHT_LIMIT) must be at least 1",
            ),
        ] {
            let error = read(file, variables).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let missing = load::<Sample>(Some(Path::new("none.toml")), []).unwrap_err();
        assert!(matches!(missing, ConfigError::Unreadable { .. }), "{missing}");
    }
}
