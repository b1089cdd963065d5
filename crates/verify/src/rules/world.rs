//! A record, put in order: who was where and when, what each said and saw.

use std::collections::{BTreeMap, HashMap};

use super::faults::Fault;
use crate::record::{Entry, Event, Line, Position, Verdict};

/// A second, in the record's time.
pub(crate) const SECOND: u64 = 1_000_000;

/// What a rule looks at.
#[derive(Debug, Default)]
pub(crate) struct World<'a> {
    pub(crate) lines: &'a [Line],
    pub(crate) stays: Vec<Stay<'a>>,
    pub(crate) attempts: Vec<Attempt<'a>>,
    pub(crate) sends: Vec<Sent<'a>>,
    /// All sends of one content, by room and content.
    pub(crate) words: HashMap<(&'a str, &'a str), Vec<usize>>,
    pub(crate) pages: Vec<Paged>,
    pub(crate) logs: BTreeMap<&'a str, Log<'a>>,
    pub(crate) faults: Vec<Fault<'a>>,
    /// Times without faults: their first and last line.
    pub(crate) quiets: Vec<(usize, usize)>,
    /// What came to sessions that were in no room.
    pub(crate) strays: Vec<usize>,
    pub(crate) end: u64,
}

/// One session in one room, from its asking to come in until it left.
#[derive(Debug)]
pub(crate) struct Stay<'a> {
    pub(crate) session: u32,
    pub(crate) room: &'a str,
    pub(crate) name: &'a str,
    pub(crate) extended: bool,
    /// Where it is connected.
    pub(crate) connector: &'a str,
    /// Who it is, if that is known.
    pub(crate) identity: Option<&'a str>,
    pub(crate) asked: usize,
    pub(crate) resume: Option<&'a Position>,
    /// The line of the answer.
    pub(crate) entered: usize,
    pub(crate) position: Option<&'a Position>,
    pub(crate) verdict: Option<&'a Verdict>,
    /// Pushes, verdicts and the roster's changes, by line.
    pub(crate) seen: Vec<usize>,
    /// The line by which it closed, or asked to leave.
    pub(crate) ended: Option<usize>,
}

/// A request to come in, and its answer.
#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    pub(crate) asked: usize,
    pub(crate) room: &'a str,
    pub(crate) name: &'a str,
    pub(crate) extended: bool,
    pub(crate) connector: &'a str,
    pub(crate) identity: Option<&'a str>,
    pub(crate) resume: Option<&'a Position>,
    pub(crate) answered: usize,
    pub(crate) code: u16,
    pub(crate) position: Option<&'a Position>,
    pub(crate) verdict: Option<&'a Verdict>,
}

/// A message on its way in.
#[derive(Debug)]
pub(crate) struct Sent<'a> {
    pub(crate) line: usize,
    pub(crate) session: u32,
    pub(crate) stay: usize,
    pub(crate) cmid: Option<&'a str>,
    pub(crate) target: &'a str,
    pub(crate) content: &'a str,
    pub(crate) answer: Option<Answer<'a>>,
}

/// What became of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) line: usize,
    pub(crate) code: u16,
    pub(crate) position: Option<&'a Position>,
}

/// A page of history and what was asked for.
#[derive(Debug)]
pub(crate) struct Paged {
    pub(crate) asked: usize,
    pub(crate) line: usize,
    pub(crate) stay: usize,
    pub(crate) before: Option<u64>,
    pub(crate) after: Option<u64>,
}

/// A room, as the store has it.
#[derive(Debug)]
pub(crate) struct Log<'a> {
    pub(crate) line: usize,
    pub(crate) epoch: &'a str,
    pub(crate) head: u64,
    pub(crate) taken: u64,
    /// By number.
    pub(crate) entries: BTreeMap<u64, (usize, &'a Entry)>,
    pub(crate) by_content: HashMap<&'a str, u64>,
    /// Numbers that are there twice, by line.
    pub(crate) twice: Vec<usize>,
    /// Who had the room, in order; none, if the record does not say when.
    pub(crate) claims: Vec<Claim<'a>>,
}

/// A shard takes a room.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    pub(crate) at: u64,
    pub(crate) by: &'a str,
}

#[derive(Debug, Default)]
struct Session<'a> {
    extended: bool,
    connector: &'a str,
    stay: Option<usize>,
    /// Requests by number: the line that asked.
    asked: HashMap<u32, usize>,
    sends: HashMap<u32, usize>,
}

impl<'a> World<'a> {
    pub(crate) fn new(lines: &'a [Line]) -> Self {
        let mut world = Self { lines, ..Self::default() };
        world.end = lines.last().map_or(0, |line| line.at);
        let mut sessions: HashMap<u32, Session<'_>> = HashMap::new();
        let mut faults: HashMap<u32, usize> = HashMap::new();
        let (mut quiet, mut began_ms) = (None, 0);
        for (number, line) in lines.iter().enumerate() {
            match &line.event {
                Event::Run { began_ms: at, .. } => began_ms = *at,
                Event::FaultBegins { fault, kind, store_stopped, touches, .. } => {
                    faults.insert(*fault, world.faults.len());
                    let (begin, end, store_stopped) = (line.at, world.end, *store_stopped);
                    let touches = touches.as_deref();
                    world.faults.push(Fault { begin, end, kind, store_stopped, touches });
                }
                Event::FaultEnds { fault } => {
                    if let Some(at) = faults.get(fault) {
                        world.faults[*at].end = line.at;
                    }
                }
                Event::QuietBegins => quiet = Some(number),
                Event::QuietEnds => world.quiets.extend(quiet.take().map(|begin| (begin, number))),
                Event::Log { room, epoch, head, taken } => {
                    let (entries, by_content) = (BTreeMap::new(), HashMap::new());
                    let (line, head, taken) = (number, *head, *taken);
                    let (twice, claims) = (Vec::new(), Vec::new());
                    let log = Log { line, epoch, head, taken, entries, by_content, twice, claims };
                    world.logs.insert(room, log);
                }
                Event::Logged { room, entry } => {
                    if let Some(log) = world.logs.get_mut(room.as_str()) {
                        log.add(number, entry, began_ms);
                    }
                }
                event => {
                    if let Some(session) = event.session() {
                        world.happened(sessions.entry(session).or_default(), session, number);
                    }
                }
            }
        }
        world.name_the_plain();
        world
    }

    fn happened(&mut self, session: &mut Session<'a>, id: u32, number: usize) {
        let lines = self.lines;
        match &lines[number].event {
            Event::Opened { extended, connector, .. } => {
                (session.extended, session.connector) = (*extended, connector);
            }
            Event::Enter { request, .. } | Event::Ask { request, .. } => {
                session.asked.insert(*request, number);
            }
            Event::Entered { request, .. } => {
                if let Some(asked) = session.asked.remove(request) {
                    self.entered(session, id, asked, number);
                }
            }
            Event::Send { request, cmid, target, content, .. } => {
                let Some(stay) = session.stay else { return };
                session.sends.insert(*request, self.sends.len());
                let key = (self.stays[stay].room, content.as_str());
                self.words.entry(key).or_default().push(self.sends.len());
                let cmid = cmid.as_deref();
                let (line, answer) = (number, None);
                self.sends.push(Sent { line, session: id, stay, cmid, target, content, answer });
            }
            Event::Sent { request, code, position, .. } => {
                if let Some(sent) = session.sends.remove(request) {
                    let (code, position) = (*code, position.as_ref());
                    self.sends[sent].answer = Some(Answer { line: number, code, position });
                }
            }
            Event::Page { request, code: 200, .. } => {
                let asked = session.asked.remove(request);
                let (Some(stay), Some(asked)) = (session.stay, asked) else {
                    return self.strays.push(number);
                };
                let Event::Ask { before, after, .. } = &lines[asked].event else { return };
                let (before, after) = (*before, *after);
                self.pages.push(Paged { asked, line: number, stay, before, after });
            }
            Event::Pushed { .. } | Event::Told { .. } | Event::Came { .. } | Event::Went { .. } => {
                match session.stay {
                    Some(stay) => self.stays[stay].seen.push(number),
                    None => self.strays.push(number),
                }
            }
            Event::Leave { .. } | Event::Closed { .. } => {
                if let Some(stay) = session.stay {
                    self.stays[stay].ended.get_or_insert(number);
                }
            }
            Event::GotOut { code: 200, .. } => session.stay = None,
            _ => {}
        }
    }

    fn entered(&mut self, session: &mut Session<'a>, id: u32, asked: usize, number: usize) {
        let (Event::Enter { room, name, identity, resume, .. }, lines) =
            (&self.lines[asked].event, self.lines)
        else {
            return;
        };
        let Event::Entered { code, position, verdict, .. } = &lines[number].event else { return };
        let (identity, resume) = (identity.as_deref(), resume.as_ref());
        let (position, verdict) = (position.as_ref(), verdict.as_ref());
        let (code, answered) = (*code, number);
        let Session { extended, connector, .. } = *session;
        self.attempts.push(Attempt {
            asked,
            room,
            name,
            extended,
            connector,
            identity,
            resume,
            answered,
            code,
            position,
            verdict,
        });
        if code != 200 {
            return;
        }
        session.stay = Some(self.stays.len());
        self.stays.push(Stay {
            session: id,
            room,
            name,
            extended,
            connector,
            identity,
            asked,
            resume,
            entered: number,
            position,
            verdict,
            seen: Vec::new(),
            ended: None,
        });
    }

    /// A plain session is who the log says that it is, if it ever said something.
    fn name_the_plain(&mut self) {
        for sent in &self.sends {
            let stay = &mut self.stays[sent.stay];
            let Some(log) = self.logs.get(stay.room).filter(|_| stay.identity.is_none()) else {
                continue;
            };
            let entry = log.by_content.get(sent.content).and_then(|seq| log.entries.get(seq));
            stay.identity = entry.and_then(|(_, entry)| entry.author_identity.as_deref());
        }
    }

    pub(crate) fn at(&self, line: usize) -> u64 {
        self.lines[line].at
    }

    /// The line by which a stay ended; the last one, if it did not.
    pub(crate) fn ended(&self, stay: &Stay<'_>) -> usize {
        stay.ended.unwrap_or(self.lines.len() - 1)
    }

    /// Where in its room's log something is that a session saw: by what it was told,
    /// else by the content.
    pub(crate) fn seq(
        &self,
        room: &str,
        position: Option<&Position>,
        content: &str,
    ) -> Option<u64> {
        position.map(|position| position.seq).or_else(|| {
            let log = self.logs.get(room)?;
            log.by_content.get(content).copied()
        })
    }
}

impl<'a> Log<'a> {
    fn add(&mut self, line: usize, entry: &'a Entry, began_ms: u64) {
        if entry.kind == "claim" && began_ms > 0 {
            let at = entry.at.saturating_sub(began_ms) * 1000;
            self.claims.push(Claim { at, by: entry.by.as_deref().unwrap_or_default() });
        }
        if self.entries.insert(entry.seq, (line, entry)).is_some() {
            self.twice.push(line);
        }
        if let Some(content) = &entry.content
            && entry.kind != "claim"
            && self.by_content.insert(content, entry.seq).is_some()
        {
            self.twice.push(line);
        }
    }
}

impl Stay<'_> {
    /// True if the session gets to see the entry, in history; `None` if that is not
    /// known.
    pub(crate) fn may_read(&self, entry: &Entry) -> Option<bool> {
        match entry.kind.as_str() {
            "message" => Some(true),
            "whisper" => {
                let identity = Some(self.identity?);
                let target = entry.target_identity.as_deref();
                Some(target == identity || entry.author_identity.as_deref() == identity)
            }
            _ => Some(false),
        }
    }

    /// True if the entry is pushed to the session: its own whispers are not.
    pub(crate) fn is_told(&self, entry: &Entry) -> Option<bool> {
        let is_own = || entry.author_identity.as_deref() == self.identity;
        match entry.kind.as_str() {
            "whisper" if self.identity.is_some() && is_own() => Some(false),
            _ => self.may_read(entry),
        }
    }
}

impl Event {
    /// The session that it happened to.
    #[must_use]
    pub fn session(&self) -> Option<u32> {
        match self {
            Self::Opened { session, .. }
            | Self::Enter { session, .. }
            | Self::Entered { session, .. }
            | Self::Send { session, .. }
            | Self::Sent { session, .. }
            | Self::Pushed { session, .. }
            | Self::Came { session, .. }
            | Self::Went { session, .. }
            | Self::Told { session, .. }
            | Self::Ask { session, .. }
            | Self::Page { session, .. }
            | Self::Leave { session, .. }
            | Self::GotOut { session, .. }
            | Self::Closed { session, .. } => Some(*session),
            _ => None,
        }
    }
}
