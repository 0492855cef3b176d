//! `gatecast provider …`, as one request of `/v1`.
//!
//! **Why a key set is read from a file:** it is many lines, and comes from the provider as one.

use super::address::named;
use super::arguments::{ProviderArgs, ProviderCommand};
use super::request::{Request, set};
use super::ssf::ssf;
use super::{Exit, Failure};
use serde_json::{Map, Value};

/// `provider …`
///
/// # Errors
/// When the file with the key set cannot be read, or is no JSON.
pub fn provider(command: ProviderCommand) -> Result<Request, Failure> {
    let one = |app: u64, id: &str| named(&format!("/v1/apps/{app}/providers"), id, "");
    Ok(match command {
        ProviderCommand::Create {
            app,
            provider,
            args,
        } => {
            let mut body = provider_body(args)?;
            set(&mut body, "id", Some(provider));
            Request::new("POST", format!("/v1/apps/{app}/providers")).body(body.into())
        }
        ProviderCommand::List { app } => Request::new("GET", format!("/v1/apps/{app}/providers"))
            .table(
                "providers",
                &[
                    "id",
                    "enabled",
                    "issuer",
                    "audiences",
                    "ceiling",
                    "revision",
                ],
            ),
        ProviderCommand::Show { app, provider } => Request::new("GET", one(app, &provider)),
        ProviderCommand::Update {
            app,
            provider,
            enabled,
            args,
        } => {
            let mut body = provider_body(args)?;
            set(&mut body, "enabled", enabled);
            Request::new("PATCH", one(app, &provider)).body(body.into())
        }
        ProviderCommand::Refresh { app, provider } => {
            let path = named(&format!("/v1/apps/{app}/providers"), &provider, "/refresh");
            Request::new("POST", path)
        }
        ProviderCommand::Ssf(command) => ssf(command)?,
        ProviderCommand::Delete { app, provider } => {
            let what = format!(
                "provider {provider} goes for good, with its keys and settings, and whoever is connected with a token of its is closed \
                 (update --enabled false closes them too, and can be undone)"
            );
            Request::new("DELETE", one(app, &provider)).destroys(what)
        }
    })
}

fn provider_body(args: ProviderArgs) -> Result<Map<String, Value>, Failure> {
    let mut body = Map::new();
    set(&mut body, "issuer", args.issuer);
    let some = |list: Vec<String>| (!list.is_empty()).then_some(list);
    set(&mut body, "audiences", some(args.audiences));
    set(&mut body, "algorithms", some(args.algorithms));
    if let Some(path) = args.keys {
        let unread = |why: String| {
            let message = format!("--keys {}: {why}", path.display());
            Failure::new(Exit::Usage, message)
        };
        let text = std::fs::read_to_string(&path).map_err(|error| unread(error.to_string()))?;
        let keys: Value = serde_json::from_str(&text).map_err(|error| unread(error.to_string()))?;
        body.insert("keys".into(), keys);
    }
    set(&mut body, "jwks_uri", args.jwks_uri);
    set(&mut body, "discovery", args.discovery);
    set(&mut body, "ceiling", args.ceiling);
    let mut claims = Map::new();
    set(&mut claims, "rights", args.rights);
    set(&mut claims, "user", args.user_claim);
    set(&mut claims, "session", args.session_claim);
    set(&mut claims, "groups", args.groups_claim);
    if !claims.is_empty() {
        body.insert("claims".into(), claims.into());
    }
    set(&mut body, "leeway_ms", args.leeway);
    Ok(body)
}
