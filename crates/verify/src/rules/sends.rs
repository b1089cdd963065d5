//! Rules 3, 4, 5 and 13: what becomes of a message.

use std::collections::HashMap;

use super::{
    Judge,
    world::{Log, SECOND, Sent, World},
};
use crate::record::Event;

/// Answers that say that a message was not stored, and will not be.
const FINAL: &[u16] = &[400, 409, 413, 429, 500];

/// 3: what was acknowledged is in the log, where it was said to be.
pub(crate) fn durable(world: &World<'_>, judge: &mut Judge) {
    for sent in &world.sends {
        let Some(answer) = sent.answer.filter(|answer| answer.code == 200) else { continue };
        let stay = &world.stays[sent.stay];
        let Some(log) = world.logs.get(stay.room) else { continue };
        let lines = [sent.line, answer.line, log.line];
        if stay.extended && answer.position.is_none() {
            judge.broken(&lines, || "acknowledged without a place".to_owned());
            continue;
        }
        let is_kept = match answer.position {
            Some(position) if position.seq <= log.taken => true,
            Some(position) => log.entries.get(&position.seq).is_some_and(|(_, entry)| {
                entry.content.as_deref().is_none_or(|content| content == sent.content)
            }),
            None => log.taken > 0 || log.by_content.contains_key(sent.content),
        };
        judge.check(is_kept || world.may_lose(), &lines, || {
            format!("{}: {:?} was acknowledged, and is not stored", stay.room, sent.content)
        });
        let first = world.words[&(stay.room, sent.content)][0];
        if was_impossible(world, world.sends[first].line, answer.line) {
            judge.broken(&lines[..2], || "acknowledged while nothing could be stored".to_owned());
        }
    }
}

/// True if something was first said and then known while nothing could be stored.
fn was_impossible(world: &World<'_>, said: usize, known: usize) -> bool {
    let (said, known) = (world.at(said), world.at(known));
    let stopped = world.faults.iter().filter(|fault| fault.store_stopped);
    stopped.into_iter().any(|fault| fault.begin <= said && known <= fault.end)
}

/// 4: what was pushed is in the log.
pub(crate) fn committed(world: &World<'_>, judge: &mut Judge) {
    for stay in &world.stays {
        let Some(log) = world.logs.get(stay.room) else { continue };
        for &line in &stay.seen {
            let Event::Pushed { content, position, redacted, .. } = &world.lines[line].event else {
                continue;
            };
            let is_there = match position {
                Some(position) => position.seq <= log.taken || is_at(log, position.seq, content),
                None => log.taken > 0 || log.by_content.contains_key(content.as_str()),
            };
            judge.check(is_there || *redacted || world.may_lose(), &[line, log.line], || {
                format!("{}: {content:?} was pushed, and is not stored", stay.room)
            });
            let first = world.words.get(&(stay.room, content.as_str())).map(|sends| sends[0]);
            if let Some(first) = first.filter(|_| !redacted) {
                let said = world.sends[first].line;
                if was_impossible(world, said, line) {
                    judge.broken(&[said, line], || {
                        "pushed while nothing could be stored".to_owned()
                    });
                }
            } else if !redacted {
                judge.broken(&[line], || format!("{content:?} was pushed, and nobody said it"));
            }
        }
    }
}

fn is_at(log: &Log<'_>, seq: u64, content: &str) -> bool {
    let entry = log.entries.get(&seq);
    entry.is_some_and(|(_, entry)| entry.content.as_deref().is_none_or(|known| known == content))
}

/// 5: one cmid, one entry; another message under it is refused.
pub(crate) fn idempotent(world: &World<'_>, judge: &mut Judge) {
    for (room, log) in &world.logs {
        for line in &log.twice {
            judge.broken(&[*line], || format!("{room}: one message is stored twice"));
        }
        let mut known = HashMap::new();
        for (line, entry) in log.entries.values() {
            let (Some(author), Some(cmid)) = (&entry.author_identity, &entry.cmid) else {
                continue;
            };
            let before = known.insert((author, cmid), *line);
            judge.check(before.is_none(), &[before.unwrap_or(*line), *line], || {
                format!("{room}: one cmid is stored twice")
            });
        }
    }
    let mut repeats: HashMap<(&str, &str, &str), Vec<&Sent<'_>>> = HashMap::new();
    for sent in &world.sends {
        let stay = &world.stays[sent.stay];
        if let (Some(identity), Some(cmid)) = (stay.identity, sent.cmid) {
            repeats.entry((stay.room, identity, cmid)).or_default().push(sent);
        }
    }
    for ((room, ..), sends) in &repeats {
        if sends.len() > 1 {
            same_answers(world, room, sends, judge);
        }
    }
}

fn same_answers(world: &World<'_>, room: &str, sends: &[&Sent<'_>], judge: &mut Judge) {
    let is_ok = |sent: &&&Sent<'_>| sent.answer.is_some_and(|answer| answer.code == 200);
    let Some(first) = sends.iter().filter(is_ok).min_by_key(|sent| sent.answer.map(|a| a.line))
    else {
        return;
    };
    let Some(acked) = first.answer else { return };
    for sent in sends.iter().filter(|sent| sent.line != first.line) {
        let Some(answer) = sent.answer else { continue };
        let lines = [first.line, acked.line, sent.line, answer.line];
        let is_same = (sent.target, sent.content) == (first.target, first.content);
        let is_kept = match answer.code {
            200 => is_same && (answer.position == acked.position || world.may_lose()),
            409 => !is_same,
            // What comes after its acknowledgement is known, whatever has changed since.
            400 | 413 | 500 => {
                let stay = &world.stays[sent.stay];
                let soon = world.at(answer.line) + SECOND;
                let was_in = stay.ended.is_none_or(|ended| world.at(ended) > soon);
                sent.line < acked.line || (!is_same && answer.code != 500) || !was_in
            }
            _ => true,
        };
        judge.check(is_kept, &lines, || {
            let same = if is_same { "again" } else { "with something else" };
            format!("{room}: one cmid {same} is answered with {}", answer.code)
        });
    }
}

/// 13: what was refused for good is not stored; what nobody knew has one end.
pub(crate) fn resolved(world: &World<'_>, judge: &mut Judge) {
    for sent in &world.sends {
        let stay = &world.stays[sent.stay];
        let Some(log) = world.logs.get(stay.room) else { continue };
        let Some(answer) = sent.answer else { continue };
        if !FINAL.contains(&answer.code) && answer.code != 503 {
            continue;
        }
        let sends = &world.words[&(stay.room, sent.content)];
        let stored = log.by_content.get(sent.content);
        let is_kept = stored.is_none() || answer.code == 503 || sends.len() > 1;
        let lines = [sent.line, answer.line];
        judge.check(is_kept, &lines, || {
            let code = answer.code;
            format!("{}: {:?} was refused ({code}), and is stored", stay.room, sent.content)
        });
    }
}
