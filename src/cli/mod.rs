//! The command line: `serve`, `config`, and a client of the internal port for everything an operator does.
//!
//! Noun, then verb. Exit codes are part of the interface: see [`Exit`].
//!
//! **Must never know:** the cluster, the core: what it wants done goes through `/v1` like everybody's requests.

pub mod arguments;
pub mod client;
pub mod import;
pub mod output;
pub mod request;

use crate::config;
use crate::server;
use arguments::{AppCommand, Cli, Command, ConfigCommand};
use clap::Parser as _;
use std::ffi::OsString;
use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Failed.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The configuration is wrong.
    Config = 3,
    /// Not allowed.
    Auth = 4,
    /// No such thing.
    NotFound = 5,
    /// No majority: nothing was changed.
    NoQuorum = 6,
    /// It may or may not have happened.
    OutcomeUnknown = 7,
    /// The name is taken, or the change contradicts what is there.
    Conflict = 8,
}

/// A failure with its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For the system.
    pub exit: Exit,
    /// For people, on stderr.
    pub message: String,
}

impl Failure {
    /// With this text.
    #[must_use]
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
        }
    }
}

/// Runs one command line.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers; the rest is a usage error.
            let _ = error.print();
            let wrong = error.use_stderr();
            return code(if wrong { Exit::Usage } else { Exit::Ok });
        }
    };
    match carry_out(cli) {
        Ok(()) => code(Exit::Ok),
        Err(failure) => {
            output::complain(&failure.message);
            code(failure.exit)
        }
    }
}

fn code(exit: Exit) -> ExitCode {
    ExitCode::from(exit as u8)
}

fn carry_out(cli: Cli) -> Result<(), Failure> {
    // One TLS provider for the whole process; a second call would find it chosen already.
    let _chosen = rustls::crypto::ring::default_provider().install_default();
    match cli.command {
        Command::Serve(serve) => {
            let config = load(&serve)?;
            server::log(&config).map_err(|error| Failure::new(Exit::Config, error))?;
            let served = actix_web::rt::System::new().block_on(server::serve(config));
            served.map_err(|error| Failure::new(Exit::Failed, error.to_string()))
        }
        Command::Config(ConfigCommand::Doc) => {
            output::print(&config::reference());
            Ok(())
        }
        Command::Config(ConfigCommand::Check(serve)) => {
            let config = load(&serve)?;
            output::print(&format!("{config:?} holds together\n"));
            Ok(())
        }
        Command::App(AppCommand::ImportEnv { file, id, name }) => {
            let variables = match &file {
                Some(path) => import::file(path)?,
                None => environment().collect(),
            };
            let (request, notes) = import::app(&variables, id, name)?;
            for note in notes {
                output::complain(&note);
            }
            client::ask(&cli.remote, request)
        }
        Command::App(command) => client::ask(&cli.remote, request::app(command)?),
        Command::Grant(command) => client::ask(&cli.remote, request::grant(command)?),
        Command::Revoke(command) => client::ask(&cli.remote, request::revoke(command)?),
        Command::User(command) => client::ask(&cli.remote, request::user(command)),
        Command::Cluster(command) => client::ask(&cli.remote, request::cluster(command)),
        Command::Conn(command) => client::ask(&cli.remote, request::conn(command)),
        Command::Channel(command) => client::ask(&cli.remote, request::channel(command)),
    }
}

fn load(serve: &arguments::Serve) -> Result<config::Config, Failure> {
    let loaded = config::load(&serve.flags, environment(), serve.config.as_deref());
    loaded.map_err(|error| Failure::new(Exit::Config, error.to_string()))
}

/// The environment. Names or values that are not Unicode belong to no key of ours.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}
