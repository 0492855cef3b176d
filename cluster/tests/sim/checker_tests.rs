//! The checker itself, on histories whose verdict is known.

use super::chance;
use super::checker::{Call, Right, RightOp, Verdict, check, parse};

fn verdict(text: &str) -> bool {
    let calls: Vec<Call<RightOp>> = text
        .split(';')
        .filter(|line| !line.trim().is_empty())
        .flat_map(|line| parse(line).unwrap_or_else(|| panic!("{line}")))
        .collect();
    match check::<Right>(&calls) {
        Verdict::Linearizable => true,
        Verdict::Not(_) => false,
        Verdict::GaveUp => panic!("gave up"),
    }
}

#[test]
fn histories_that_are_in_order_pass() {
    for history in [
        "",
        "0 1 refused",
        "0 1 grant; 2 3 allowed; 4 5 revoke 1; 6 7 refused",
        // Concurrent with the grant: either answer.
        "0 9 grant; 1 2 refused; 3 4 allowed; 10 11 allowed",
        // While a revoke is on its way any node may answer by the old truth, in any order.
        "0 1 grant; 2 9 revoke 1; 3 4 refused; 5 6 allowed; 7 8 refused; 10 11 refused",
        // Granted again while the revoke returns: the grant stands.
        "0 1 grant; 2 9 revoke 1; 3 4 grant; 10 11 allowed",
        "0 9 grant; 1 8 revoke 1; 10 11 refused",
        "0 9 grant; 1 8 revoke 1; 10 11 allowed",
        // Outcome unknown: may have happened, at any later moment, or never.
        "0 - grant; 1 2 refused; 3 4 allowed",
        "0 - grant; 1 2 refused; 3 4 refused",
        "0 1 grant; 2 - revoke 1; 3 4 allowed; 5 6 refused; 7 8 allowed",
        // Two revokes at once over one grant.
        "0 1 grant; 2 6 revoke 1; 3 9 revoke 2; 4 5 allowed; 7 8 refused; 10 11 refused",
    ] {
        assert!(verdict(history), "should pass: {history}");
    }
}

#[test]
fn known_violations_are_found() {
    for history in [
        // Served without a grant.
        "0 1 allowed",
        // A grant that had returned was not seen.
        "0 1 grant; 2 3 refused",
        // A message served after the revoke had returned (the promise itself).
        "0 1 grant; 2 3 revoke 1; 4 5 allowed",
        // A grant that was acknowledged and lost.
        "0 1 grant; 2 3 allowed; 4 5 refused",
        // A revoke that was acknowledged and undone.
        "0 1 grant; 2 3 revoke 1; 4 5 refused; 6 7 allowed",
        // Seen before it was asked for.
        "0 1 allowed; 2 3 grant",
        // An unknown grant cannot explain what was served before it began.
        "0 1 allowed; 2 - grant",
        // The first return promises for the other as well.
        "0 1 grant; 2 6 revoke 1; 3 9 revoke 2; 7 8 allowed",
        // Both revokes have returned.
        "0 1 grant; 2 6 revoke 1; 3 9 revoke 2; 10 11 allowed",
        // Refused for want of a right that stood all the time.
        "0 1 grant; 2 9 grant; 3 4 refused",
        // An unknown revoke takes effect once: it cannot explain a refusal after a later grant was seen twice.
        "0 1 grant; 2 - revoke 1; 3 4 refused; 5 6 grant; 7 8 refused; 9 10 grant; 11 12 refused",
    ] {
        assert!(!verdict(history), "should be found: {history}");
    }
}

/// Histories made from a real order of effects pass; the same with one answer turned round mostly do not.
#[test]
fn made_histories_pass_and_broken_ones_are_mostly_found() {
    chance::seed(7);
    let (mut found, mut broken) = (0, 0);
    for _ in 0..300 {
        // Every call takes effect at one moment inside its interval, so the history is linearizable.
        let mut granted = false;
        let mut calls = Vec::new();
        for number in 0..40u64 {
            let effect = number * 100;
            let began = effect.saturating_sub(chance::below(250));
            let ended = effect + 1 + chance::below(250);
            let row = |op| Call {
                op,
                began,
                ended: Some(ended),
            };
            match chance::below(4) {
                0 => {
                    granted = true;
                    calls.push(row(RightOp::Grant));
                }
                1 => {
                    granted = false;
                    calls.extend(super::checker::revoke(number as u16, began, Some(ended)));
                }
                _ if granted => calls.push(row(RightOp::Allowed)),
                _ => calls.push(row(RightOp::Refused)),
            }
        }
        assert!(
            matches!(check::<Right>(&calls), Verdict::Linearizable),
            "{calls:?}"
        );
        let checks: Vec<usize> = (0..calls.len())
            .filter(|at| matches!(calls[*at].op, RightOp::Allowed | RightOp::Refused))
            .collect();
        let at = chance::pick(&checks);
        calls[at].op = match calls[at].op {
            RightOp::Allowed => RightOp::Refused,
            _ => RightOp::Allowed,
        };
        // Shrunk to a moment, so that concurrency excuses little.
        let effect = (calls[at].began + calls[at].ended.unwrap()) / 2;
        (calls[at].began, calls[at].ended) = (effect, Some(effect));
        broken += 1;
        found += usize::from(matches!(check::<Right>(&calls), Verdict::Not(_)));
    }
    assert!(found * 3 > broken, "only {found} of {broken}");
}
