//! The command line: `serve`, `config`, and a client of the internal port for everything an operator does.
//!
//! Noun, then verb. Exit codes are part of the interface: see [`Exit`].
//!
//! **Must never know:** the cluster, the core: what it wants done goes through `/v1` like everybody's requests.

pub mod address;
pub mod arguments;
pub mod audit;
pub mod backup;
pub mod client;
pub mod confirm;
pub mod dev;
pub mod duration;
pub mod files;
pub mod group;
pub mod import;
pub mod manual;
pub mod output;
pub mod provider;
pub mod refusals;
pub mod request;
pub mod servers;
mod ssf;

use crate::config;
use crate::server;
use arguments::{AppCommand, Cli, ClusterCommand, Command, ConfigCommand, Output};
use clap::Parser as _;
use serde_json::Value;
use std::ffi::OsString;
use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It was done.
    Ok = 0,
    /// It was not done.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The configuration is wrong.
    Config = 3,
    /// The credential is missing, wrong or not enough.
    Auth = 4,
    /// No such thing.
    NotFound = 5,
    /// No majority: nothing was changed.
    NoQuorum = 6,
    /// It may or may not have happened.
    OutcomeUnknown = 7,
    /// The name is taken, or the change contradicts what is there.
    Conflict = 8,
    /// It was done, and what the server said of it could not be shown.
    NotShown = 9,
}

/// A failure with its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For the system.
    pub exit: Exit,
    /// For people, on stderr.
    pub message: String,
    /// The server's own words for it, and what else a program may need.
    pub details: Option<Value>,
}

impl Failure {
    /// With this text.
    #[must_use]
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            details: None,
        }
    }
}

/// Runs one command line.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    ExitCode::from(attempt(arguments) as u8)
}

/// As [`run`], with the outcome by its name.
fn attempt(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let (done, shown) = match Cli::try_parse_from(&arguments) {
        Ok(cli) => {
            let shown = cli.remote.output;
            (carry_out(cli), shown)
        }
        Err(error) => {
            let shown = output_asked_for(&arguments);
            (misread(&error, shown), shown)
        }
    };
    match done {
        Ok(()) => Exit::Ok,
        Err(failure) => {
            output::failed(&failure, shown);
            failure.exit
        }
    }
}

/// Help and version are answers; the rest is a wrong line.
fn misread(error: &clap::Error, shown: Output) -> Result<(), Failure> {
    if !error.use_stderr() {
        return output::help(error).map(drop);
    }
    let said = error.render().to_string();
    let said = match shown {
        Output::Json => said
            .trim_end()
            .strip_prefix("error: ")
            .unwrap_or(&said)
            .to_owned(),
        Output::Table => said.trim_end().to_owned(),
    };
    Err(Failure::new(Exit::Usage, said))
}

/// The form that was asked for on a line that cannot be read otherwise.
fn output_asked_for(arguments: &[OsString]) -> Output {
    let words: Vec<&str> = arguments.iter().filter_map(|word| word.to_str()).collect();
    let words = words.split(|word| *word == "--").next().unwrap_or_default();
    let joined = words
        .iter()
        .any(|word| matches!(*word, "--output=json" | "-ojson" | "-o=json"));
    let parted = words
        .windows(2)
        .any(|pair| matches!(pair, ["-o" | "--output", "json"]));
    let said = words
        .iter()
        .any(|word| word.starts_with("-o") || word.starts_with("--output"));
    let environment = || std::env::var("GATECAST_OUTPUT").is_ok_and(|is| is == "json");
    match joined || parted || (!said && environment()) {
        true => Output::Json,
        false => Output::Table,
    }
}

fn carry_out(cli: Cli) -> Result<(), Failure> {
    // Data folders, backups, sockets: nothing of it is anybody else's.
    server::process::own_files_only();
    // One TLS provider for the whole process; a second call would find it chosen already.
    let _chosen = rustls::crypto::ring::default_provider().install_default();
    let reason = cli.remote.reason.clone();
    match cli.command {
        Command::Serve(serve) => {
            let config = load(&serve)?;
            let flood = server::log(&config).map_err(|error| Failure::new(Exit::Config, error))?;
            let served = actix_web::rt::System::new().block_on(server::serve(config, flood));
            served.map_err(|error| Failure::new(Exit::Failed, error.to_string()))
        }
        Command::Dev(dev) => dev::carry_out(&dev),
        Command::Config(ConfigCommand::Doc) => output::print(&config::reference()).map(drop),
        Command::Config(ConfigCommand::Check(serve)) => {
            let config = load(&serve)?;
            let said = server::examine(&config);
            output::print(&said.map_err(|error| Failure::new(Exit::Config, error))?).map(drop)
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
        Command::Key(command) => client::ask(&cli.remote, request::key(command)?),
        Command::Grant(command) => client::ask(&cli.remote, request::grant(command)?),
        Command::Revoke(command) => client::ask(&cli.remote, request::revoke(command)?),
        Command::User(command) => client::ask(&cli.remote, request::user(command, reason)),
        Command::Group(command) => client::ask(&cli.remote, group::group(command, reason)),
        Command::Provider(command) => client::ask(&cli.remote, provider::provider(command)?),
        Command::Cluster(ClusterCommand::Recover(how)) => backup::recover(how),
        Command::Cluster(command) => client::ask(&cli.remote, request::cluster(command)?),
        Command::Backup(command) => backup::carry_out(&cli.remote, command),
        Command::Conn(command) => client::ask(&cli.remote, request::conn(command)),
        Command::Audit(command) => audit::carry_out(&cli.remote, command),
        Command::Refusals(asked) => refusals::carry_out(&cli.remote, &asked),
        Command::Webhook(command) => client::ask(&cli.remote, request::webhook(command)),
        Command::Channel(command) => client::ask(&cli.remote, request::channel(command)),
        Command::Version => output::print(&format!("gatecast {}\n", arguments::VERSION)).map(drop),
        Command::Completion { shell } => output::print(&manual::completion(shell)).map(drop),
        Command::Man { folder } => manual::pages(&folder),
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    fn attempted(line: &str) -> Exit {
        let words = std::iter::once("gatecast").chain(line.split(' '));
        attempt(words.map(OsString::from))
    }

    /// A server that reads one request's head and answers so.
    fn server(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut head = [0; 4096];
            let _ = socket.read(&mut head);
            let _ = socket.write_all(answer.as_bytes());
        });
        url
    }

    #[test]
    fn a_wrong_line_is_usage_and_help_is_none() {
        assert_eq!(attempted("frobnicate"), Exit::Usage);
        assert_eq!(attempted("grant set 7"), Exit::Usage);
        assert_eq!(attempted("app create --open no-equals"), Exit::Usage);
        assert_eq!(attempted("--version"), Exit::Ok);
        assert_eq!(attempted("config doc"), Exit::Ok);
        assert_eq!(attempted("config check --node 0"), Exit::Config);
        assert_eq!(
            attempted("config check --tls-cert /no/such/file --tls-key /no/such/file"),
            Exit::Config
        );
        assert_eq!(attempted("config check --data Cargo.toml"), Exit::Config);
        assert_eq!(attempted("config check --data /no/such/folder"), Exit::Ok);
        assert_eq!(
            attempted("config check --config /no/such/file"),
            Exit::Config
        );
        // On the folder, whatever runs or does not run here.
        assert_eq!(
            attempted("cluster recover --data /no/such/folder"),
            Exit::Failed
        );
    }

    #[test]
    fn the_documented_first_command_holds_word_for_word() {
        let page = include_str!("../../docs/operate.md");
        let command = page.split("```\n").nth(1).unwrap().replace("\\\n", " ");
        // Only the files of its secrets are elsewhere here.
        let secret = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(secret.path(), "0123456789abcdef\n").unwrap();
        let words =
            command
                .split_whitespace()
                .map(|word| match word.starts_with("/etc/gatecast/") {
                    true => secret.path().display().to_string(),
                    false => word.to_owned(),
                });
        let Ok(Cli {
            command: Command::Serve(serve),
            ..
        }) = Cli::try_parse_from(words)
        else {
            panic!("it cannot be typed: {command}");
        };
        let config = config::load(&serve.flags, [], None).map_err(|error| error.0);
        let config = config.unwrap();
        assert_eq!(&*config.peer_addr, "10.0.0.1:7601");
        assert_eq!(config.public_url.as_deref(), Some("http://10.0.0.1:6001"));
        assert!(config.public.ip().is_unspecified() && config.internal.ip().is_loopback());
    }

    #[test]
    fn a_server_that_is_not_there_was_asked_nothing() {
        // Bound and dropped: nobody listens there now.
        let gone = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        assert_eq!(
            attempted(&format!("app list --server http://{gone}")),
            Exit::Failed
        );
        assert_eq!(
            attempted(&format!("app delete 7 --yes --server http://{gone}")),
            Exit::Failed
        );
    }

    #[test]
    fn of_several_servers_the_next_is_asked_only_if_nobody_can_have_heard() {
        let gone = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let done = "HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n{\"revision\": 7}";
        let there = server(done);
        assert_eq!(
            attempted(&format!(
                "app delete 7 --yes --server http://{gone},{there}"
            )),
            Exit::Ok
        );
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("backup");
        let there = server("HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}");
        assert_eq!(
            attempted(&format!(
                "backup create {} --server http://{gone},{there}",
                file.display()
            )),
            Exit::NotFound,
            "it was asked"
        );
        let cut = server("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{");
        let there = server(done);
        assert_eq!(
            attempted(&format!("app delete 7 --yes --server {cut},{there}")),
            Exit::OutcomeUnknown,
            "it may have happened: another would do it again"
        );
    }

    #[test]
    fn a_write_that_is_cut_off_may_have_happened_and_a_read_did_not() {
        let cut = server("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{");
        assert_eq!(
            attempted(&format!("app delete 7 --yes --server {cut}")),
            Exit::OutcomeUnknown
        );
        let silent = server("");
        assert_eq!(
            attempted(&format!("revoke 7 user ana --server {silent}")),
            Exit::OutcomeUnknown
        );
        let cut = server("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{");
        assert_eq!(attempted(&format!("app list --server {cut}")), Exit::Failed);
    }

    /// A port whose queue is full: connections to it never stand.
    fn silently_gone() -> (String, Vec<socket2::Socket>) {
        let socket = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let listener = socket().unwrap();
        let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
        listener.bind(&any.into()).unwrap();
        listener.listen(0).unwrap();
        let place = listener.local_addr().unwrap();
        let mut held = vec![listener];
        for _ in 0..4 {
            let one = socket().unwrap();
            one.set_nonblocking(true).unwrap();
            let _begun = one.connect(&place);
            held.push(one);
        }
        let url = format!("http://{}", place.as_socket().unwrap());
        (url, held)
    }

    #[test]
    fn a_server_that_is_silently_gone_is_passed_over() {
        let (gone, _held) = silently_gone();
        for line in ["app delete 7 --yes", "app list"] {
            let there = server("HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n{\"revision\": 7}");
            let line = format!("{line} --timeout 1 --server {gone},{there}");
            assert_eq!(attempted(&line), Exit::Ok, "{line}");
        }
        let alone = format!("app delete 7 --yes --timeout 1 --server {gone}");
        assert_eq!(attempted(&alone), Exit::Failed, "it was asked nothing");
    }

    #[test]
    fn a_read_goes_on_after_any_failure_and_a_write_where_nothing_was_done() {
        let done = "HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n{\"revision\": 7}";
        let cut = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{";
        let draining =
            "HTTP/1.1 503 x\r\ncontent-length: 31\r\n\r\n{\"error\": {\"code\": \"stopping\"}}";
        let proxy = "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n";
        for (first, read, write) in [
            (cut, Exit::Ok, Exit::OutcomeUnknown),
            ("", Exit::Ok, Exit::OutcomeUnknown),
            (proxy, Exit::Ok, Exit::Failed),
            (draining, Exit::Ok, Exit::Ok),
        ] {
            for (line, exit) in [("app list", read), ("app delete 7 --yes", write)] {
                let line = format!("{line} --server {},{}", server(first), server(done));
                assert_eq!(attempted(&line), exit, "{line}: {first}");
            }
        }
    }

    #[test]
    fn nobody_else_is_given_the_token() {
        let thief = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = format!("http://{}/stolen", thief.local_addr().unwrap());
        let moved = format!("HTTP/1.1 307 x\r\nlocation: {place}\r\ncontent-length: 0\r\n\r\n");
        let moved = server(Box::leak(moved.into_boxed_str()));
        let line = format!("app delete 7 --yes --token hush --server {moved}");
        assert_eq!(attempted(&line), Exit::Failed);
        thief.set_nonblocking(true).unwrap();
        assert!(thief.accept().is_err(), "nobody came there");
    }

    #[test]
    fn a_wrong_line_is_told_in_the_form_that_was_asked_for() {
        let shown = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            output_asked_for(&words)
        };
        for line in [
            "x -o json",
            "x --output json",
            "x --output=json",
            "x -ojson y",
        ] {
            assert_eq!(shown(line), Output::Json, "{line}");
        }
        for line in ["x", "x -o table", "x json", "x -- -o json"] {
            assert_eq!(shown(line), Output::Table, "{line}");
        }
        let error = Cli::try_parse_from(["gatecast", "frobnicate"])
            .err()
            .unwrap();
        let failure = misread(&error, Output::Json).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(
            failure.message.starts_with("unrecognized"),
            "{}",
            failure.message
        );
    }

    #[test]
    fn a_refusal_keeps_its_meaning_in_the_exit_code() {
        let refused = server("HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}");
        assert_eq!(
            attempted(&format!("app show 7 --server {refused}")),
            Exit::NotFound
        );
        let done = server("HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n{\"revision\": 7}");
        assert_eq!(
            attempted(&format!("app delete 7 --yes --server {done} -o json")),
            Exit::Ok
        );
    }
}
