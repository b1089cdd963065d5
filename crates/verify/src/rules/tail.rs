//! Rule 8: what is stored is seen soon, also when nothing follows.

use std::collections::HashMap;

use super::{
    Judge, order,
    world::{SECOND, Stay, World},
};
use crate::record::{Entry, Event};

/// How soon.
const WITHIN: u64 = 5 * SECOND;
/// How long after a fault a connector may look for an owner that reaches the store:
/// 3 s until a link or the store counts as lost, 5 s between two claims, and a
/// connection.
pub(crate) const RECOVER: u64 = 10 * SECOND;

/// 8: whoever is in a room gets every entry within 5 s of the first sign of it, or of the
/// recovery from what its own connector or the room's own shard felt.
pub(crate) fn in_time(world: &World<'_>, judge: &mut Judge) {
    let mut stays: HashMap<&str, Vec<&Stay<'_>>> = HashMap::new();
    for stay in &world.stays {
        stays.entry(stay.room).or_default().push(stay);
    }
    for (room, stays) in stays {
        let Some(log) = world.logs.get(room) else { continue };
        let seen: Vec<_> = stays.iter().map(|stay| sights(world, stay)).collect();
        let mut excuses = HashMap::new();
        for connector in stays.iter().map(|stay| stay.connector) {
            let felt = || world.excuses(room, &[connector]).unplanned();
            excuses.entry(connector).or_insert_with(felt);
        }
        for (seq, (logged, entry)) in &log.entries {
            let Some(content) = entry.content.as_deref() else { continue };
            let Some(known) = first_sign(world, room, content, *seq, &seen) else { continue };
            for (stay, seen) in stays.iter().zip(&seen) {
                if stay.is_told(entry) != Some(true) || !was_there(world, stay, entry, *seq, known)
                {
                    continue;
                }
                let excuses = &excuses[stay.connector];
                let due = [known, stay.entered].map(|line| excuses.due(world.at(line), WITHIN));
                let due = due[0].max(due[1]);
                let saw = seen.get(seq).copied();
                // It is too late to tell, or too soon.
                if due >= world.at(world.ended(stay)) && saw.is_none_or(|at| world.at(at) > due) {
                    continue;
                }
                let is_kept = saw.is_some_and(|at| world.at(at) <= due);
                let lines = [known, stay.entered, saw.unwrap_or(*logged), world.ended(stay)];
                judge.check(is_kept, &lines, || {
                    let late = if saw.is_some() { "late" } else { "never" };
                    format!("{room}: session {} saw entry {seq} {late}", stay.session)
                });
            }
        }
    }
}

/// What a session saw, by number: the line.
fn sights(world: &World<'_>, stay: &Stay<'_>) -> HashMap<u64, usize> {
    let pushes = stay.seen.iter().filter_map(|&line| {
        let Event::Pushed { content, position, .. } = &world.lines[line].event else { return None };
        Some((world.seq(stay.room, position.as_ref(), content)?, line))
    });
    pushes.collect()
}

/// The line by which anybody knew that the entry is stored.
fn first_sign(
    world: &World<'_>,
    room: &str,
    content: &str,
    seq: u64,
    seen: &[HashMap<u64, usize>],
) -> Option<usize> {
    let sends = world.words.get(&(room, content)).into_iter().flatten();
    let answers = sends.filter_map(|sent| world.sends[*sent].answer);
    let acks = answers.filter(|answer| answer.code == 200).map(|answer| answer.line);
    acks.chain(seen.iter().filter_map(|seen| seen.get(&seq).copied())).min()
}

/// True if the session was in the room when the entry came, or asked for what it
/// missed.
fn was_there(world: &World<'_>, stay: &Stay<'_>, entry: &Entry, seq: u64, known: usize) -> bool {
    // What a verdict said is not there.
    let told = stay.seen.iter().rev().find_map(|&line| match &world.lines[line].event {
        Event::Told { verdict, .. } => verdict.position.as_ref(),
        _ => None,
    });
    if told.is_some_and(|position| position.seq >= seq) {
        return false;
    }
    if world.ended(stay) < known {
        return false;
    }
    match order::floor(stay) {
        Some(floor) => seq > floor,
        None => {
            let content = entry.content.as_deref().unwrap_or_default();
            let sends = world.words.get(&(stay.room, content));
            sends.is_some_and(|sends| world.sends[sends[0]].line > stay.entered)
        }
    }
}
