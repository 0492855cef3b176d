//! `/v1/apps`: create, list, show, change, delete; and the credentials of its dialects ready to paste.

use super::auth::{Call, Caller};
use super::catalog::{Catalog, settings_json};
use super::codes::{ApiError, Code};
use super::id_source::IdSource;
use super::input::{AppIdText, Body, Params, Wait};
use super::key::{self, KeyIn};
use super::resource;
use super::text::{OpenText, label, open, open_text};
use super::write::{APPLY_TIMEOUT, Write, answer};
use crate::adapters::dialect::{Dialects, Settings};
use crate::core::authority::{
    Administered, App, AppChange, AppId, AppSpec, Command, KeySpec, Operations, Text,
};
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Adds the paths of this file.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(resource("/apps").get(list).post(create))
        .service(
            resource("/apps/{app}")
                .get(show)
                .patch(update)
                .delete(delete),
        );
}

/// A new app as asked for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AppIn {
    /// A name for people; nothing is looked up by it.
    pub name: Option<String>,
    /// Its id, if it must be a certain one.
    pub id: Option<AppIdText>,
    /// The dialects that may be spoken to it; left out = all: an app without one can be used by nobody, and is made by
    /// `[]` only. Called `doors` before.
    #[serde(alias = "doors")]
    pub protocols: Option<Vec<String>>,
    /// What it declares open.
    pub open: Vec<OpenText>,
    /// Limits and switches.
    pub settings: Map<String, Value>,
    /// Limits of channels by namespace, for those whose limits are not the app's.
    pub namespaces: Map<String, Value>,
    /// Its first keys; none = one that may do everything.
    pub keys: Vec<KeyIn>,
}

impl AppIn {
    /// The command's content, with fresh ids and secrets where none were given.
    ///
    /// # Errors
    /// When a name, pattern, protocol, setting or key is unusable.
    pub fn spec(&self, catalog: &Catalog, ids: &mut IdSource) -> Result<AppSpec, ApiError> {
        let id = self.id.map(AppIdText::read).transpose()?;
        let id = id.unwrap_or_else(|| ids.app_id());
        let name = label("name", self.name.as_deref().unwrap_or(""))?;
        let settings = catalog.flattened(&self.settings, &self.namespaces)?;
        let settings = catalog.settings(&settings)?;
        let settings: Settings = settings
            .into_iter()
            .filter_map(|(name, value)| value.map(|value| (name, value)))
            .collect();
        let default = [KeyIn::default()];
        let keys = if self.keys.is_empty() {
            &default[..]
        } else {
            &self.keys[..]
        };
        let keys = keys.iter().map(|key| key.spec(id, ids));
        let protocols = match &self.protocols {
            Some(names) => catalog.protocols(names, &settings),
            None => catalog.protocols(&catalog.names(), &settings),
        };
        Ok(AppSpec {
            id,
            name,
            protocols: protocols?,
            open: open(&self.open)?,
            settings,
            keys: keys.collect::<Result<_, _>>()?,
            aliases: ids.aliases(catalog.dialects),
        })
    }
}

async fn create(call: Call, body: Body<AppIn>) -> Result<HttpResponse, ApiError> {
    call.caller.operator()?;
    let write = Write::of(&call, &body.raw)?;
    let spec = body
        .value
        .spec(&call.native.catalog, &mut write.id_source())?;
    let made = write
        .make(Command::CreateApp(spec.clone()), Wait::All)
        .await?;
    let app = App {
        id: spec.id,
        name: spec.name,
        enabled: true,
        protocols: spec.protocols,
        open: spec.open,
        settings: spec.settings,
        aliases: spec.aliases,
        revision: made.revision(),
    };
    let keys: Vec<Value> = spec.keys.iter().map(key::spec_json).collect();
    let env = spec
        .keys
        .first()
        .map(|key| env(call.native.catalog.dialects, &app, key));
    let body = json!({ "app": app_json(&app), "keys": keys, "env": env });
    Ok(made.answer_as(StatusCode::CREATED, body))
}

async fn list(call: Call) -> Result<HttpResponse, ApiError> {
    let mut params = Params::of(&call.http)?;
    let limit = params.limit(100, 1000)?;
    let after = params.number("after")?.unwrap_or(0);
    params.finish()?;
    let view = call.broker.authority.view();
    let seen = |app: &App| call.caller.require_app(app.id).is_ok();
    let mut page: Vec<&App> = view
        .apps
        .range(AppId(after.saturating_add(1))..)
        .map(|(_, app)| &**app)
        .filter(|app| seen(app))
        .take(limit + 1)
        .collect();
    let more = page.len() > limit;
    page.truncate(limit);
    let next = page.last().filter(|_| more).map(|app| app.id.to_string());
    let apps = page.into_iter().map(|app| seen_json(&call, app));
    let apps: Vec<Value> = apps.collect();
    let body = json!({ "apps": apps, "next": next });
    Ok(answer(StatusCode::OK, view.revision, body))
}

async fn show(call: Call, path: web::Path<String>) -> Result<HttpResponse, ApiError> {
    let mut params = Params::of(&call.http)?;
    let secrets = params.flag("secrets")?;
    params.finish()?;
    if secrets {
        call.caller.operator()?;
    }
    let app = call.app(&path).await?;
    let view = call.broker.authority.view();
    let mut keys = key::keys_of(&view, app.id);
    if let (Caller::Key(own), false) = (&call.caller, may_look(&call, app.id)) {
        keys.retain(|key| key.id == own.id);
        let listed: Vec<Value> = keys.iter().map(|key| key::key_json(key, false)).collect();
        let body = json!({ "app": brief_json(&app), "keys": listed });
        return Ok(answer(StatusCode::OK, view.revision, body));
    }
    let listed: Vec<Value> = keys.iter().map(|key| key::key_json(key, secrets)).collect();
    let effective = call.native.catalog.effective(&app.settings);
    let mut body =
        json!({ "app": app_json(&app), "keys": listed, "effective_settings": effective });
    if let (true, Some(first), Some(fields)) = (secrets, keys.first(), body.as_object_mut()) {
        let spec = KeySpec {
            id: first.id.clone(),
            app: app.id,
            name: first.name.clone(),
            secret: first.secret.clone(),
            capability: first.capability.clone(),
            revocable_tokens: first.revocable_tokens,
        };
        fields.insert("env".into(), env(call.native.catalog.dialects, &app, &spec));
    }
    Ok(answer(StatusCode::OK, view.revision, body))
}

/// A change of an app as asked for; what is left out stays.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AppPatch {
    /// A name for people; nothing is looked up by it.
    pub name: Option<String>,
    /// On or off.
    pub enabled: Option<bool>,
    /// The dialects that may be spoken to it, as a whole. Called `doors` before.
    #[serde(alias = "doors")]
    pub protocols: Option<Vec<String>>,
    /// Open rules, as a whole.
    pub open: Option<Vec<OpenText>>,
    /// Settings to set, or with `null` to drop.
    pub settings: Map<String, Value>,
    /// The same by namespace; `null` instead of an object drops all of one.
    pub namespaces: Map<String, Value>,
    /// How far to wait.
    pub wait: Wait,
}

impl AppPatch {
    /// The command's content.
    ///
    /// # Errors
    /// When a name, pattern, protocol or setting is unusable.
    pub fn change(&self, catalog: &Catalog, before: &App) -> Result<AppChange, ApiError> {
        let settings = catalog.flattened(&self.settings, &self.namespaces)?;
        let settings = catalog.settings(&settings)?;
        let mut after = before.settings.clone();
        for (name, value) in &settings {
            match value {
                Some(value) => after.insert(name.clone(), value.clone()),
                None => after.remove(name),
            };
        }
        // What a protocol leaves open may hang on a setting, so it is stored anew with either.
        let protocols = match &self.protocols {
            Some(names) => Some(catalog.protocols(names, &after)),
            None if settings.is_empty() => None,
            None => {
                let names: Vec<&str> = before
                    .protocols
                    .iter()
                    .map(|protocol| &*protocol.name)
                    .collect();
                Some(catalog.protocols(&names, &after))
            }
        };
        Ok(AppChange {
            name: self
                .name
                .as_ref()
                .map(|text| label("name", text))
                .transpose()?,
            enabled: self.enabled,
            protocols: protocols.transpose()?,
            open: self.open.as_ref().map(|rules| open(rules)).transpose()?,
            settings,
        })
    }
}

async fn update(
    call: Call,
    path: web::Path<String>,
    body: Body<AppPatch>,
) -> Result<HttpResponse, ApiError> {
    let app = call.app(&path).await?.id;
    call.caller.require_app_wide(app, Operations::ADMIN)?;
    // What a setting opens is seen by what holds now; the rest is judged where the change is carried out.
    call.broker.authority.catch_up().await?;
    let before = call.app(&path).await?;
    let change = body.value.change(&call.native.catalog, &before)?;
    let hands_on = call.native.catalog.hands_on(&before, &change);
    if call.native.catalog.reserved(&body.value.settings).is_some() {
        call.caller.operator()?;
    }
    let write = Write::of(&call, &body.raw)?;
    let command = call.administer(app, hands_on, Administered::App(change))?;
    let made = write.make(command, body.value.wait).await?;
    let app = applied(&call, app, made.revision()).await;
    Ok(made.answer(json!({ "app": app })))
}

/// The app as it is after `revision`; nothing when this node is not there yet.
async fn applied(call: &Call, app: AppId, revision: u64) -> Option<Value> {
    let authority = &call.broker.authority;
    authority.at_least(revision, APPLY_TIMEOUT).await.ok()?;
    authority.app(app).as_deref().map(app_json)
}

async fn delete(call: Call, path: web::Path<String>) -> Result<HttpResponse, ApiError> {
    call.caller.operator()?;
    let app = super::input::app_id(&path)?;
    let mut params = Params::of(&call.http)?;
    let wait = params.wait()?;
    params.finish()?;
    let write = Write::of(&call, b"")?;
    let made = write.make(Command::DeleteApp { app }, wait).await?;
    Ok(made.answer(json!({})))
}

/// Whether the caller may see how the app is set up: open rules, settings (webhooks among them), all keys.
fn may_look(call: &Call, app: AppId) -> bool {
    let may = |needs| call.caller.require_app_wide(app, needs).is_ok();
    may(Operations::ADMIN) || may(Operations::INSPECT)
}

fn seen_json(call: &Call, app: &App) -> Value {
    match may_look(call, app.id) {
        true => app_json(app),
        false => brief_json(app),
    }
}

/// What every key may know of its app: what a client needs to reach it.
fn brief_json(app: &App) -> Value {
    let mut all = app_json(app);
    if let Some(fields) = all.as_object_mut() {
        for inside in ["open", "settings", "namespaces"] {
            fields.remove(inside);
        }
    }
    all
}

/// An app as `/v1` shows it.
#[must_use]
pub fn app_json(app: &App) -> Value {
    let (settings, namespaces) = settings_json(&app.settings);
    let alias = |(kind, name): &(Text, Text)| (kind.to_string(), Value::from(&**name));
    let aliases: Map<String, Value> = app.aliases.iter().map(alias).collect();
    let protocols: Vec<&str> = app
        .protocols
        .iter()
        .map(|protocol| &*protocol.name)
        .collect();
    json!({
        "id": app.id.to_string(),
        "name": &*app.name,
        "enabled": app.enabled,
        "protocols": protocols,
        "open": open_text(&app.open),
        "settings": settings,
        "namespaces": namespaces,
        "aliases": aliases,
        "revision": app.revision,
    })
}

/// The credentials in the words of `/v1` and of every dialect that the app speaks, ready for an environment file. Shows
/// the secret.
#[must_use]
pub fn env(dialects: Dialects, app: &App, key: &KeySpec) -> Value {
    let own = [
        ("GATECAST_APP_ID", app.id.to_string()),
        ("GATECAST_KEY", format!("{}:{}", key.id, key.secret.0)),
    ];
    let speaks = |name: &str| app.protocols.iter().any(|one| *one.name == *name);
    let spoken = dialects.iter().filter(|one| speaks(one.name()));
    let theirs = spoken.flat_map(|one| one.credentials(app, key));
    let all = own.into_iter().chain(theirs);
    Value::Object(
        all.map(|(name, value)| (name.to_owned(), value.into()))
            .collect(),
    )
}

impl Params {
    /// Shorthand of a request that takes no parameter.
    ///
    /// # Errors
    /// `unknown_parameter`.
    pub fn none(call: &Call) -> Result<(), ApiError> {
        Self::of(&call.http)?.finish()
    }
}

/// Shorthand: nothing by that name.
pub(super) fn missing(what: &str) -> ApiError {
    ApiError::new(Code::NotFound, format!("there is no such {what}"))
}
