//! Access effects carried out on one connection: rights that it loses, and the end of its protocol in its app.

use super::actor::Connection;
use super::messages::EnforceEffects;
use crate::core::authority::{AppId, Cut, Effect, State};
use crate::core::close::End;
use actix::prelude::*;

impl Connection {
    /// Why the connection has to end in this state of the app: its protocol is not enabled any more.
    pub(super) fn closed_to(&self, app: AppId, state: &State) -> Option<Cut> {
        let app = state.apps.get(&app)?;
        let mut enabled = app.protocols.iter();
        (!enabled.any(|one| *one.name == *self.stranger.dialect)).then_some(Cut::Disabled)
    }

    fn cut_by(&self, effect: &Effect, after: &State) -> Option<Cut> {
        let own = self.state.principal()?.app;
        match effect {
            Effect::AppChanged(app) if *app == own => self.closed_to(own, after),
            Effect::AppChanged(_)
            | Effect::Recheck { .. }
            | Effect::Cut { .. }
            | Effect::CutAll { .. }
            | Effect::MembersChanged => None,
        }
    }
}

impl Handler<EnforceEffects> for Connection {
    type Result = bool;
    fn handle(&mut self, message: EnforceEffects, cx: &mut Context<Self>) -> bool {
        let mut outputs = Vec::new();
        let authority = self.authority().clone();
        let effects = message.0.effects.iter();
        let cut = effects
            .filter_map(|effect| {
                let after = &message.0.state;
                let closed = self.cut_by(effect, after);
                self.state
                    .enforce(effect, after, &authority, &mut outputs)
                    .or(closed)
            })
            .last();
        if self.is_ending() {
            // It is on its way out already; what it had queued goes no further.
            self.outbox.drop_queued();
            // The entries that wait for its return are let go of as they would be with a socket.
            if self.lingering.is_some() {
                self.apply(outputs, cx);
                if cut.is_some() {
                    cx.stop();
                }
            }
            return false;
        }
        // First what single subscriptions lose: the state has let go of them, and only this tells their channels.
        self.apply(outputs, cx);
        let ends = cut.is_some();
        if let Some(cut) = cut {
            self.finish(Some(End::Cut(cut)), None, cx);
        }
        ends
    }
}
