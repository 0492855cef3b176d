//! A token that was refused because nobody here knows its key: its provider may have a new one.
//!
//! **Must never know:** how keys are fetched. **Why looked at once more after the refusal:** whoever refuses has a reason and no
//! provider; a token that is taken pays nothing for this.

use super::compact::Compact;
use super::token::provider_of;
use crate::core::authority::{AppId, Authority, Provider, State, Text};

/// Wants the keys of a refused token's provider fetched, if it is one that keys are fetched of and has none of that id.
pub fn want_key(authority: &Authority, within: Option<AppId>, text: &str) {
    if let Some((app, provider)) = lacking(&authority.view(), within, text) {
        authority.want_keys(app, provider);
    }
}

fn lacking(state: &State, within: Option<AppId>, text: &str) -> Option<(AppId, Text)> {
    let compact = Compact::parse(text).ok()?;
    let (provider, _) = provider_of(state, within, &compact).ok()?;
    let lacks = |one: &&Provider| {
        one.enabled && one.source.url().is_some() && one.key(&compact.kid).is_none()
    };
    let provider = Some(provider).filter(lacks)?;
    Some((provider.app, provider.id.clone()))
}
