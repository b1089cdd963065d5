//! Scripts as data: each step of a [`check`] is what happens to a room, and beside it
//! all that follows from it.

mod again;
mod connectors;
mod history;
mod members;
mod missed;
mod moves;
mod properties;
mod rejoins;
mod sim;
mod speech;
mod store;

use std::iter;

use bytes::Bytes;
use model::{
    ConnectorId, Epoch, Fence, Gen, Grant, Identity, LinkId, Position, RoomId, Seq, SessionId,
    Term, UserName,
};

use crate::{
    Append, AppendResult, Duplicate, Effect, Entry, Event, Found, Input, Join, Kind, Limits,
    Newcomer, Origin, Outcome, Pages, Publish, Query, Read, Refusal, Rejoin, Replay, Resume, Room,
    Sought, Target, Verdict,
};
use connectors::Connectors;

const EPOCH: Epoch = Epoch(7);
const FENCE: Fence = Fence { r#gen: Gen(3), term: Term(1) };
const LIMITS: Limits = Limits { members_max: 4, pending_max: 3, ring_max: 3, grace_ms: 100 };

/// Runs a script against a new room and compares what follows from each step.
///
/// A link is called by its connector's letter, a later one of the same connector
/// with a prime (`A`, `A'`); a request is called by the number of its step.
///
/// ```text
/// A1+ann          session 1 of A joins as ann; A1+ann=key: and can prove it by key;
///                 A1+ann@3: it had the room up to 3 (@3?: of another epoch); with
///                 +4,5 or +lost 3 as below; it is let in where its link is, or @2-4: that
///                 is at 2, and the room at 4
/// A1- A1!hi       it leaves; it says hi; A1!hi#c: under the cmid c
/// A1~             its connector sends it away, to come back through another one
/// A1>bob!psst     it whispers to bob
/// A lost          link A is lost
/// A' rejoin @3 1+ann:1 2+bob        A comes back, has the room up to 3 (@3?: of
///                 another epoch) and two members, the first with grant 1 (<1: of an
///                 earlier owner); +4,5: the shell has read 4 and 5 of the log;
///                 +lost 3: all up to 3 are not there any more; +lost 3,4,5: and it
///                 has read 4 and 5
/// A fetch @3      what A was sent after 3
/// append stored failed unknown fenced dup 0@2      the end of an append; 0@2!: with
///                 another content; store: append and stored
/// A1?             it wants to read
/// redact 3        the content of entry 3 was taken away
/// found 2 found 2! found - found ?     what the log has of a message whose target is
///                 not here: entry 2, one with another content, nothing, no answer
/// bot!hi  add bot  kick bob  tick 100  release  superseded
/// ```
#[track_caller]
fn check(script: &[(&str, &str)]) {
    let mut stage = Stage::new(LIMITS);
    for (number, (step, expected)) in script.iter().enumerate() {
        let followed = stage.step(number as u64 + 1, step);
        assert_eq!(followed.join(" | "), *expected, "step {}: {step}", number + 1);
    }
}

/// A room, what its store has, and the connectors that watch it.
struct Stage {
    room: Room,
    connectors: Connectors,
    now_ms: u64,
    wants_append: bool,
    /// What is looked for in the log.
    seeking: Option<Publish>,
    closed: bool,
}

impl Stage {
    fn new(limits: Limits) -> Self {
        let room_id = RoomId::parse("r").unwrap();
        let connectors = Connectors::new(room_id.clone());
        let room = Room::new(room_id, EPOCH, FENCE, limits);
        Self { room, connectors, now_ms: 0, wants_append: false, seeking: None, closed: false }
    }

    fn step(&mut self, number: u64, step: &str) -> Vec<String> {
        let (first, rest) = step.split_once(' ').unwrap_or((step, ""));
        match first {
            "append" => return vec![self.append()],
            "store" => {
                self.append();
                self.apply(Input::Appended(AppendResult::Stored { at_ms: 9 }))
            }
            _ => match (rest.split_once(' ').unwrap_or((rest, "")), link(first)) {
                (("fetch", mark), Some(link)) => return vec![self.fetch(link, mark)],
                (("lost", _), Some(link)) => {
                    self.connectors.lose(link);
                    self.apply(Input::LinkLost { link, now_ms: self.now_ms })
                }
                (("rejoin", what), Some(link)) => {
                    let rejoin = rejoin(number, first, link, what);
                    self.connectors.expect_rejoin(&rejoin);
                    self.apply(Input::Rejoin(rejoin))
                }
                _ => {
                    let input = self.input(number, first, rest);
                    self.apply(input)
                }
            },
        }
        .iter()
        .filter_map(render)
        .collect()
    }

    fn input(&mut self, number: u64, first: &str, rest: &str) -> Input {
        let appended = |result| Input::Appended(result);
        match first {
            "stored" => appended(AppendResult::Stored { at_ms: 9 }),
            "failed" => appended(AppendResult::Failed),
            "unknown" => appended(AppendResult::Unknown),
            "fenced" => appended(AppendResult::Superseded),
            "dup" => appended(AppendResult::Duplicates(vec![duplicate(rest)])),
            "found" => {
                let publish = self.seeking.take().expect("something is looked for");
                let found = found(rest, publish.digest);
                Input::Sought(Sought { publish, found })
            }
            "redact" => Input::Redact { seq: Seq(rest.parse().unwrap()) },
            "release" => Input::Release,
            "superseded" => Input::Superseded,
            "add" => Input::Add { ticket: number, name: name(rest), identity: identity(rest) },
            "kick" => Input::Kick { name: name(rest), reason: "kick".into() },
            "tick" => {
                self.now_ms += rest.parse::<u64>().unwrap();
                Input::Tick { now_ms: self.now_ms }
            }
            _ => self.said(number, first, rest),
        }
    }

    /// A step of one session, `A1+ann`, or of a back end, `bot!hi`.
    fn said(&mut self, number: u64, step: &str, read: &str) -> Input {
        let at = step.find(['+', '-', '~', '!', '>', '?']).unwrap();
        let (who, what) = step.split_at(at);
        let (_, argument) = what.split_at(1);
        let Some((link, session)) = session(who) else {
            let (name, identity) = (name(who), identity(who));
            let origin = Origin::Call { ticket: number, name, identity };
            return Input::Publish(publish(number, origin, Target::All, argument));
        };
        let request_id = number;
        self.connectors.expect(link, number);
        match &what[..1] {
            "+" => {
                let connector = connector(who);
                let (named, mark) = argument.split_at(argument.find('@').unwrap_or(argument.len()));
                let newcomer = newcomer(&who[..1], session, named);
                self.connectors.expect_join(link, number, &newcomer);
                let resume = (!mark.is_empty()).then(|| position(mark)).map(|position| {
                    let replay = (!read.is_empty()).then(|| replay(position, read));
                    Resume { position, replay }
                });
                Input::Join(Join {
                    link,
                    connector,
                    request_id,
                    newcomer,
                    resume,
                    knows_roster: false,
                })
            }
            how @ ("-" | "~") => {
                self.connectors.expect_leave(link, number, session);
                let away_at_ms = (how == "~").then_some(self.now_ms);
                Input::Leave { link, request_id, session, away_at_ms }
            }
            "?" => {
                let query = Query { pages: Pages::Before(Seq(9)), limit: 9 };
                Input::Read(Read { link, session, request_id, query })
            }
            op => {
                let origin = Origin::Session { link, session, request_id };
                let (target, content) = match argument.split_once('!') {
                    Some((to, content)) if op == ">" => (Target::One(name(to)), content),
                    _ => (Target::All, argument),
                };
                Input::Publish(publish(number, origin, target, content))
            }
        }
    }

    /// Applies an input, and lets the connectors compare what they know with what the
    /// room thinks that they know.
    fn apply(&mut self, input: Input) -> Vec<Effect> {
        assert!(!self.closed, "nothing follows the end of a room");
        let mut effects = Vec::new();
        self.room.apply(input, &mut effects);
        for effect in &effects {
            self.wants_append |= matches!(effect, Effect::Append);
            if let Effect::Seek { publish, .. } = effect {
                self.seeking = Some(publish.clone());
            }
            self.closed |= matches!(effect, Effect::Closed);
        }
        self.connectors.observe(&effects);
        self.connectors.compare(&self.room, self.closed);
        effects
    }

    fn take(&mut self) -> Option<Append> {
        let taken = self.room.take_append();
        assert!(taken.is_none() || self.wants_append, "an append that nobody asked for");
        self.wants_append = false;
        taken
    }

    fn append(&mut self) -> String {
        let Some(append) = self.take() else { return "nothing".into() };
        assert_eq!(append.term, FENCE.term);
        let said: Vec<&str> = append.entries.iter().map(|entry| &*entry.content).collect();
        format!("after {}: {}", append.after.0, said.join(" "))
    }

    fn fetch(&self, link: LinkId, mark: &str) -> String {
        match self.room.sent_since(link, position(mark)) {
            Some(entries) => format!("sent{}", seqs(&entries)),
            None => "not known".into(),
        }
    }
}

/// `A''` is the third link of connector A.
fn link(text: &str) -> Option<LinkId> {
    let letter = text.bytes().next().filter(u8::is_ascii_uppercase)?;
    let primes = text[1..].bytes().take_while(|byte| *byte == b'\'').count() as u64;
    Some(LinkId(u64::from(letter - b'A') * 10 + primes))
}

fn link_name(link: LinkId) -> String {
    let letter = char::from(b'A' + u8::try_from(link.0 / 10).unwrap());
    iter::once(letter).chain(iter::repeat_n('\'', (link.0 % 10) as usize)).collect()
}

fn connector(link: &str) -> ConnectorId {
    link[..1].parse().unwrap()
}

fn session(who: &str) -> Option<(LinkId, SessionId)> {
    let digits = who.trim_start_matches(|c: char| !c.is_ascii_digit());
    Some((link(who)?, SessionId(digits.parse().unwrap())))
}

fn name(text: &str) -> UserName {
    UserName::parse(text).unwrap()
}

fn identity(text: &str) -> Identity {
    let mut bytes = [0; 16];
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    Identity(bytes)
}

/// `ann`, who is whoever her session is, or `ann=key`, who can prove who she is.
fn newcomer(connector: &str, session: SessionId, who: &str) -> Newcomer {
    let (name, key) = who.split_once('=').unwrap_or((who, ""));
    let has_secret = !key.is_empty();
    let anonymous = format!("{connector}{}", session.0);
    let identity = identity(if has_secret { key } else { &anonymous });
    Newcomer { session, name: self::name(name), identity, has_secret }
}

fn publish(number: u64, origin: Origin, target: Target, argument: &str) -> Publish {
    let own = format!("own {number}");
    let (content, cmid) = argument.split_once('#').unwrap_or((argument, &own));
    let to = match &target {
        Target::All => model::TARGET_ALL,
        Target::One(name) => name.as_str(),
    };
    let digest = model::message_digest(to, content);
    let cmid = Bytes::copy_from_slice(cmid.as_bytes());
    Publish { origin, target, content: content.into(), cmid, digest }
}

fn position(text: &str) -> Position {
    let text = text.strip_prefix('@').unwrap();
    let (seq, epoch) = match text.strip_suffix('?') {
        Some(seq) => (seq, Epoch(EPOCH.0 + 1)),
        None => (text, EPOCH),
    };
    Position { epoch, seq: Seq(seq.parse().unwrap()) }
}

/// `+4,5` or `+lost 3,4,5`: what was read after a mark.
fn replay(mark: Position, read: &str) -> Replay {
    let seqs = |seqs: &str| seqs.split(',').map(old_entry).collect::<Vec<Entry>>();
    match read.strip_prefix("+lost ") {
        Some(read) => {
            let mut entries = seqs(read);
            let up_to = entries.last().unwrap().seq;
            Replay { from: entries.remove(0).seq, entries, up_to }
        }
        None => {
            let entries = seqs(read.strip_prefix('+').unwrap());
            Replay { from: mark.seq, up_to: entries.last().unwrap().seq, entries }
        }
    }
}

/// `@3 1+ann:1 2+bob=key<5 +4,5`
fn rejoin(number: u64, first: &str, link: LinkId, what: &str) -> Rejoin {
    let (what, read) = what.split_at(what.find(" +").unwrap_or(what.len()));
    let mut words = what.split(' ');
    let mark = position(words.next().unwrap());
    let member = |word: &str| {
        let (session, who) = word.split_once('+').unwrap();
        let (who, grant) = match who.split_once([':', '<']) {
            Some((who, grant)) => (who, Some(grant)),
            None => (who, None),
        };
        let fence = if word.contains('<') { Fence { term: Term(0), ..FENCE } } else { FENCE };
        let grant = grant.map(|number| Grant { fence, number: number.parse().unwrap() });
        (newcomer(&first[..1], SessionId(session.parse().unwrap()), who), grant)
    };
    let replay = (!read.is_empty()).then(|| replay(mark, read.trim_start()));
    let members = words.map(member).collect();
    Rejoin { link, connector: connector(first), request_id: number, mark, members, replay }
}

/// An entry that only the store remembers.
fn old_entry(seq: &str) -> Entry {
    Entry {
        seq: Seq(seq.parse().unwrap()),
        kind: Kind::Message,
        author: name("old"),
        author_identity: identity("old"),
        content: "old".into(),
        cmid: Bytes::new(),
        at_ms: 1,
        redacted: false,
    }
}

/// `2`: as it is said now; `2!`: with another content.
fn found(text: &str, digest: u64) -> Found {
    match text {
        "-" => Found::Nothing,
        "?" => Found::Unknown,
        seq => {
            let digest = if seq.ends_with('!') { !digest } else { digest };
            let seq = Seq(seq.trim_end_matches('!').parse().unwrap());
            Found::Entry { seq, at_ms: 5, digest }
        }
    }
}

/// `0@2`: the first of the append is entry 2; `0@2!`: which says something else.
fn duplicate(text: &str) -> Duplicate {
    let (index, seq) = text.split_once('@').unwrap();
    let digest = model::message_digest(if seq.ends_with('!') { "x" } else { "*" }, "hi");
    let seq = Seq(seq.trim_end_matches('!').parse().unwrap());
    Duplicate { index: index.parse().unwrap(), seq, at_ms: 5, digest }
}

fn render(effect: &Effect) -> Option<String> {
    Some(match effect {
        Effect::Send { link, event, .. } => format!("{} {}", link_name(*link), told(event)),
        Effect::Answer { ticket, outcome: Ok(at) } => format!("call #{ticket} stored {}", at.seq.0),
        Effect::Answer { ticket, outcome: Err(refusal) } => format!("call #{ticket} {refusal:?}"),
        Effect::Closed => "closed".into(),
        Effect::Seek { publish, .. } => match &publish.origin {
            Origin::Session { request_id, .. } => format!("seek #{request_id}"),
            Origin::Call { ticket, .. } => format!("seek call #{ticket}"),
        },
        Effect::ReadLog { read, .. } => format!("read #{}", read.request_id),
        // What these are for is what the connectors compare after each step.
        Effect::Attach { .. } | Effect::Detach { .. } | Effect::Append => return None,
    })
}

fn told(event: &Event) -> String {
    match event {
        Event::Reply { request_id, outcome } => format!("#{request_id} {}", answer(outcome)),
        Event::Entry { entry, prev } => {
            let to = match &entry.kind {
                Kind::Message => String::new(),
                Kind::Whisper { target, .. } => format!(">{target}"),
            };
            let content = if entry.redacted { "redacted" } else { &*entry.content };
            format!("{}<{} {}{to}: {content}", entry.seq.0, prev.0, entry.author)
        }
        Event::Presence { name, joined, session } => {
            let own = session.map(|session| format!("({})", session.0)).unwrap_or_default();
            format!("{}{name}{own}", if *joined { "+" } else { "-" })
        }
        Event::CloseSession { session, reason } => format!("close {}: {reason}", session.0),
        Event::Redacted { seq } => format!("{} redacted", seq.0),
        Event::Moved => "moved".into(),
    }
}

fn answer(outcome: &Result<Outcome, Refusal>) -> String {
    let names =
        |roster: &[UserName]| roster.iter().map(UserName::as_str).collect::<Vec<_>>().join(" ");
    match outcome {
        Ok(Outcome::Joined { grant, position, head, roster, announced, resumed }) => {
            let new = if *announced { " new" } else { "" };
            let (number, at) = (grant.number, position.seq.0);
            let head = if *head == position.seq { String::new() } else { format!("-{}", head.0) };
            let mut text = format!("in:{number} @{at}{head} [{}]{new}", names(roster));
            if let Some((verdict, entries)) = resumed {
                text += &format!(" {}{}", self::verdict(*verdict), missed(entries));
            }
            text
        }
        Ok(Outcome::Gone) => "gone".into(),
        Ok(Outcome::Published { position, .. }) => format!("stored {}", position.seq.0),
        Ok(Outcome::Rejoined { verdict, position, entries, said, roster, readmitted, refused }) => {
            let verdict = self::verdict(*verdict);
            let mut text = format!("{verdict} @{} [{}]", position.seq.0, names(roster));
            for (session, grant) in readmitted {
                let sign = if grant.fence == FENCE { ':' } else { '<' };
                text += &format!(" {}{sign}{}", session.0, grant.number);
            }
            for session in refused {
                text += &format!(" not {}", session.0);
            }
            text += &missed(entries);
            if !said.is_empty() {
                text += &format!(" said{}", seqs(said));
            }
            text
        }
        Err(refusal) => format!("{refusal:?}"),
    }
}

/// `Truncated:3`: 3 is the first that is left.
fn verdict(verdict: Verdict) -> String {
    match verdict {
        Verdict::Truncated { first } => format!("Truncated:{}", first.0),
        other => format!("{other:?}"),
    }
}

fn missed(entries: &[Entry]) -> String {
    if entries.is_empty() { String::new() } else { format!(" missed{}", seqs(entries)) }
}

fn seqs(entries: &[Entry]) -> String {
    let sign = |entry: &Entry| if entry.redacted { "-" } else { "" };
    entries.iter().map(|entry| format!(" {}{}", entry.seq.0, sign(entry))).collect()
}
