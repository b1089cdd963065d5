//! Rule 9: what a session that comes back is told.

use std::collections::{HashMap, HashSet};

use super::{
    Judge,
    world::{Attempt, Log, SECOND, World},
};
use crate::record::{Event, Position};

/// Entries that a session may have missed and is told all of, at least.
const REPLAYED: u64 = 500;

/// How long a name may be held by somebody who is not there any more.
const HELD: u64 = 30 * SECOND;

/// 9: exactly one verdict, and a true one.
pub(crate) fn verdicts(world: &World<'_>, judge: &mut Judge) {
    let stays: HashMap<usize, usize> =
        world.stays.iter().enumerate().map(|(number, stay)| (stay.entered, number)).collect();
    for attempt in world.attempts.iter().filter(|attempt| attempt.extended) {
        let lines = [attempt.asked, attempt.answered];
        let (Some(resume), Some(log)) = (attempt.resume, world.logs.get(attempt.room)) else {
            if attempt.verdict.is_some() {
                judge.broken(&lines, || "a verdict, and nobody asked for one".to_owned());
            }
            continue;
        };
        if !matches!(attempt.code, 200 | 403) {
            continue;
        }
        let Some(verdict) = attempt.verdict else {
            judge.broken(&lines, || "no verdict".to_owned());
            continue;
        };
        let is_kept = match (verdict.kind.as_str(), attempt.code) {
            ("complete", 200) => is_complete(world, attempt, resume, log),
            ("truncated", 200) => is_truncated(world, resume, log, verdict.first),
            ("reset", 200) => {
                world.may_lose()
                    || resume.epoch != log.epoch
                    || resume.seq > known_head(world, attempt)
            }
            ("denied", 403) => had_another(world, attempt),
            _ => false,
        };
        judge.check(is_kept, &lines, || {
            format!("{}: {} for one who was at {}", attempt.room, verdict.kind, resume.seq)
        });
        let Some(stay) = stays.get(&attempt.answered).filter(|_| verdict.kind == "complete") else {
            continue;
        };
        replayed(world, *stay, resume, log, judge);
    }
}

/// Nobody ahead of the log, or of another epoch, is told that nothing is missing.
fn is_complete(world: &World<'_>, attempt: &Attempt<'_>, resume: &Position, log: &Log<'_>) -> bool {
    let Some(position) = attempt.position else { return false };
    let is_one = resume.epoch == log.epoch && position.epoch == log.epoch;
    (is_one || world.may_lose()) && resume.seq <= position.seq
}

fn is_truncated(world: &World<'_>, resume: &Position, log: &Log<'_>, first: Option<u64>) -> bool {
    let Some(first) = first else { return false };
    let was_taken = log.taken > resume.seq && first <= log.taken + 1;
    let is_much = first > resume.seq + 1 && log.head - resume.seq.min(log.head) > REPLAYED;
    world.may_lose() || was_taken || is_much
}

/// The newest entry of a room that anybody knew of before a session asked.
fn known_head(world: &World<'_>, attempt: &Attempt<'_>) -> u64 {
    let mut head = 0;
    for sent in &world.sends {
        if let Some(answer) = sent.answer.filter(|answer| answer.line < attempt.asked)
            && world.stays[sent.stay].room == attempt.room
            && let Some(position) = answer.position
        {
            head = head.max(position.seq);
        }
    }
    head
}

/// True if somebody else had the name, or may have had it still.
fn had_another(world: &World<'_>, attempt: &Attempt<'_>) -> bool {
    let had = world.stays.iter().any(|stay| {
        (stay.room, stay.name) == (attempt.room, attempt.name)
            && (stay.identity != attempt.identity || !stay.extended)
            && stay.asked < attempt.answered
            && world.at(world.ended(stay)) + HELD > world.at(attempt.asked)
    });
    had || is_wanted(world, attempt)
}

/// True if somebody else asked for the name and had not been told what became of it:
/// they may have been let in. A shard that takes a room over believes so, until the one
/// with the older right comes, and then tells them otherwise.
fn is_wanted(world: &World<'_>, attempt: &Attempt<'_>) -> bool {
    let refused: HashSet<usize> = world
        .attempts
        .iter()
        .filter(|other| !matches!(other.code, 200 | 503) && other.answered < attempt.answered)
        .map(|other| other.asked)
        .collect();
    let asked = world.lines[..attempt.answered].iter().enumerate();
    let mut others = asked.filter(|(number, line)| match &line.event {
        Event::Enter { room, name, identity, .. } => {
            (room.as_str(), name.as_str()) == (attempt.room, attempt.name)
                && identity.as_deref() != attempt.identity
                && line.at + HELD > world.at(attempt.asked)
                && !refused.contains(number)
        }
        _ => false,
    });
    others.next().is_some()
}

/// What was missed comes before anything newer.
fn replayed(world: &World<'_>, number: usize, resume: &Position, log: &Log<'_>, judge: &mut Judge) {
    let stay = &world.stays[number];
    let Some(position) = stay.position else { return };
    let to = position.seq.max(resume.seq) + 1;
    let missed = log.entries.range(resume.seq + 1..to);
    let mut missed = missed.filter(|(_, (_, entry))| stay.may_read(entry) == Some(true)).peekable();
    for &line in &stay.seen {
        let Event::Pushed { content, position: Some(at), .. } = &world.lines[line].event else {
            continue;
        };
        // One's own whispers may be known already.
        while let Some((seq, (_, entry))) = missed.peek()
            && at.seq > **seq
            && stay.is_told(entry) == Some(false)
        {
            missed.next();
        }
        let Some((next, _)) = missed.next() else { return };
        judge.check(at.seq == *next, &[stay.asked, stay.entered, line], || {
            format!("{}: {content:?} came, and not the missed entry {next}", stay.room)
        });
        if at.seq != *next {
            return;
        }
    }
}
