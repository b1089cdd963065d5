//! Rules 1, 2 and 6: what the log itself has to be.

use std::collections::HashMap;

use super::{Judge, world::World};
use crate::record::{Event, Position};

/// 1: numbers without holes, from 1 until retention took some.
pub(crate) fn dense(world: &World<'_>, judge: &mut Judge) {
    for (room, log) in &world.logs {
        let mut expected = None;
        for (seq, (line, _)) in &log.entries {
            let first = if log.taken == 0 { *seq == 1 } else { *seq <= log.taken + 1 };
            let is_kept = expected.map_or(first, |expected| *seq == expected);
            judge.check(is_kept, &[log.line, *line], || {
                format!("{room}: entry {seq} comes where {} should", expected.unwrap_or(1))
            });
            expected = Some(seq + 1);
        }
        judge.check(expected.is_none_or(|next| next == log.head + 1), &[log.line], || {
            format!("{room}: the last entry is not the head, {}", log.head)
        });
    }
}

/// What somebody saw at a place.
struct Sight<'a> {
    room: &'a str,
    position: &'a Position,
    from: &'a str,
    target: &'a str,
    content: &'a str,
    redacted: bool,
    line: usize,
}

/// 2: one place, one entry, for everybody and for ever.
pub(crate) fn immutable(world: &World<'_>, judge: &mut Judge) {
    for (number, line) in world.lines.iter().enumerate() {
        if let Event::Damaged { room, what } = &line.event {
            judge.broken(&[number], || format!("{room}: {what}"));
        }
    }
    let mut known: HashMap<(&str, &str, u64), Sight<'_>> = HashMap::new();
    sights(world, &mut |sight| {
        let Sight { room, position, line, .. } = sight;
        let log = world.logs.get(room);
        let entry = log.and_then(|log| log.entries.get(&position.seq));
        if let Some((logged, entry)) = entry {
            let is_same = entry.author.as_deref() == Some(sight.from)
                && entry.target.as_deref().unwrap_or("*") == sight.target
                && (sight.redacted || entry.content.as_deref().is_none_or(|c| c == sight.content));
            judge.check(is_same, &[line, *logged], || {
                format!("{room}: entry {} is another one in the log", position.seq)
            });
        } else if let Some(log) = log.filter(|log| position.seq > log.taken) {
            judge.broken(&[line, log.line], || {
                format!("{room}: entry {} is not in the log", position.seq)
            });
        }
        if let Some(log) = log.filter(|log| log.epoch != position.epoch && !world.may_lose()) {
            judge.broken(&[line, log.line], || format!("{room}: the epoch changed"));
        }
        let key = (room, position.epoch.as_str(), position.seq);
        match known.get(&key) {
            None => {
                known.insert(key, sight);
            }
            Some(before) => {
                let is_same = (before.from, before.target) == (sight.from, sight.target)
                    && (before.content == sight.content || before.redacted || sight.redacted);
                judge.check(is_same, &[before.line, line], || {
                    format!("{room}: two see different entries at {}", position.seq)
                });
            }
        }
    });
}

/// Calls `see` with all that somebody was told the place of.
fn sights<'a>(world: &World<'a>, see: &mut dyn FnMut(Sight<'a>)) {
    for stay in &world.stays {
        for &line in &stay.seen {
            if let Event::Pushed {
                from, target, content, position: Some(position), redacted, ..
            } = &world.lines[line].event
            {
                let (room, redacted) = (stay.room, *redacted);
                see(Sight { room, position, from, target, content, redacted, line });
            }
        }
    }
    for sent in &world.sends {
        let Some(answer) = sent.answer.filter(|answer| answer.code == 200) else { continue };
        let Some(position) = answer.position else { continue };
        let stay = &world.stays[sent.stay];
        let (room, from, line) = (stay.room, stay.name, answer.line);
        let (target, content) = (sent.target, sent.content);
        see(Sight { room, position, from, target, content, redacted: false, line });
    }
}

/// 6: each entry's term is that of the last claim before it.
pub(crate) fn fenced(world: &World<'_>, judge: &mut Judge) {
    for (room, log) in &world.logs {
        let mut claim = None;
        for (seq, (line, entry)) in &log.entries {
            if entry.kind == "claim" {
                claim = Some((*seq, *line));
                judge.check(entry.term == *seq, &[*line], || {
                    format!("{room}: the claim {seq} has the term {}", entry.term)
                });
                continue;
            }
            let Some((term, claimed)) = claim else { continue };
            judge.check(entry.term == term, &[claimed, *line], || {
                format!("{room}: entry {seq} has the term {}, not {term}", entry.term)
            });
        }
    }
}
