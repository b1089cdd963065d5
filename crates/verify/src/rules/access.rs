//! Rules 10, 11 and 14: who gets in, and who gets to see what.

use std::collections::HashMap;

use super::{
    Judge,
    faults::Excuses,
    world::{Attempt, SECOND, Stay, World},
};
use crate::record::{Entry, Event};

/// How long two sessions may be in under one name, once they should not.
const WITHIN: u64 = 5 * SECOND;

/// 10: nobody else gets in under a name that is held, and nobody sees anything of a
/// room before.
pub(crate) fn asked_again(world: &World<'_>, judge: &mut Judge) {
    for line in &world.strays {
        judge.broken(&[*line], || "shown to a session that is in no room".to_owned());
    }
    let mut stays: HashMap<(&str, &str), Vec<&Stay<'_>>> = HashMap::new();
    for stay in world.stays.iter().filter(|stay| stay.extended) {
        stays.entry((stay.room, stay.name)).or_default().push(stay);
    }
    for attempt in &world.attempts {
        let holders = stays.get(&(attempt.room, attempt.name)).into_iter().flatten();
        let held = holders.filter(|stay| holds_against(world, stay, attempt));
        for holder in held {
            let is_kept = attempt.code != 200;
            judge.check(is_kept, &[holder.entered, attempt.asked, attempt.answered], || {
                let Attempt { room, name, .. } = attempt;
                format!("{room}: somebody else got in as {name}, who was there")
            });
        }
    }
}

/// True if a session was surely in when somebody else wanted its name.
fn holds_against(world: &World<'_>, stay: &Stay<'_>, attempt: &Attempt<'_>) -> bool {
    let (from, to) = (world.at(attempt.asked), world.at(attempt.answered));
    stay.identity != attempt.identity
        && stay.entered < attempt.asked
        && stay.ended.is_none_or(|ended| ended > attempt.answered)
        && !world.excuses(stay.room, &[stay.connector, attempt.connector]).is_disturbed(from, to, 0)
}

/// 11: after a successor was let in, the one before is refused, and closed.
pub(crate) fn one_session(world: &World<'_>, judge: &mut Judge) {
    let mut stays: HashMap<(&str, &str), Vec<usize>> = HashMap::new();
    for (number, stay) in world.stays.iter().enumerate() {
        stays.entry((stay.room, stay.name)).or_default().push(number);
    }
    for ((room, name), numbers) in &stays {
        for pair in numbers.windows(2) {
            let (older, younger) = (&world.stays[pair[0]], &world.stays[pair[1]]);
            if older.ended.is_some_and(|ended| ended < younger.entered) {
                continue;
            }
            let excuses = world.excuses(room, &[older.connector, younger.connector]);
            let due = excuses.due(world.at(younger.entered), WITHIN);
            let ended = world.ended(older).min(world.ended(younger));
            if due > world.end {
                continue;
            }
            let lines = [older.entered, younger.entered, ended];
            judge.check(world.at(ended) <= due, &lines, || {
                format!("{room}: two sessions are in as {name}")
            });
            // Who was let in later may have heard of it earlier.
            let is_late = world.ended(younger) < world.ended(older);
            let (loser, winner) = match is_late && was_superseded(world, younger) {
                true => (pair[1], older),
                false => (pair[0], younger),
            };
            refused(world, &excuses, loser, winner.entered, judge);
        }
    }
}

/// True if a session was closed because somebody else had its name.
fn was_superseded(world: &World<'_>, stay: &Stay<'_>) -> bool {
    let closed = stay.ended.map(|line| &world.lines[line].event);
    let says = |reason: &str| ["superseded", "logged in"].iter().any(|word| reason.contains(word));
    matches!(closed, Some(Event::Closed { by_client: false, reason, .. }) if says(reason))
}

/// What the one of two who is not in any more says is refused.
fn refused(
    world: &World<'_>,
    excuses: &Excuses<'_>,
    loser: usize,
    successor: usize,
    judge: &mut Judge,
) {
    let sends = world.sends.iter().filter(|sent| sent.stay == loser && sent.line > successor);
    for sent in sends {
        let Some(answer) = sent.answer else { continue };
        let known = &world.words[&(world.stays[loser].room, sent.content)];
        let is_first = world.sends[known[0]].line == sent.line;
        let (from, to) = (world.at(successor), world.at(answer.line));
        if !is_first || excuses.is_disturbed(from, to, WITHIN) {
            continue;
        }
        judge.check(answer.code != 200, &[successor, sent.line, answer.line], || {
            "a session spoke after its successor was let in".to_owned()
        });
    }
}

/// 14: a whisper is for its author and its target.
pub(crate) fn whispers(world: &World<'_>, judge: &mut Judge) {
    for stay in &world.stays {
        for &line in &stay.seen {
            let Event::Pushed { from, target, content, position, .. } = &world.lines[line].event
            else {
                continue;
            };
            if target == "*" {
                continue;
            }
            let seq = world.seq(stay.room, position.as_ref(), content);
            let entry = world.logs.get(stay.room).and_then(|log| log.entries.get(&seq?));
            let is_theirs = entry.is_none_or(|(_, entry)| stay.may_read(entry) != Some(false));
            // Its own ones a session sees when it comes back, and has lost the answer.
            let is_missed = stay.position.is_some_and(|at| seq.is_some_and(|seq| seq <= at.seq));
            let is_own = from == stay.name && is_missed;
            judge.check(
                is_theirs && (target == stay.name || is_own),
                &[stay.entered, line],
                || format!("{}: a whisper for {target} was pushed to {}", stay.room, stay.name),
            );
        }
    }
    for page in &world.pages {
        let stay = &world.stays[page.stay];
        let Event::Page { entries, .. } = &world.lines[page.line].event else { continue };
        let Some(log) = world.logs.get(stay.room) else { continue };
        for shown in entries.iter().filter(|shown| shown.target != "*") {
            let entry: Option<&&Entry> = log.entries.get(&shown.seq).map(|(_, entry)| entry);
            let is_theirs = entry.is_none_or(|entry| stay.may_read(entry) != Some(false));
            judge.check(is_theirs, &[stay.entered, page.line], || {
                format!("{}: {} reads a whisper of others, {}", stay.room, stay.name, shown.seq)
            });
        }
    }
}
