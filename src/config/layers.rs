//! The layers and their order: flags > environment > file > defaults. What came from where is kept, so that an
//! error can name its place.
//!
//! **Must never know:** the process's own environment: it is handed in, so that a test can play any.

use super::check::ConfigError;
use super::{Config, Flags, KEYS, Kind, Raw};
use crate::core::suggest::{did_you_mean, suggest};
use figment::error::Kind as Fault;
use figment::providers::{Format as _, Serialized, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use std::path::Path;

/// Variables that start with `GATECAST_` and belong to something else: the CLI, the scripts, the tests.
const NOT_OURS: &[&str] = &[
    "server",
    "config",
    "urls",
    "admin_urls",
    "pids",
    "app_id",
    "key",
    "profile",
    "bin",
    "port_base",
    "cluster_dir",
    "port",
    "host",
    "output",
    "seed",
    "seeds",
    "first_seed",
    "world_seed",
    "faults_dir",
];

/// Reads, merges and checks.
///
/// # Errors
/// Naming the key, where it was set, and what to do.
pub fn load(
    flags: &Flags,
    environment: impl IntoIterator<Item = (String, String)>,
    file: Option<&Path>,
) -> Result<Config, ConfigError> {
    let mut figment = Figment::from(Serialized::defaults(Raw::default()));
    if let Some(path) = file {
        if !path.is_file() {
            let message = format!("there is no configuration file {}", path.display());
            return Err(ConfigError(message));
        }
        figment = figment.merge(Toml::file_exact(path));
    }
    let figment = figment
        .merge(Environment::of(environment)?)
        .merge(Named("flag", Serialized::defaults(flags)));
    let raw: Raw = figment.extract().map_err(|error| fault(&error))?;
    Config::check(raw)
}

/// The first fault in words.
fn fault(error: &figment::Error) -> ConfigError {
    let place = error.metadata.as_ref().map(|from| {
        let source = from.source.as_ref().map(|source| format!(" {source}"));
        format!(" (from {}{})", from.name, source.unwrap_or_default())
    });
    let place = place.unwrap_or_default();
    let message = if let Fault::UnknownField(name, _) = &error.kind {
        let hint = did_you_mean(name, KEYS.iter().map(|key| key.name));
        format!("unknown key `{name}`{hint}{place}")
    } else {
        format!("`{}`: {}{place}", error.path.join("."), error.kind)
    };
    ConfigError(message)
}

/// The environment as a layer: known keys by their kind; a near miss of a known key is an error, since a
/// misspelt variable would otherwise be silence. Anything farther away is somebody else's.
struct Environment(Dict);

impl Environment {
    fn of(variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut dict = Dict::new();
        for (variable, text) in variables {
            let Some(name) = variable.strip_prefix("GATECAST_").map(str::to_lowercase) else {
                continue;
            };
            let Some(key) = KEYS.iter().find(|key| key.name == name) else {
                foreign(&variable, &name)?;
                continue;
            };
            let value = match key.kind {
                Kind::Text | Kind::Secret => Value::from(text),
                Kind::Number => Value::from(
                    text.parse::<u64>()
                        .map_err(|_bad| ConfigError(format!("{variable} is not a whole number")))?,
                ),
                Kind::Switch => Value::from(
                    text.parse::<bool>()
                        .map_err(|_bad| ConfigError(format!("{variable} is not true or false")))?,
                ),
            };
            dict.insert(name, value);
        }
        Ok(Self(dict))
    }
}

fn foreign(variable: &str, name: &str) -> Result<(), ConfigError> {
    if NOT_OURS.contains(&name) {
        return Ok(());
    }
    match suggest(name, KEYS.iter().map(|key| key.name)) {
        None => Ok(()),
        Some(key) => Err(ConfigError(format!(
            "unknown variable {variable}; did you mean GATECAST_{}?",
            key.to_uppercase()
        ))),
    }
}

impl Provider for Environment {
    fn metadata(&self) -> Metadata {
        Metadata::named("the environment")
    }
    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.0.clone()))
    }
}

/// A layer under a name that people know.
struct Named<P>(&'static str, P);

impl<P: Provider> Provider for Named<P> {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.0)
    }
    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        self.1.data()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write as _;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(own).collect()
    }

    #[test]
    fn flags_win_over_the_environment_over_the_file_over_defaults() {
        let file = file("node = 2\nlease_ms = 4000\nlog = \"warn\"\n");
        let env = env(&[
            ("GATECAST_NODE", "3"),
            ("GATECAST_LOG", "debug"),
            ("HOME", "/"),
        ]);
        let flags = Flags {
            node: Some(4),
            ..Flags::default()
        };
        let config = load(&flags, env, Some(file.path())).unwrap();
        assert_eq!((config.node, &*config.log), (4, "debug"));
        assert_eq!(
            (config.lease.as_millis(), config.heartbeat.as_millis()),
            (4000, 100)
        );
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_the_nearest() {
        let misspelt = file("admin_tokn = \"0123456789abcdef\"\n");
        let error = load(&Flags::default(), env(&[]), Some(misspelt.path()))
            .unwrap_err()
            .0;
        assert!(
            error.contains("`admin_tokn`") && error.contains("`admin_token`"),
            "{error}"
        );
        let error = load(&Flags::default(), env(&[("GATECAST_CLUSTR", "x")]), None)
            .unwrap_err()
            .0;
        assert!(error.contains("GATECAST_CLUSTER"), "{error}");
        let others = env(&[
            ("GATECAST_SERVER", "x"),
            ("GATECAST_PORT", "tcp://1"),
            ("GATECAST_APP_ID", "7"),
        ]);
        assert!(load(&Flags::default(), others, None).is_ok());
    }

    #[test]
    fn a_value_of_the_wrong_kind_names_its_key_and_its_place() {
        let error = load(&Flags::default(), env(&[("GATECAST_NODE", "one")]), None)
            .unwrap_err()
            .0;
        assert!(error.contains("GATECAST_NODE"), "{error}");
        let wrong = file("public = \"here\"\n");
        let error = load(&Flags::default(), env(&[]), Some(wrong.path()))
            .unwrap_err()
            .0;
        assert!(
            error.contains("public") && error.contains("TOML file"),
            "{error}"
        );
        assert!(
            load(
                &Flags::default(),
                env(&[]),
                Some(Path::new("/no/such/file"))
            )
            .is_err()
        );
    }

    #[test]
    fn digits_in_a_secret_stay_a_text() {
        let secret = env(&[("GATECAST_ADMIN_TOKEN", "12345678901234567890")]);
        let config = load(&Flags::default(), secret, None).unwrap();
        assert_eq!(&*config.admin_token, "12345678901234567890");
    }

    /// What scripts and tests set is in the environment of every broker and command that they start.
    #[test]
    fn no_variable_of_the_scripts_and_tests_is_taken_for_a_misspelt_key() {
        let mut folders: Vec<std::path::PathBuf> = [
            "scripts",
            "src/world_tests",
            "cluster/tests/sim",
            "tests/faults",
        ]
        .map(|folder| Path::new(env!("CARGO_MANIFEST_DIR")).join(folder))
        .into();
        let mut seen = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let bytes = std::fs::read(&path).unwrap();
                let text = String::from_utf8_lossy(&bytes);
                for behind in text.split("GATECAST_").skip(1) {
                    let ends = |c: char| !(c.is_ascii_uppercase() || c == '_');
                    let name = behind.split(ends).next().unwrap_or_default();
                    let name = name.trim_end_matches('_').to_lowercase();
                    if !KEYS.iter().any(|key| key.name == name) {
                        foreign(&format!("GATECAST_{name}"), &name).unwrap();
                        seen.push(name);
                    }
                }
            }
        }
        assert!(seen.iter().any(|name| name == "seeds"), "{seen:?}");
    }
}
