//! `gatecast dev`: one node on loopback, an app that is open, and what to paste into the SDKs.
//!
//! It is `serve` with everything answered: the data and the credentials stay in one folder, so that what was pasted
//! yesterday works today, and deleting the folder begins anew. The app is made through `/v1`, as anybody would.
//!
//! **Must never know:** any dialect: each says by itself what is to be pasted.
//! **Why the process listens on loopback only and has no switch for more:** its app lets everyone in.

use super::arguments::{Dev, Remote};
use super::request::Request;
use super::{Exit, Failure, client, environment, output};
use crate::adapters;
use crate::config::{self, Config, Flags};
use crate::server;
use futures_util::TryFutureExt as _;
use futures_util::future::{Either, select};
use rand::Rng as _;
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

/// The id of the app that it makes.
const APP: u64 = 1;

/// Connections of clients: what a shell's usual limit of open files bears without a warning.
const MAX_CONNECTIONS: u64 = 400;

/// Between two looks whether the node is ready.
const LOOK_AGAIN: Duration = Duration::from_millis(25);

/// Runs the node until it is told to stop.
///
/// # Errors
/// When the folder cannot be written, a port cannot be had, or the node stops of itself.
pub fn carry_out(dev: &Dev) -> Result<(), Failure> {
    let folder = folder(&dev.data)?;
    let token = admin_token(&folder.join("admin_token"))?;
    let config = configuration(dev, &folder)?;
    let flood = server::log(&config).map_err(|error| Failure::new(Exit::Config, error))?;
    let (internal, public) = (config.internal, config.public);
    actix_web::rt::System::new().block_on(async move {
        let failed = |error: server::ServeError| Failure::new(Exit::Failed, error.to_string());
        let served = pin!(server::serve(config, flood).map_err(failed));
        let introduced = pin!(introduce(internal, &token));
        match select(served, introduced).await {
            Either::Left((ended, _)) => ended,
            Either::Right((env, served)) => {
                welcome(&folder, public, internal, &token, &env?);
                served.await
            }
        }
    })
}

/// The folder that keeps everything, and its whole path. Version control is told to pass it over.
fn folder(data: &Path) -> Result<PathBuf, Failure> {
    let failed = |error: std::io::Error| {
        let message = format!("--data {}: {error}", data.display());
        Failure::new(Exit::Config, message)
    };
    std::fs::create_dir_all(data).map_err(failed)?;
    let folder = data.canonicalize().map_err(failed)?;
    std::fs::write(folder.join(".gitignore"), "*\n").map_err(failed)?;
    Ok(folder)
}

/// The operator's token: made once, kept with the data.
fn admin_token(path: &Path) -> Result<String, Failure> {
    if let Ok(kept) = std::fs::read_to_string(path) {
        return Ok(kept.trim_end().to_owned());
    }
    let token = format!("{:032x}", rand::rng().random::<u128>());
    write(path, &format!("{token}\n"))?;
    Ok(token)
}

/// Replaces a file, in one step, by one that is its owner's alone, whoever could read what stood there before.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let beside = path.with_extension("new");
    let _left_over = std::fs::remove_file(&beside);
    let mut how = OpenOptions::new();
    let file = how.write(true).create_new(true).mode(0o600).open(&beside);
    let written = file
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| std::fs::rename(&beside, path));
    written.map_err(|error| Failure::new(Exit::Config, format!("{}: {error}", path.display())))
}

/// The node's configuration. Of the environment only what is logged counts: variables of a cluster or of the command
/// line's client are meant for others.
fn configuration(dev: &Dev, folder: &Path) -> Result<Config, Failure> {
    let local = |port: u16| Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let flags = Flags {
        data: Some(folder.join("node")),
        public: local(dev.port),
        internal: local(dev.internal_port),
        peer: local(dev.peer_port),
        max_connections: Some(MAX_CONNECTIONS),
        admin_token_file: Some(folder.join("admin_token")),
        ..Flags::default()
    };
    let quiet = ("GATECAST_LOG".to_owned(), "warn".to_owned());
    let logs = environment().filter(|(name, _)| name.starts_with("GATECAST_LOG"));
    let loaded = config::load(&flags, std::iter::once(quiet).chain(logs), None);
    loaded.map_err(|error| Failure::new(Exit::Config, error.to_string()))
}

/// Waits until the node is ready, and finds or makes its app. What the app's SDKs are given.
async fn introduce(internal: SocketAddr, token: &str) -> Result<Value, Failure> {
    let node = Remote::at(format!("http://{internal}"), token.to_owned());
    while client::answer(&node, &Request::new("GET", "/ready"))
        .await
        .is_err()
    {
        actix_web::rt::time::sleep(LOOK_AGAIN).await;
    }
    let look = Request::new("GET", format!("/v1/apps/{APP}?secrets=true"));
    match client::answer(&node, &look).await {
        Err(failure) if failure.exit == Exit::NotFound => {}
        found => return found.map(env),
    }
    let make = Request::new("POST", "/v1/apps").body(app());
    client::answer(&node, &make).await.map(env)
}

fn env(mut answer: Value) -> Value {
    answer.get_mut("env").map(Value::take).unwrap_or_default()
}

/// The app: open to everyone, but for the names that the protocols keep for signed subscriptions.
fn app() -> Value {
    json!({
        "id": APP,
        "name": "dev",
        "open": [{
            "kind": "except",
            "pattern": "!private-,presence-",
            "operations": ["subscribe", "publish", "presence", "presence-read", "history", "metadata"],
        }],
        "settings": { "client_events": true, "user_sign_in": true },
        "keys": [{ "name": "dev" }],
    })
}

/// Says where everything is, and writes it down for other programs.
fn welcome(folder: &Path, public: SocketAddr, internal: SocketAddr, token: &str, env: &Value) {
    let own = [
        ("GATECAST_URLS", format!("http://{public}")),
        ("GATECAST_SERVER", format!("http://{internal}")),
        ("GATECAST_ADMIN_TOKEN", token.to_owned()),
    ];
    let mut lines: String = own
        .iter()
        .map(|(name, value)| format!("{name}={value}\n"))
        .collect();
    for (name, value) in variables(env) {
        lines += &format!("{name}={value}\n");
    }
    let file = folder.join("env");
    if let Err(failure) = write(&file, &lines) {
        output::complain(&failure.message);
    }
    output::print(&greeting(folder, &file, public, env));
}

fn variables(env: &Value) -> impl Iterator<Item = (&str, &str)> {
    let fields = env.as_object().into_iter().flatten();
    fields.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
}

/// What is printed: one block for each dialect, ready to be pasted.
fn greeting(folder: &Path, file: &Path, public: SocketAddr, env: &Value) -> String {
    let mut text = format!(
        "\nGatecast listens at http://{public}, for this machine only. Channels are open to everyone, but for private-… and\n\
         presence-…, which your app server signs for.\n\n\
         data         {}   (delete it to begin anew)\n\
         credentials  {}   (set -a; . {}; set +a)\n\
         commands     gatecast app show {APP}, gatecast conn list {APP}, … with these credentials in the environment\n",
        folder.display(),
        file.display(),
        file.display(),
    );
    for dialect in adapters::ALL {
        let snippet = dialect.quick_start();
        if snippet.is_empty() {
            continue;
        }
        let place = [
            ("HOST".to_owned(), public.ip().to_string()),
            ("PORT".to_owned(), public.port().to_string()),
        ];
        let known = variables(env).map(|(name, value)| (name.to_owned(), value.to_owned()));
        let filled = place
            .into_iter()
            .chain(known)
            .fold(snippet.to_owned(), |text, (name, value)| {
                text.replace(&format!("{{{name}}}"), &value)
            });
        text += &format!("\n─── {} ───\n{filled}", dialect.name());
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs::{Permissions, read_to_string, set_permissions};
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn credentials_are_their_owners_alone_whatever_stood_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("env");
        std::fs::write(&path, "old").unwrap();
        set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        write(&path, "new").unwrap();
        assert_eq!(read_to_string(&path).unwrap(), "new");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o077, 0);
        let token = admin_token(&folder.path().join("admin_token")).unwrap();
        let again = admin_token(&folder.path().join("admin_token"));
        assert_eq!((token.len(), again), (32, Ok(token)));
    }
}
