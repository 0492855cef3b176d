//! A command with what is said about it in the audit, and how much of the audit is kept.
//!
//! **Why what is said is checked here:** it is stored for good, and shown to people on their terminals.

use super::super::limits::{self, Limits};
use super::super::{Asked, AuditRetention, Command, Effect, Rejection, Reply, State};
use super::{Result, run_if_known};

/// What concerns the audit; every other command is none of this file's.
pub(super) fn of_audit(state: &mut State, command: &Command, effects: &mut Vec<Effect>) -> Result {
    if let Command::Asked(one) = command {
        return asked(state, one, effects);
    }
    if let Command::KeepAudit(retention) = command {
        return keep(state, *retention);
    }
    Ok(Reply::Done)
}

fn asked(state: &mut State, asked: &Asked, effects: &mut Vec<Effect>) -> Result {
    if matches!(asked.command, Command::Asked(_)) {
        let why = "a reason is given once";
        return Err(Rejection::Invalid(why.into()));
    }
    if let Some(provider) = &asked.provider {
        limits::word("provider", provider)?;
    }
    if let Some(reason) = &asked.reason {
        limits::name("reason", reason, Limits::REASON_TEXT)?;
        if reason.chars().any(char::is_control) {
            let why = "the reason has a control character in it";
            return Err(Rejection::Invalid(why.into()));
        }
    }
    run_if_known(state, &asked.command, effects)
}

fn keep(state: &mut State, keep: AuditRetention) -> Result {
    keep.check()?;
    if state.audit.retention() == keep {
        return Ok(Reply::Changed(0));
    }
    state.audit.keep(keep);
    Ok(Reply::Changed(1))
}
