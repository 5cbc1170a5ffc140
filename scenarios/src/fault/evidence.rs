//! Where witnesses come from: notes of the data path, the reaper, and the observer of states.
//!
//! Nothing here asks an injector whether it succeeded.

use std::time::Instant;

use super::{Window, Witness, World};
use crate::process::{Exit, Process, State};
use crate::proxy::{Attempt, Fate, Link, RuleId, Silence};

/// An attempt in the window that one of these rules decided, with the wanted fate.
pub(super) fn under_rule(
    links: &[Link],
    window: Window,
    rules: &[RuleId],
    wanted: impl Fn(&Fate) -> bool,
) -> Option<Attempt> {
    attempts(links, window)
        .into_iter()
        .find(|attempt| attempt.rules.iter().any(|r| rules.contains(r)) && wanted(&attempt.fate))
}

/// An attempt that shows the server gone: it could not be reached, or ended a connection that the
/// client had not ended.
pub(super) fn gone(links: &[Link], window: Window) -> Option<Attempt> {
    let wanted = |fate: &Fate| matches!(fate, Fate::Unreachable { .. } | Fate::Ended { .. });
    attempts(links, window)
        .into_iter()
        .find(|attempt| wanted(&attempt.fate))
}

/// An attempt that shows the server mute: what was sent to it had no answer before the window
/// closed.
pub(super) fn mute(links: &[Link], window: Window) -> Option<Attempt> {
    let until = window.until();
    attempts(links, window)
        .into_iter()
        .find(|attempt| match attempt.fate {
            Fate::Unanswered {
                silence: Silence::Answered,
            } => attempt.last >= until,
            Fate::Unanswered {
                silence: Silence::Lasts | Silence::GivenUp,
            } => true,
            _ => false,
        })
}

fn attempts(links: &[Link], window: Window) -> Vec<Attempt> {
    links
        .iter()
        .flat_map(|link| link.attempts(window.from, window.until()))
        .collect()
}

/// The kernel's word that every victim was ended by signal 9 within the window, and another process
/// in its place.
pub(super) fn killed(world: &dyn World, victims: &[Process], window: Window) -> Option<Witness> {
    let mut told = Vec::new();
    let mut at: Option<Instant> = None;
    for victim in victims {
        let ended = victim.ended()?;
        let successor = world.process(victim.role())?;
        let in_time = ended.at >= window.from;
        let replaced = successor.identity() != victim.identity() && successor.spawned() >= ended.at;
        if ended.exit != Exit::Signal(9) || !in_time || !replaced {
            return None;
        }
        told.push(format!(
            "{} pid {} ended by {}, pid {} started in its place",
            victim.role(),
            victim.pid(),
            ended.exit,
            successor.pid()
        ));
        at = at.max(Some(ended.at));
    }
    let what = "signal 9 and a new pid".to_owned();
    Some(Witness {
        what,
        evidence: told.join("; "),
        at: at?,
    })
}

/// The observer's word that every victim stood still within the window: state T at two looks in a
/// row, and no CPU time used between them.
pub(super) fn stopped(world: &dyn World, victims: &[Process], window: Window) -> Option<Witness> {
    let mut told = Vec::new();
    let mut at: Option<Instant> = None;
    for victim in victims {
        let seen = world
            .watcher()
            .seen(victim.identity(), window.from, window.until());
        let still = seen
            .into_iter()
            .find(|seen| seen.state == State::Stopped && seen.looks >= 2 && seen.cpu.is_zero())?;
        told.push(format!(
            "{} pid {} seen in state T at {} looks over {:.1?}, no CPU time used",
            victim.role(),
            victim.pid(),
            still.looks,
            still.last.duration_since(still.first)
        ));
        at = at.max(Some(still.first));
    }
    Some(Witness {
        what: "state T".to_owned(),
        evidence: told.join("; "),
        at: at?,
    })
}

/// What was seen of processes is enough if one of them is the system under test. Otherwise it has
/// yet to be shown that the system under test noticed.
pub(super) fn felt(
    world: &dyn World,
    victims: &[Process],
    seen: Option<Witness>,
    noticed: impl FnOnce(&[Link]) -> Option<Attempt>,
) -> Option<Witness> {
    let seen = seen?;
    if victims.iter().any(|victim| victim.role() == world.sut()) {
        return Some(seen);
    }
    let links: Vec<Link> = victims
        .iter()
        .flat_map(|victim| world.links_to(victim.role()))
        .collect();
    let attempt = noticed(&links)?;
    let evidence = format!("{}; {}", seen.evidence, attempt.describe());
    Some(Witness {
        evidence,
        at: attempt.at.max(seen.at),
        ..seen
    })
}

/// A witness made of one attempt.
pub(super) fn by_attempt(what: &str, attempt: &Attempt) -> Witness {
    Witness {
        what: what.to_owned(),
        evidence: attempt.describe(),
        at: attempt.at,
    }
}
