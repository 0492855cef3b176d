//! Blocks: a subject may not use the app until the block ends.
//!
//! **Why a block is no revocation:** a revoked subject may come back with a new credential; a blocked one may not,
//! whatever it holds.

use super::super::limits::{self, Limits};
use super::super::{
    AppId, Block, Cut, Effect, Issuer, Millis, Rejection, Reply, State, Subject, Text,
};
use super::issuer::{authority, target_of};
use super::{Result, cut, recheck};

pub(super) fn block(
    state: &mut State,
    (app, issuer, subject): (AppId, &Issuer, &Subject),
    for_ms: Option<Millis>,
    reason: &Text,
    effects: &mut Vec<Effect>,
) -> Result {
    check(state, app, issuer, subject)?;
    limits::label("reason", reason)?;
    if for_ms == Some(0) {
        return Err(Rejection::Invalid("a block of 0 ms ends at once".into()));
    }
    limits::at_most("blocks", state.blocks.len() + 1, Limits::BLOCKS)?;
    let record = Block {
        until_ms: for_ms.map(|span| state.time_ms.saturating_add(span)),
        reason: reason.clone(),
        revision: state.revision,
    };
    state.put_block(app, subject.clone(), record);
    effects.push(cut(state, app, &target_of(subject), Cut::Blocked));
    Ok(Reply::Narrowed(1))
}

pub(super) fn unblock(
    state: &mut State,
    app: AppId,
    issuer: &Issuer,
    subject: &Subject,
    effects: &mut Vec<Effect>,
) -> Result {
    check(state, app, issuer, subject)?;
    state.drop_block(app, subject).ok_or(Rejection::NotFound)?;
    effects.push(recheck(state, app, subject));
    Ok(Reply::Done)
}

fn check(state: &State, app: AppId, issuer: &Issuer, subject: &Subject) -> Result<()> {
    let authority = authority(state, app, issuer)?;
    limits::subject(subject)?;
    match subject {
        Subject::Everyone => {
            return Err(Rejection::Invalid(
                "disable the app to keep everyone out".into(),
            ));
        }
        Subject::Key(key) => {
            state.key_of(app, key).ok_or(Rejection::NoSuchKey)?;
        }
        Subject::User(_) | Subject::Token(_) | Subject::Group(_) => {}
    }
    authority.may_end(state, app, &target_of(subject))
}
