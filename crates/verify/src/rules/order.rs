//! Rules 7 and 15: in which order things are seen and stored.

use std::collections::HashMap;

use super::{
    Judge,
    world::{Log, Paged, Stay, World},
};
use crate::record::Event;

/// 7: what one session sees of a room goes up, and nothing is left out.
pub(crate) fn without_holes(world: &World<'_>, judge: &mut Judge) {
    for stay in &world.stays {
        if let Some(log) = world.logs.get(stay.room) {
            pushes(world, stay, log, judge);
        }
    }
    for page in &world.pages {
        let stay = &world.stays[page.stay];
        if let Some(log) = world.logs.get(stay.room) {
            dense(world, stay, log, page, judge);
        }
    }
}

/// After which entry a session has to get all.
pub(crate) fn floor(stay: &Stay<'_>) -> Option<u64> {
    let position = stay.position?;
    let verdict = stay.verdict.map(|verdict| (verdict.kind.as_str(), verdict.first));
    Some(match (verdict, stay.resume) {
        (Some(("complete", _)), Some(resume)) => resume.seq,
        (Some(("truncated", Some(first))), _) => first.saturating_sub(1),
        _ => position.seq,
    })
}

fn pushes(world: &World<'_>, stay: &Stay<'_>, log: &Log<'_>, judge: &mut Judge) {
    let mut last = floor(stay);
    let mut before = stay.entered;
    for &line in &stay.seen {
        match &world.lines[line].event {
            Event::Pushed { content, position, .. } => {
                let Some(seq) = world.seq(stay.room, position.as_ref(), content) else { continue };
                let missing = last.and_then(|last| hole(stay, log, last, seq));
                let is_kept = last.is_none_or(|last| seq > last) && missing.is_none();
                let lines = [before, line, missing.unwrap_or(line)];
                judge.check(is_kept, &lines, || {
                    let last = last.unwrap_or(0);
                    format!("{}: a session saw entry {seq} after {last}", stay.room)
                });
                last = Some(seq);
            }
            Event::Told { verdict, .. } if verdict.position.is_some() => {
                last = verdict.position.as_ref().map(|position| position.seq);
            }
            _ => continue,
        }
        before = line;
    }
}

/// The line of an entry between two that the session should have seen.
pub(crate) fn hole(stay: &Stay<'_>, log: &Log<'_>, last: u64, seq: u64) -> Option<usize> {
    if seq <= last + 1 {
        return None;
    }
    let between = log.entries.range(last + 1..seq);
    let mut missing = between.filter(|(_, (_, entry))| stay.is_told(entry) == Some(true));
    missing.next().map(|(_, (line, _))| *line)
}

/// The last entry that a session saw before some line.
fn seen_before(world: &World<'_>, stay: &Stay<'_>, line: usize) -> u64 {
    let before = stay.seen.iter().rev().skip_while(|seen| **seen > line);
    let mut places = before.filter_map(|seen| match &world.lines[*seen].event {
        Event::Pushed { position: Some(position), .. } => Some(position.seq),
        _ => None,
    });
    places.next().unwrap_or(0)
}

/// A page has all that the session may read between its ends.
fn dense(world: &World<'_>, stay: &Stay<'_>, log: &Log<'_>, page: &Paged, judge: &mut Judge) {
    let Event::Page { entries, head, taken, complete, .. } = &world.lines[page.line].event else {
        return;
    };
    let lines = [page.line, log.line];
    let goes_up = entries.windows(2).all(|pair| pair[0].seq < pair[1].seq);
    judge.check(goes_up, &lines, || format!("{}: a page out of order", stay.room));
    let (first, last) = (entries.first().map(|e| e.seq), entries.last().map(|e| e.seq));
    // What the page speaks of, by what was asked.
    let (from, to) = if let Some(after) = page.after {
        let from = (after + 1).max(*taken + 1);
        (from, if *complete { (*head).max(last.unwrap_or(0)) } else { last.unwrap_or(after) })
    } else {
        // More may be said before the page is answered; what was seen before it was
        // asked for is in it.
        let newest = seen_before(world, stay, page.asked).max(last.unwrap_or(0));
        let to = page.before.map_or(newest, |before| before.saturating_sub(1).min(newest));
        (if *complete { *taken + 1 } else { first.unwrap_or(to + 1) }, to)
    };
    // Of what was taken since, the log knows no more.
    let from = from.max(log.taken + 1);
    if from > to {
        return;
    }
    let mut shown = entries.iter().map(|entry| entry.seq).peekable();
    for (seq, (line, entry)) in log.entries.range(from..=to) {
        while shown.peek().is_some_and(|shown| shown < seq) {
            shown.next();
        }
        let is_shown = shown.peek() == Some(seq);
        if stay.may_read(entry) == Some(true) {
            let same = entries.iter().find(|shown| shown.seq == *seq).is_some_and(|shown| {
                shown.redacted || entry.content.as_deref().is_none_or(|c| c == shown.content)
            });
            judge.check(is_shown && same, &[page.line, *line], || {
                format!("{}: a page of {from} to {to} lacks entry {seq}", stay.room)
            });
        }
    }
}

/// 15: one session's messages are stored in the order of sending, and each is
/// answered before it is pushed to the session.
pub(crate) fn first_in_first_out(world: &World<'_>, judge: &mut Judge) {
    let mut last: HashMap<(u32, usize), (u64, usize)> = HashMap::new();
    for sent in &world.sends {
        let stay = &world.stays[sent.stay];
        let Some(log) = world.logs.get(stay.room) else { continue };
        let Some(&seq) = log.by_content.get(sent.content) else { continue };
        // What was sent again may have come in then.
        if world.words[&(stay.room, sent.content)].len() > 1 {
            continue;
        }
        let before = last.insert((sent.session, sent.stay), (seq, sent.line));
        judge.check(
            before.is_none_or(|(before, _)| before < seq),
            &[before.map_or(sent.line, |(_, line)| line), sent.line],
            || format!("{}: entry {seq} was sent after one behind it", stay.room),
        );
    }
    answered_first(world, judge);
}

fn answered_first(world: &World<'_>, judge: &mut Judge) {
    for (number, stay) in world.stays.iter().enumerate() {
        for &line in &stay.seen {
            let Event::Pushed { content, from, .. } = &world.lines[line].event else { continue };
            if from != stay.name {
                continue;
            }
            let Some(sends) = world.words.get(&(stay.room, content.as_str())) else { continue };
            let sent = &world.sends[sends[0]];
            if sent.stay != number || sent.answer.is_some_and(|answer| answer.code != 200) {
                continue;
            }
            let is_kept = sent.answer.is_some_and(|answer| answer.line < line);
            judge.check(is_kept, &[sent.line, line], || {
                format!("{}: {content:?} was pushed before its answer", stay.room)
            });
        }
    }
}
