//! What can only be checked where it is known when each entry was stored.

use std::{collections::HashMap, time::Duration};

use verify::{Event, Line};

use crate::{Journal, RoomLog, hosts::PEOPLE};

/// What no rule of the contract has a number for.
const ANSWERS: &str = "one answer, in time";
/// Every request has its one answer by then.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Something that is wrong: the rule, what it is, and the line that shows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wrong {
    /// Which rule of the contract; 0 if none says it.
    pub rule: u8,
    /// What it asks for.
    pub name: &'static str,
    /// What is wrong.
    pub what: String,
    /// The line that shows it.
    pub line: usize,
}

/// A request that waits for its answer.
struct Asked<'a> {
    line: usize,
    /// The room in which it says something, and what.
    said: Option<(&'a str, &'a str)>,
}

/// Checks that nothing was acknowledged or shown before it was stored, and that every
/// request has one answer.
#[must_use]
pub fn check_times(lines: &[Line], journal: &Journal) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    let deaf = deaf(lines);
    let stored: HashMap<(String, String), Duration> = journal
        .0
        .iter()
        .flat_map(|(room, log)| contents(log).map(move |(text, at)| ((room.to_string(), text), at)))
        .collect();
    let mut rooms: HashMap<u32, &str> = HashMap::new();
    let mut asked: HashMap<(u32, u32), Asked<'_>> = HashMap::new();
    for (number, line) in lines.iter().enumerate() {
        let at = Duration::from_micros(line.at);
        let mut known = |room: &str, content: &str, (rule, name): (u8, &'static str)| {
            let since = stored.get(&(room.to_owned(), content.to_owned()));
            if since.is_none_or(|since| *since > at) {
                let what = format!("{content:?} in {room:?} at {at:?}, stored at {since:?}");
                wrong.push(Wrong { rule, name, what, line: number });
            }
        };
        match &line.event {
            Event::Enter { session, request, room, .. } => {
                rooms.insert(*session, room);
                asked.insert((*session, *request), Asked { line: number, said: None });
            }
            Event::Send { session, request, content, .. } => {
                let said = rooms.get(session).map(|room| (*room, content.as_str()));
                asked.insert((*session, *request), Asked { line: number, said });
            }
            Event::Ask { session, request, .. } | Event::Leave { session, request } => {
                asked.insert((*session, *request), Asked { line: number, said: None });
            }
            Event::Pushed { session, content, redacted: false, .. } => {
                let room = rooms.get(session).copied().unwrap_or_default();
                known(room, content, (4, "nothing before its commit"));
            }
            Event::Sent { session, request, code: 200, .. } => {
                let asked = asked.get(&(*session, *request));
                if let Some((room, content)) = asked.and_then(|asked| asked.said) {
                    known(room, content, (3, "ack means durable"));
                }
            }
            _ => {}
        }
        answered(line, number, lines, &mut asked, &mut wrong);
    }
    // Between clients and their connectors anything may take its time.
    wrong.retain(|one| {
        let at = lines[one.line].at;
        let is_near = |(from, to): &(u64, u64)| {
            *from <= at && at <= to + u64::try_from(ANSWER_MAX.as_micros()).unwrap_or(0)
        };
        one.rule != 0 || !deaf.iter().any(is_near)
    });
    let end = lines.last().map_or(0, |line| line.at);
    for Asked { line, .. } in asked.into_values() {
        if Duration::from_micros(end - lines[line].at) > ANSWER_MAX {
            let what = "never answered".to_owned();
            wrong.push(Wrong { rule: 0, name: ANSWERS, what, line });
        }
    }
    wrong
}

/// When some client and its connector did not hear each other.
fn deaf(lines: &[Line]) -> Vec<(u64, u64)> {
    let mut deaf: HashMap<u32, (u64, u64)> = HashMap::new();
    for line in lines {
        match &line.event {
            Event::FaultBegins { fault, kind, what, .. }
                if kind == "freeze-connector" || what.contains(PEOPLE) =>
            {
                deaf.insert(*fault, (line.at, u64::MAX / 2));
            }
            Event::FaultEnds { fault } => {
                if let Some((_, to)) = deaf.get_mut(fault) {
                    *to = line.at;
                }
            }
            _ => {}
        }
    }
    deaf.into_values().collect()
}

fn contents(log: &RoomLog) -> impl Iterator<Item = (String, Duration)> {
    log.entries.iter().filter_map(|(at, record)| match &record.kind {
        store::RecordKind::Said { said, .. } => Some((said.body.content.to_string(), *at)),
        store::RecordKind::Claim { .. } => None,
    })
}

fn answered(
    line: &Line,
    number: usize,
    lines: &[Line],
    asked: &mut HashMap<(u32, u32), Asked<'_>>,
    wrong: &mut Vec<Wrong>,
) {
    match &line.event {
        Event::Entered { session, request, .. }
        | Event::Sent { session, request, .. }
        | Event::Page { session, request, .. }
        | Event::GotOut { session, request, .. } => {
            let Some(Asked { line: from, .. }) = asked.remove(&(*session, *request)) else {
                let what = "an answer to nothing".to_owned();
                return wrong.push(Wrong { rule: 0, name: ANSWERS, what, line: number });
            };
            let took = Duration::from_micros(line.at - lines[from].at);
            if took > ANSWER_MAX {
                let what = format!("answered after {took:?}");
                wrong.push(Wrong { rule: 0, name: ANSWERS, what, line: number });
            }
        }
        // Whoever is gone waits for nothing.
        Event::Closed { session, .. } => asked.retain(|(at, _), _| at != session),
        _ => {}
    }
}
