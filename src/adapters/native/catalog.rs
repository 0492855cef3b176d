//! What this broker's apps can be given: the dialects with their defaults, and the settings with their kinds.
//!
//! **Why a table and not free text:** a misspelt switch that is silently kept looks like one that is on.

use super::codes::{ApiError, Code};
use crate::adapters::dialect::{Dialects, HandsOn, SettingKind, SettingSpec, Settings};
use crate::core::authority::{
    App, AppChange, AppId, Capability, EnabledProtocol, Millis, Operations, Pattern, Presented,
    Resource, Right, SettingValue, State, Text,
};
use crate::core::suggest::did_you_mean;
use crate::identity;
use serde_json::Value;
use std::collections::BTreeMap;

/// Between a setting and the namespace it is for.
const AT: char = '@';
/// Longest name of a namespace.
const NAMESPACE_BYTES: usize = 64;

/// Settings as JSON.
type Shown = serde_json::Map<String, Value>;

/// The tables of protocols and settings that apps may have.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// The protocols that an app can accept.
    pub dialects: Dialects,
    /// The settings that an app may have.
    pub settings: Vec<SettingSpec>,
}

impl Catalog {
    /// Which dialect a text given as a token is of, and what it is there. The protocols that an app has now do not count:
    /// a token outlives a protocol that is switched off and on again.
    #[must_use]
    pub fn token(
        &self,
        state: &State,
        app: AppId,
        text: &str,
        now_ms: Millis,
    ) -> (&'static str, Presented) {
        // Whoever shows one, in whichever dialect, it is the same token.
        match identity::presented(state, app, text, now_ms) {
            Presented::Other => {}
            known @ (Presented::Foreign | Presented::Unproven(_) | Presented::Signed(_)) => {
                return ("an identity provider", known);
            }
        }
        let mut foreign = ("", Presented::Other);
        for dialect in self.dialects {
            match dialect.presented(state, app, text, now_ms) {
                Presented::Other => {}
                Presented::Foreign => foreign = (dialect.name(), Presented::Foreign),
                known @ (Presented::Unproven(_) | Presented::Signed(_)) => {
                    return (dialect.name(), known);
                }
            }
        }
        foreign
    }

    /// The names of all dialects.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        self.dialects.iter().map(|one| one.name()).collect()
    }

    /// Protocols by their names, as they stand under these settings.
    ///
    /// # Errors
    /// `unknown_protocol`, or `bad_value` when one is named twice.
    pub fn protocols<N: AsRef<str>>(
        &self,
        names: &[N],
        settings: &Settings,
    ) -> Result<Vec<EnabledProtocol>, ApiError> {
        let mut protocols: Vec<EnabledProtocol> = Vec::new();
        for name in names {
            let name = name.as_ref();
            let dialect = self.dialects.iter().find(|one| one.name() == name);
            let dialect = dialect.ok_or_else(|| {
                let hint = did_you_mean(name, self.dialects.iter().map(|one| one.name()));
                let message = format!("there is no protocol `{name}`{hint}");
                ApiError::new(Code::UnknownProtocol, message)
            })?;
            if protocols.iter().any(|protocol| *protocol.name == *name) {
                let message = format!("protocol `{name}` is named twice");
                return Err(ApiError::new(Code::BadValue, message));
            }
            protocols.push(EnabledProtocol {
                name: dialect.name().into(),
                default_open: dialect.default_open(settings),
            });
        }
        Ok(protocols)
    }

    /// What connections of an app keep of what is taken from a token.
    #[must_use]
    pub fn keeps(&self, app: &App) -> Option<&'static str> {
        let accepts = |name: &str| app.protocols.iter().any(|one| *one.name == *name);
        let mut spoken = self.dialects.iter().filter(|one| accepts(one.name()));
        spoken.find_map(|one| one.keeps(&app.settings))
    }

    /// The first of these settings that only operators may set.
    #[must_use]
    pub fn reserved<'a>(&self, given: &'a serde_json::Map<String, Value>) -> Option<&'a str> {
        let reserved = |name: &str| {
            let mut specs = self.settings.iter();
            specs.any(|spec| spec.operators_only && spec.name == name)
        };
        given.keys().map(String::as_str).find(|name| reserved(name))
    }

    /// What a change hands on to others that is not in the app's record for everybody to see: what its settings mean.
    #[must_use]
    pub fn hands_on(&self, before: &App, change: &AppChange) -> Capability {
        let after = after(before, change);
        let told = |spec: &SettingSpec| Self::newly(spec, &before.settings, &after.settings);
        let operations = self.settings.iter().map(told);
        let whole = Right {
            resource: Resource::Channel,
            pattern: Pattern::All,
            operations: operations.fold(Operations::NONE, Operations::or),
        };
        let already = Capability {
            rights: self.beside(before),
        };
        let mut rights = self.beside(&after);
        for right in &mut rights {
            let had = already.operations_over(right.resource, &right.pattern);
            right.operations = right.operations.without(had);
        }
        rights.push(whole);
        rights.retain(|right| !right.operations.is_empty());
        Capability { rights }
    }

    fn newly(spec: &SettingSpec, before: &Settings, after: &Settings) -> Operations {
        let value = |settings: &Settings| settings.get(spec.name).cloned();
        let on = |settings: &Settings| match settings.get(spec.name) {
            Some(SettingValue::Bool(on)) => *on,
            Some(SettingValue::Int(_) | SettingValue::Text(_)) | None => spec.default != 0,
        };
        let (was, is) = (value(before), value(after));
        match spec.hands_on {
            HandsOn::Given(operations) if is.is_some() && is != was => operations,
            HandsOn::On(operations) if on(after) && !on(before) => operations,
            HandsOn::Off(operations) if on(before) && !on(after) => operations,
            HandsOn::Nothing | HandsOn::Given(_) | HandsOn::On(_) | HandsOn::Off(_) => {
                Operations::NONE
            }
        }
    }

    /// What an app leaves open beside channels: what its only protocol does.
    fn beside(&self, app: &App) -> Vec<Right> {
        let [only] = app.protocols.as_slice() else {
            return Vec::new();
        };
        let mut dialects = self.dialects.iter();
        let dialect = dialects.find(|one| *one.name() == *only.name);
        dialect.map_or_else(Vec::new, |one| one.opens_beside(&app.settings))
    }

    /// Settings as given; `null` drops one back to its default.
    ///
    /// # Errors
    /// `unknown_setting`, for a wrong name or a value of another kind.
    pub fn settings(
        &self,
        given: &serde_json::Map<String, Value>,
    ) -> Result<BTreeMap<Text, Option<SettingValue>>, ApiError> {
        let read = |(name, value): (&String, &Value)| {
            let spec = match name.split_once(AT) {
                None => self.spec(name)?,
                Some((base, namespace)) => self.namespaced(base, namespace)?,
            };
            Ok((name.as_str().into(), setting(spec, value)?))
        };
        given.iter().map(read).collect()
    }

    fn spec(&self, name: &str) -> Result<&SettingSpec, ApiError> {
        let spec = self.settings.iter().find(|spec| spec.name == name);
        spec.ok_or_else(|| {
            let hint = did_you_mean(name, self.settings.iter().map(|spec| spec.name));
            let message = format!("there is no setting `{name}`{hint}");
            ApiError::new(Code::UnknownSetting, message)
        })
    }

    fn namespaced(&self, base: &str, namespace: &str) -> Result<&SettingSpec, ApiError> {
        let spec = self.spec(base)?;
        let wrong = |message| Err(ApiError::new(Code::UnknownSetting, message));
        if !spec.by_namespace {
            return wrong(format!("setting `{base}` is the app's, not a namespace's"));
        }
        let plain = |letter: char| letter != ':' && letter != AT && !letter.is_control();
        match !namespace.is_empty()
            && namespace.len() <= NAMESPACE_BYTES
            && namespace.chars().all(plain)
        {
            true => Ok(spec),
            false => wrong(format!(
                "`{namespace}` is no namespace: a channel's name up to its first `:`"
            )),
        }
    }

    /// Rules by namespace, as settings: `{"chat": {"history_ms": 1}}` is `history_ms@chat`; `null` drops all of one.
    ///
    /// # Errors
    /// `unknown_setting` for what is no object.
    pub fn flattened(
        &self,
        settings: &serde_json::Map<String, Value>,
        namespaces: &serde_json::Map<String, Value>,
    ) -> Result<serde_json::Map<String, Value>, ApiError> {
        let mut all = settings.clone();
        for (namespace, rules) in namespaces {
            match rules {
                Value::Object(rules) => all.extend(
                    rules
                        .iter()
                        .map(|(name, value)| (format!("{name}{AT}{namespace}"), value.clone())),
                ),
                Value::Null => {
                    let names = self.settings.iter().filter(|spec| spec.by_namespace);
                    all.extend(
                        names.map(|spec| (format!("{}{AT}{namespace}", spec.name), Value::Null)),
                    );
                }
                Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                    let message = format!("the rules of namespace `{namespace}` are an object");
                    return Err(ApiError::new(Code::UnknownSetting, message));
                }
            }
        }
        Ok(all)
    }
}

/// The app's protocols and settings as a change leaves them.
fn after(before: &App, change: &AppChange) -> App {
    let mut app = before.clone();
    if let Some(protocols) = &change.protocols {
        app.protocols.clone_from(protocols);
    }
    for (name, value) in &change.settings {
        match value {
            Some(value) => app.settings.insert(name.clone(), value.clone()),
            None => app.settings.remove(name),
        };
    }
    app
}

fn setting(spec: &SettingSpec, value: &Value) -> Result<Option<SettingValue>, ApiError> {
    let wrong = |kind: &str| {
        let message = format!("setting `{}` is {kind}", spec.name);
        Err(ApiError::new(Code::UnknownSetting, message))
    };
    if value.is_null() {
        return Ok(None);
    }
    match spec.kind {
        SettingKind::Switch => match value.as_bool() {
            Some(on) => Ok(Some(SettingValue::Bool(on))),
            None => wrong("true or false"),
        },
        SettingKind::Number => match value.as_u64() {
            Some(number) => Ok(Some(SettingValue::Int(number))),
            None => wrong("a whole number, not negative"),
        },
        SettingKind::Text => match value.as_str() {
            Some(text) => super::text::label(spec.name, text).map(|t| Some(SettingValue::Text(t))),
            None => wrong("a text"),
        },
        SettingKind::Document(check) => match check(value) {
            Ok(text) => Ok(Some(SettingValue::Text(text.into()))),
            Err(why) => wrong(&format!("not usable: {why}")),
        },
    }
}

impl Catalog {
    /// Every setting an app with these settings goes by, said or not.
    #[must_use]
    pub fn effective(&self, said: &Settings) -> serde_json::Map<String, Value> {
        let value = |spec: &SettingSpec| {
            let value = match (said.get(spec.name), spec.kind) {
                (Some(value), _) => setting_json(value),
                (None, SettingKind::Switch) => (spec.default != 0).into(),
                (None, SettingKind::Number) => spec.default.into(),
                (None, SettingKind::Text | SettingKind::Document(_)) => Value::Null,
            };
            (spec.name.to_owned(), value)
        };
        self.settings.iter().map(value).collect()
    }
}

/// Settings as `/v1` shows them: the app's own, and those of its namespaces by namespace.
#[must_use]
pub fn settings_json(settings: &Settings) -> (Shown, BTreeMap<&str, Shown>) {
    let mut own = Shown::new();
    let mut namespaces: BTreeMap<&str, Shown> = BTreeMap::new();
    for (name, value) in settings {
        let (base, into) = match name.split_once(AT) {
            Some((base, namespace)) => (base, namespaces.entry(namespace).or_default()),
            None => (&**name, &mut own),
        };
        into.insert(base.to_owned(), setting_json(value));
    }
    (own, namespaces)
}

/// A setting's value as JSON.
#[must_use]
pub fn setting_json(value: &SettingValue) -> Value {
    match value {
        SettingValue::Bool(on) => (*on).into(),
        SettingValue::Int(number) => (*number).into(),
        // A document is shown as the JSON it was given as.
        SettingValue::Text(text) if text.starts_with(['[', '{']) => {
            serde_json::from_str(text).unwrap_or_else(|_| (**text).into())
        }
        SettingValue::Text(text) => (**text).into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::adapters::dialect::fixture::Named;
    use serde_json::json;

    fn catalog() -> Catalog {
        let setting = |name, kind| SettingSpec {
            name,
            kind,
            operators_only: false,
            hands_on: HandsOn::Nothing,
            by_namespace: name == "history_ms",
            default: 0,
        };
        Catalog {
            dialects: &[&Named("pusher"), &Named("ably")],
            settings: vec![
                setting("client_events", SettingKind::Switch),
                setting("history_ms", SettingKind::Number),
            ],
        }
    }

    #[test]
    fn protocols_are_known_and_named_once() {
        let protocols = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            catalog().protocols(&names, &Settings::new())
        };
        assert_eq!(protocols(&["pusher", "ably"]).unwrap().len(), 2);
        assert!(
            protocols(&["pushr"])
                .unwrap_err()
                .message
                .contains("`pusher`")
        );
        assert!(protocols(&["ably", "ably"]).is_err());
    }

    #[test]
    fn settings_have_a_name_and_a_kind() {
        let read = |value: Value| catalog().settings(value.as_object().unwrap());
        let given = read(json!({"client_events": true, "history_ms": null})).unwrap();
        assert_eq!(
            given.get("client_events"),
            Some(&Some(SettingValue::Bool(true)))
        );
        assert_eq!(given.get("history_ms"), Some(&None));
        for bad in [
            json!({"history_ms": -1}),
            json!({"client_events": "yes"}),
            json!({"x": 1}),
        ] {
            assert_eq!(read(bad).unwrap_err().code, Code::UnknownSetting);
        }
        let rule = read(json!({"history_ms@chat": 7})).unwrap();
        assert_eq!(
            rule.get("history_ms@chat"),
            Some(&Some(SettingValue::Int(7)))
        );
        for bad in [
            json!({"client_events@chat": true}),
            json!({"history_ms@": 1}),
            json!({"history_ms@a:b": 1}),
            json!({"history@chat": 1}),
        ] {
            assert_eq!(read(bad).unwrap_err().code, Code::UnknownSetting);
        }
        let slip = read(json!({"client_event": true})).unwrap_err();
        assert!(slip.message.contains("`client_events`"));
    }

    #[test]
    fn namespaces_are_flat_inside_and_shown_apart() {
        let object = |value: Value| value.as_object().unwrap().clone();
        let flat = catalog().flattened(
            &object(json!({"client_events": true})),
            &object(json!({"chat": {"history_ms": 7}, "old": null})),
        );
        let flat = flat.unwrap();
        let wanted = json!({"client_events": true, "history_ms@chat": 7, "history_ms@old": null});
        assert_eq!(Value::Object(flat.clone()), wanted);
        let read = catalog().settings(&flat).unwrap();
        let kept = read
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        let (own, namespaces) = settings_json_owned(&kept.collect());
        assert_eq!(own, json!({"client_events": true}));
        assert_eq!(namespaces, json!({"chat": {"history_ms": 7}}));
        let wrong = catalog().flattened(&object(json!({})), &object(json!({"chat": 1})));
        assert!(wrong.is_err());
    }

    fn settings_json_owned(settings: &Settings) -> (Value, Value) {
        let (own, namespaces) = settings_json(settings);
        (own.into(), json!(namespaces))
    }
}
