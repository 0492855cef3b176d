//! `gatecast provider ssf …`, as one request of `/v1`.
//!
//! **Why secrets are read from files:** what is typed is in the shell's history and in the list of processes.

use super::address::named;
use super::arguments::{SsfArgs, SsfCommand};
use super::request::{Request, set};
use super::{Exit, Failure};
use serde_json::{Map, Value};
use std::path::Path;

/// `provider ssf …`
///
/// # Errors
/// When a file with a secret cannot be read.
pub(super) fn ssf(command: SsfCommand) -> Result<Request, Failure> {
    let of = |app: u64, id: &str| named(&format!("/v1/apps/{app}/providers"), id, "/signals");
    Ok(match command {
        SsfCommand::Connect {
            app,
            provider,
            transmitter,
            client_id,
            client_secret_file,
            delivery,
            receiver,
            token_endpoint,
            scope,
            args,
        } => {
            let mut body = meaning(args);
            set(&mut body, "transmitter", Some(transmitter));
            set(&mut body, "client_id", Some(client_id));
            let secret = secret("--client-secret-file", &client_secret_file)?;
            set(&mut body, "client_secret", Some(secret));
            set(&mut body, "delivery", Some(delivery));
            set(&mut body, "receiver", receiver);
            set(&mut body, "token_endpoint", token_endpoint);
            set(&mut body, "scope", scope);
            Request::new("PUT", of(app, &provider)).body(body.into())
        }
        SsfCommand::Show { app, provider } => Request::new("GET", of(app, &provider)),
        SsfCommand::Verify { app, provider } => {
            let path = format!("/v1/apps/{app}/providers");
            Request::new("POST", named(&path, &provider, "/signals/verify"))
        }
        SsfCommand::Set {
            app,
            provider,
            bearer_file,
            args,
        } => {
            let mut body = meaning(args);
            let bearer = bearer_file.map(|path| secret("--bearer-file", &path));
            set(&mut body, "bearer", bearer.transpose()?);
            Request::new("PUT", of(app, &provider)).body(body.into())
        }
        SsfCommand::Disconnect { app, provider } => Request::new("DELETE", of(app, &provider)),
    })
}

fn meaning(args: SsfArgs) -> Map<String, Value> {
    let mut body = Map::new();
    let audiences = Some(args.audiences).filter(|all| !all.is_empty());
    set(&mut body, "audiences", audiences);
    set(&mut body, "device_compliance", args.device_compliance);
    set(&mut body, "assurance_level", args.assurance_level);
    body
}

/// The text of a file, without the end of its line.
fn secret(option: &str, path: &Path) -> Result<String, Failure> {
    let unread = |error: std::io::Error| {
        let message = format!("{option} {}: {error}", path.display());
        Failure::new(Exit::Usage, message)
    };
    let text = std::fs::read_to_string(path).map_err(unread)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
