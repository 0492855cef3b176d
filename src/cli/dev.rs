//! `gatecast dev`: one node on loopback, an app that is open, and what to paste into the SDKs.
//!
//! It is `serve` with everything answered: the data and the credentials stay in one folder, so that what was pasted
//! yesterday works today, and deleting the folder begins anew. The app is made through `/v1`, as anybody would.
//!
//! **Why the process listens on loopback only and has no switch for more:** its app lets everyone in.

use super::arguments::{Dev, Remote};
use super::request::Request;
use super::{Exit, Failure, client, environment, files, output};
use crate::adapters;
use crate::config::{self, Config, Flags};
use crate::server;
use crate::server::process::shell_word;
use futures_util::TryFutureExt as _;
use futures_util::future::{Either, select};
use rand::Rng as _;
use serde_json::{Value, json};
use std::fs::{self, DirBuilder};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

/// The id of the app that it makes.
const APP: u64 = 1;

/// The file by which it knows a folder as its own.
const MARK: &str = ".gatecast-dev";

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

/// The folder that keeps everything, and its whole path. One that holds other things is left alone.
fn folder(data: &Path) -> Result<PathBuf, Failure> {
    let refused =
        |why: String| Failure::new(Exit::Config, format!("--data {}: {why}", data.display()));
    let failed = |error: io::Error| refused(error.to_string());
    if files::is_free(data) {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(data)
            .map_err(failed)?;
    }
    files::own_folder(data).map_err(failed)?;
    let folder = data.canonicalize().map_err(failed)?;
    let mark = folder.join(MARK);
    let told = |error: io::Error| refused(format!("{}: {error}", mark.display()));
    if files::secret(&mark).map_err(told)?.is_none() {
        if fs::read_dir(&folder).map_err(failed)?.next().is_some() {
            return Err(refused(
                "it holds what `gatecast dev` did not put there, and none of it is touched: name a new or an empty \
                 folder, such as --data .gatecast"
                    .to_owned(),
            ));
        }
        let text = b"Made by `gatecast dev`, which keeps its data and credentials here.\n";
        files::add(&mark, files::OWNERS, text).map_err(told)?;
    }
    let node = folder.join("node");
    if !files::is_free(&node) {
        let told = |error: io::Error| refused(format!("{}: {error}", node.display()));
        files::own_folder(&node).map_err(told)?;
    }
    // Version control is told to pass it over, unless somebody has said otherwise.
    let ignored = folder.join(".gitignore");
    if files::is_free(&ignored) {
        files::add(&ignored, files::OWNERS, b"*\n").map_err(failed)?;
    }
    Ok(folder)
}

/// The operator's token: made once, kept with the data.
fn admin_token(path: &Path) -> Result<String, Failure> {
    let failed =
        |error: io::Error| Failure::new(Exit::Config, format!("{}: {error}", path.display()));
    if let Some(kept) = files::secret(path).map_err(failed)? {
        return Ok(kept.trim_end().to_owned());
    }
    let token = format!("{:032x}", rand::rng().random::<u128>());
    files::add(path, files::OWNERS, format!("{token}\n").as_bytes()).map_err(failed)?;
    Ok(token)
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
    if let Err(error) = files::replace(&file, files::OWNERS, lines.as_bytes()) {
        output::complain(&format!("{}: {error}", file.display()));
    }
    // The node runs on, whoever reads this.
    if let Err(failure) = output::print(&greeting(folder, &file, public, env)) {
        output::complain(&failure.message);
    }
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
        shell_word(&file.display().to_string()),
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
    use std::fs::{Permissions, read_to_string, set_permissions, write};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn refused(data: &Path) -> String {
        let failure = folder(data).unwrap_err();
        assert_eq!(failure.exit, Exit::Config);
        failure.message
    }

    #[test]
    fn a_folder_of_somebody_elses_things_is_left_as_it_is() {
        let above = tempfile::tempdir().unwrap();
        set_permissions(above.path(), Permissions::from_mode(0o755)).unwrap();
        let kept = [(".gitignore", "target\n"), ("env", "MINE=1\n")];
        for (name, text) in kept {
            write(above.path().join(name), text).unwrap();
        }
        assert!(refused(above.path()).contains("name a new or an empty folder"));
        let count = fs::read_dir(above.path()).unwrap().count();
        assert_eq!(count, kept.len(), "nothing was added");
        for (name, text) in kept {
            assert_eq!(read_to_string(above.path().join(name)).unwrap(), text);
        }
    }

    #[test]
    fn its_own_folder_is_known_again_and_nothing_there_is_overwritten() {
        let above = tempfile::tempdir().unwrap();
        let data = above.path().join("a/b");
        let made = folder(&data).unwrap();
        let mode = |path: &Path| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&made), mode(&made.join(MARK))), (0o700, 0o600));
        assert_eq!(read_to_string(made.join(".gitignore")).unwrap(), "*\n");
        write(made.join(".gitignore"), "!env\n").unwrap();
        let token = admin_token(&made.join("admin_token")).unwrap();
        assert_eq!(mode(&made.join("admin_token")), 0o600);
        assert_eq!(folder(&data).unwrap(), made);
        assert_eq!(read_to_string(made.join(".gitignore")).unwrap(), "!env\n");
        assert_eq!(admin_token(&made.join("admin_token")), Ok(token.clone()));
        assert_eq!(token.len(), 32);
        set_permissions(made.join("admin_token"), Permissions::from_mode(0o666)).unwrap();
        let failure = admin_token(&made.join("admin_token")).unwrap_err();
        assert!(failure.message.contains("delete it"), "{}", failure.message);
    }

    #[test]
    fn links_and_what_others_could_have_put_there_are_refused() {
        let above = tempfile::tempdir().unwrap();
        let (data, link) = (above.path().join("data"), above.path().join("link"));
        fs::create_dir(&data).unwrap();
        symlink(&data, &link).unwrap();
        assert!(refused(&link).contains("link"));
        set_permissions(&data, Permissions::from_mode(0o777)).unwrap();
        assert!(refused(&data).contains("chmod go-w"));
        set_permissions(&data, Permissions::from_mode(0o700)).unwrap();
        // As a checkout of somebody's files would have it.
        write(data.join(MARK), "x").unwrap();
        set_permissions(data.join(MARK), Permissions::from_mode(0o644)).unwrap();
        assert!(refused(&data).contains(MARK));
        fs::remove_file(data.join(MARK)).unwrap();
        folder(&data).unwrap();
        let victim = above.path().join("victim");
        write(&victim, "theirs").unwrap();
        fs::remove_file(data.join(".gitignore")).unwrap();
        symlink(&victim, data.join(".gitignore")).unwrap();
        symlink(above.path(), data.join("node")).unwrap();
        assert!(refused(&data).contains("node"));
        fs::remove_file(data.join("node")).unwrap();
        folder(&data).unwrap();
        assert_eq!(read_to_string(victim).unwrap(), "theirs");
    }

    #[test]
    fn the_hint_can_be_pasted_wherever_the_folder_is() {
        let text = greeting(
            Path::new("/a b"),
            Path::new("/a b/it's/env"),
            SocketAddr::from((Ipv4Addr::LOCALHOST, 6001)),
            &Value::Null,
        );
        assert!(
            text.contains(r"(set -a; . '/a b/it'\''s/env'; set +a)"),
            "{text}"
        );
    }
}
