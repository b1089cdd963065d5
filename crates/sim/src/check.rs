//! What clients may rely on, checked on what they saw (contract.md, "Rules"; of
//! each as much as a memory store promises).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    time::Duration,
};

use crate::record::{Event, Record};

/// A promise that was broken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Violation {
    /// Which promise.
    pub rule: &'static str,
    /// Where, for people.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}

/// What the faults of a run excuse.
#[derive(Clone, Debug)]
pub struct Calm {
    /// When the last fault was over.
    pub since: Duration,
    /// When the run ended.
    pub end: Duration,
    /// Times within which a log was lost with its shard: what was said then, or was
    /// on its way, some may have seen and others not.
    pub lost: Vec<(Duration, Duration)>,
}

/// Every request has its one answer by then.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// What was acknowledged has been seen by then, unless something is wrong.
const TAIL_MAX: Duration = Duration::from_secs(5);
/// Everybody is back in after this long, and rosters agree.
const CONVERGE_MAX: Duration = Duration::from_secs(20);

/// One session, digested.
#[derive(Debug, Default)]
struct Session {
    who: String,
    name: String,
    room: String,
    entered: Option<Duration>,
    closed: Option<Duration>,
    asked: BTreeMap<u32, Duration>,
    answers: BTreeMap<u32, Vec<(Duration, u64)>>,
    /// Number, target, content.
    said: Vec<(u32, String, String)>,
    /// When, from whom, to whom, what.
    heard: Vec<(Duration, String, String, String)>,
    roster: BTreeSet<String>,
}

/// One message, as its author knows it.
struct Message<'a> {
    author: &'a Session,
    id: u32,
    target: &'a str,
    asked: Duration,
    /// When it was acknowledged, if it was.
    acked: Option<Duration>,
    /// The code of its answer, if there was one.
    code: Option<u64>,
}

/// Checks a record. Empty: all is well.
#[must_use]
pub fn check(record: &Record, calm: &Calm) -> Vec<Violation> {
    let mut violations = Vec::new();
    let sessions = digest(record, &mut violations);
    let mut report = |rule, what: String| violations.push(Violation { rule, what });
    let messages = messages(&sessions);
    for session in &sessions {
        answered_once(session, calm, &mut report);
        heard_rightly(session, &messages, &mut report);
        heard_all(session, &messages, calm, &mut report);
    }
    same_order(&sessions, &mut report);
    rosters_converge(&sessions, calm, &mut report);
    violations
}

fn digest(record: &Record, violations: &mut Vec<Violation>) -> Vec<Session> {
    let mut sessions: BTreeMap<(String, u32), Session> = BTreeMap::new();
    for seen in &record.0 {
        let session = sessions.entry((seen.name.clone(), seen.session)).or_default();
        session.who = format!("{}/{}", seen.name, seen.session);
        session.name.clone_from(&seen.name);
        let noise = |what: String| Violation {
            rule: "12 no noise",
            what: format!("{}: {what} at {:?}", seen.name, seen.at),
        };
        match &seen.event {
            Event::AskedToEnter { id, room } => {
                session.room.clone_from(room);
                session.asked.insert(*id, seen.at);
            }
            Event::Said { id, target, content } => {
                session.asked.insert(*id, seen.at);
                session.said.push((*id, target.clone(), content.clone()));
            }
            Event::Answered { id, code, users } => {
                session.answers.entry(*id).or_default().push((seen.at, *code));
                if !users.is_empty() && session.entered.is_none() {
                    session.entered = Some(seen.at);
                    session.roster = users.iter().cloned().collect();
                }
            }
            Event::Heard { from, target, content } => {
                let heard = (seen.at, from.clone(), target.clone(), content.clone());
                session.heard.push(heard);
            }
            Event::Came(name) => {
                if !session.roster.insert(name.clone()) {
                    violations.push(noise(format!("{name} came, and was there")));
                }
            }
            Event::Left(name) => {
                if !session.roster.remove(name) {
                    violations.push(noise(format!("{name} left, and was not there")));
                }
            }
            Event::Closed { .. } => session.closed = Some(seen.at),
        }
    }
    sessions.into_values().collect()
}

fn messages(sessions: &[Session]) -> HashMap<&str, Message<'_>> {
    let mut messages = HashMap::new();
    for author in sessions {
        for (id, target, content) in &author.said {
            let first = author.answers.get(id).and_then(|answers| answers.first());
            let message = Message {
                author,
                id: *id,
                target,
                asked: author.asked[id],
                acked: first.filter(|(_, code)| *code == 200).map(|(at, _)| *at),
                code: first.map(|(_, code)| *code),
            };
            messages.insert(content.as_str(), message);
        }
    }
    messages
}

/// Every request has one answer, in time.
fn answered_once(session: &Session, calm: &Calm, report: &mut impl FnMut(&'static str, String)) {
    let who = &session.who;
    for (id, asked) in &session.asked {
        match session.answers.get(id).map(Vec::as_slice) {
            Some([(at, _)]) if *at <= *asked + ANSWER_MAX => {}
            Some([(at, _)]) => report("answer", format!("{who}: {id} after {:?}", *at - *asked)),
            Some(many) => report("answer", format!("{who}: {id} answered {} times", many.len())),
            None => {
                let end = session.closed.unwrap_or(calm.end);
                if end > *asked + ANSWER_MAX {
                    report("answer", format!("{who}: {id} of {asked:?} never answered"));
                }
            }
        }
    }
    for id in session.answers.keys().filter(|id| !session.asked.contains_key(id)) {
        report("answer", format!("{who}: {id} was never asked"));
    }
}

/// What a session heard was said in its room, to it, once, and by whom it says;
/// its own after the answer.
fn heard_rightly(
    session: &Session,
    messages: &HashMap<&str, Message<'_>>,
    report: &mut impl FnMut(&'static str, String),
) {
    let who = &session.who;
    let mut known = BTreeSet::new();
    for (at, from, target, content) in &session.heard {
        if !known.insert(content) {
            report("7 once", format!("{who} heard {content} again at {at:?}"));
        }
        let Some(message) = messages.get(content.as_str()) else {
            report("4 said", format!("{who} heard {content}, which nobody said"));
            continue;
        };
        let is_true = message.author.name == *from
            && message.target == target
            && message.author.room == session.room;
        if !is_true || (target != "*" && *target != session.name) {
            report("14 for whom", format!("{who} heard {content} from {from} to {target}"));
        }
        if message.code.is_some_and(|code| code != 200 && code != 503) {
            report("4 refused", format!("{who} heard {content}, refused: {:?}", message.code));
        }
        let is_own = message.author.who == *who;
        if is_own && message.code == Some(200) && message.acked.is_some_and(|acked| acked > *at) {
            report("15 answer first", format!("{who} heard {content} before {}", message.id));
        }
    }
}

/// What was acknowledged was heard by all who were there, in time.
fn heard_all(
    session: &Session,
    messages: &HashMap<&str, Message<'_>>,
    calm: &Calm,
    report: &mut impl FnMut(&'static str, String),
) {
    let Some(entered) = session.entered else { return };
    let closed = session.closed.unwrap_or(calm.end);
    let heard: HashMap<&str, Duration> =
        session.heard.iter().map(|(at, .., content)| (content.as_str(), *at)).collect();
    for (content, message) in messages {
        let Some(acked) = message.acked else { continue };
        let is_for = message.target == "*" || message.target == session.name;
        if !is_for || message.author.room != session.room || message.asked < entered {
            continue;
        }
        let excused = |(from, to): &(Duration, Duration)| *from <= acked && message.asked <= *to;
        if calm.lost.iter().any(excused) {
            continue;
        }
        // Whatever was wrong, the links are up again after this.
        let due = acked.max(calm.since + ANSWER_MAX) + TAIL_MAX;
        let late = heard.get(content).map_or(closed >= due, |at| *at > due);
        if late {
            let when = heard.get(content);
            report("8 tail", format!("{} heard {content} of {acked:?} {when:?}", session.who));
        }
    }
}

/// Any two sessions of a room heard what both heard in one order, and each author's
/// words in the order of saying.
fn same_order(sessions: &[Session], report: &mut impl FnMut(&'static str, String)) {
    let spoken: HashMap<&str, (usize, usize)> = sessions
        .iter()
        .enumerate()
        .flat_map(|(s, session)| {
            session.said.iter().enumerate().map(move |(n, (.., c))| (c.as_str(), (s, n)))
        })
        .collect();
    for (i, one) in sessions.iter().enumerate() {
        let place: HashMap<&str, usize> =
            one.heard.iter().enumerate().map(|(n, (.., c))| (c.as_str(), n)).collect();
        for other in &sessions[i + 1..] {
            let common = other.heard.iter().filter_map(|(.., c)| Some((place.get(c.as_str())?, c)));
            let common: Vec<_> = common.collect();
            if let Some(pair) = common.windows(2).find(|pair| pair[0].0 > pair[1].0) {
                let (a, b) = (pair[0].1, pair[1].1);
                report("7 order", format!("{} and {} disagree on {a}, {b}", one.who, other.who));
            }
        }
        let mut last: HashMap<usize, usize> = HashMap::new();
        for (.., content) in &one.heard {
            let Some((author, n)) = spoken.get(content.as_str()) else { continue };
            if last.insert(*author, *n).is_some_and(|before| before > *n) {
                report("15 first in", format!("{} heard {content} too late", one.who));
            }
        }
    }
}

/// After the faults every roster is who is there, and each name is there once.
fn rosters_converge(
    sessions: &[Session],
    calm: &Calm,
    report: &mut impl FnMut(&'static str, String),
) {
    if calm.end < calm.since + CONVERGE_MAX {
        return;
    }
    let open = || sessions.iter().filter(|s| s.closed.is_none() && s.entered.is_some());
    for session in open() {
        let mates = open().filter(|other| other.room == session.room);
        let names: Vec<&String> = mates.map(|other| &other.name).collect();
        let there: BTreeSet<&String> = names.iter().copied().collect();
        if names.len() > there.len() {
            report("11 one session", format!("in {}: {names:?}", session.room));
        }
        if session.roster.iter().collect::<BTreeSet<_>>() != there {
            let shown = &session.roster;
            report("12 roster", format!("{} sees {shown:?}, there is {there:?}", session.who));
        }
    }
}
