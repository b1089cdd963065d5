//! How clients fared: who was sent away or lost a connection and how soon it was back,
//! how long rooms stood still, what was lost.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use serde_json::{Value, json};
use verify::{Event, Line, Outcome};

const SECOND: u64 = 1_000_000;
/// Rules that are broken when something is lost: it is not stored, not seen, or too late.
const LOSSES: [u8; 3] = [3, 7, 8];
/// The rule that is broken when something is stored twice.
const DOUBLES: u8 = 5;
/// Why a session is closed whose client has come in by another one.
const BY_ITS_NEXT: [&str; 2] = ["superseded", "logged in"];
/// The code of what may be said again.
const UNAVAILABLE: u16 = 503;

/// What came out of a run, or of a part of it. Times are in microseconds, sorted.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) sent: usize,
    pub(crate) acked: usize,
    pub(crate) pushed: usize,
    /// Sends that were refused, by code.
    pub(crate) refused: BTreeMap<u16, usize>,
    /// Clients that came back after the server's side had ended their session.
    pub(crate) back: usize,
    /// How often one of them did, at most.
    pub(crate) back_most: usize,
    /// How many of them in one second, at most.
    pub(crate) back_peak: usize,
    /// Clients that did not come back.
    pub(crate) missing: usize,
    /// How long they were away.
    pub(crate) away: Vec<u64>,
    /// How long each acknowledgement took.
    pub(crate) answers: Vec<u64>,
    /// Of each room, how long it answered nobody at most, while somebody had asked.
    pub(crate) pauses: Vec<u64>,
    /// Things that clients were to have and have not.
    pub(crate) lost: u64,
    /// Things that are stored or were shown twice.
    pub(crate) doubled: u64,
}

/// A client, over all of its sessions.
#[derive(Default)]
struct Client {
    /// The session that is in a room, or was last.
    session: u32,
    is_in: bool,
    /// Since when it is away against its will.
    away: Option<u64>,
    times: usize,
}

/// Who waits for answers in a room.
#[derive(Default)]
struct Room {
    /// By session and request: when it was asked.
    waiting: HashMap<(u32, u32), u64>,
    /// When it had answered last.
    answered: u64,
    /// Since when it has told nobody more than that it cannot answer.
    stalled: Option<u64>,
    pause: u64,
}

/// The value below which `percent` of all are.
pub(crate) fn percentile(sorted: &[u64], percent: usize) -> u64 {
    match sorted.len() {
        0 => 0,
        len => sorted[(len - 1) * percent / 100],
    }
}

impl Figures {
    /// Of a whole record, and what came out when it was checked.
    pub(crate) fn of(lines: &[Line], outcomes: &[Outcome]) -> Self {
        let mut figures = Self::between(lines, 0, u64::MAX);
        let broken = |rules: &[u8]| {
            let broken = outcomes.iter().filter(|outcome| rules.contains(&outcome.rule));
            broken.map(|outcome| outcome.broken).sum()
        };
        figures.lost = broken(&LOSSES);
        figures.doubled = broken(&[DOUBLES]) + shown_twice(lines);
        figures
    }

    /// Of what happened between two times; what is lost or doubled is not counted.
    pub(crate) fn between(lines: &[Line], from: u64, to: u64) -> Self {
        let mut count = Count { from, to, ..Count::default() };
        lines.iter().for_each(|line| count.happened(line));
        count.end()
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let ms = |sorted: &[u64]| {
            let at = |percent| percentile(sorted, percent) / 1000;
            json!({ "p50_ms": at(50), "p99_ms": at(99), "max_ms": at(100) })
        };
        json!({
            "sent": self.sent,
            "acknowledged": self.acked,
            "pushed": self.pushed,
            "refused": self.refused,
            "reconnects": self.back,
            "reconnects_per_second_peak": self.back_peak,
            "reconnects_per_client_max": self.back_most,
            "never_back": self.missing,
            "away": ms(&self.away),
            "answers": ms(&self.answers),
            "pauses": ms(&self.pauses),
            "lost": self.lost,
            "doubled": self.doubled,
        })
    }

    /// For people, a line each.
    pub(crate) fn lines(&self) -> [String; 6] {
        let refused: Vec<_> =
            self.refused.iter().map(|(code, count)| format!("{count} by {code}")).collect();
        let refused = if refused.is_empty() { "none".to_owned() } else { refused.join(", ") };
        let Self { sent, acked, pushed, back, back_peak, back_most, missing, .. } = self;
        [
            format!(
                "messages    {sent} sent, {acked} acknowledged, {pushed} pushed; refused: {refused}"
            ),
            format!(
                "reconnects  {back}, {back_peak} of them in one second and {back_most} of one \
                 client at most; {missing} never came back"
            ),
            format!("away        {}", spread(&self.away)),
            format!("answers     {}", spread(&self.answers)),
            format!("pauses      {}, of the longest of each room", spread(&self.pauses)),
            format!("lost {}, doubled {}", self.lost, self.doubled),
        ]
    }
}

/// For people: the middle, the longest of all but a hundredth, and the longest.
pub(crate) fn spread(sorted: &[u64]) -> String {
    let at = |percent| percentile(sorted, percent) / 1000;
    format!("{} ms at p50, {} ms at p99, {} ms at most", at(50), at(99), at(100))
}

/// How often a session was shown the same twice since it last came in.
fn shown_twice(lines: &[Line]) -> u64 {
    let (mut shown, mut comings, mut twice) = (HashSet::new(), HashMap::new(), 0);
    for line in lines {
        match &line.event {
            Event::Entered { session, .. } => *comings.entry(session).or_insert(0) += 1,
            Event::Pushed { session, from, content, .. } => {
                let coming = comings.get(session).copied().unwrap_or(0);
                twice += u64::from(!shown.insert((session, coming, from, content)));
            }
            _ => {}
        }
    }
    twice
}

/// Counts while it goes through a record.
#[derive(Default)]
struct Count<'a> {
    from: u64,
    to: u64,
    figures: Figures,
    /// By session: whose it is.
    owners: HashMap<u32, &'a str>,
    clients: HashMap<&'a str, Client>,
    /// By session: in which room it is or wants to be.
    places: HashMap<u32, &'a str>,
    rooms: HashMap<&'a str, Room>,
    /// When clients were back, within the last second.
    backs: VecDeque<u64>,
}

impl<'a> Count<'a> {
    fn happened(&mut self, line: &'a Line) {
        let at = line.at;
        let counts = (self.from..=self.to).contains(&at);
        match &line.event {
            Event::Opened { session, client, .. } => {
                self.owners.insert(*session, client);
            }
            Event::Enter { session, room, .. } => {
                self.places.insert(*session, room);
            }
            Event::Entered { session, code: 200, .. } => self.came(*session, at, counts),
            Event::Send { session, request, .. } => {
                self.figures.sent += usize::from(counts);
                let Some(room) = self.places.get(session) else { return };
                let room = self.rooms.entry(room).or_default();
                room.waiting.insert((*session, *request), at);
            }
            Event::Sent { session, request, code, .. } => {
                self.answered((*session, *request), *code, at, counts);
            }
            Event::Pushed { .. } => self.figures.pushed += usize::from(counts),
            Event::Leave { session, .. } => self.went(*session, at, true),
            Event::Closed { session, by_client, reason } => {
                let is_wanted = *by_client || BY_ITS_NEXT.iter().any(|word| reason.contains(word));
                self.went(*session, at, is_wanted);
            }
            _ => {}
        }
    }

    fn client(&mut self, session: u32) -> Option<&mut Client> {
        Some(self.clients.entry(self.owners.get(&session)?).or_default())
    }

    fn came(&mut self, session: u32, at: u64, counts: bool) {
        let Some(client) = self.client(session) else { return };
        (client.session, client.is_in) = (session, true);
        let Some(since) = client.away.take().filter(|_| counts) else { return };
        client.times += 1;
        let times = client.times;
        self.backs.push_back(at);
        self.backs.retain(|back| back + SECOND > at);
        let figures = &mut self.figures;
        figures.back += 1;
        figures.back_most = figures.back_most.max(times);
        figures.back_peak = figures.back_peak.max(self.backs.len());
        figures.away.push(at - since);
    }

    fn went(&mut self, session: u32, at: u64, is_wanted: bool) {
        if let Some(room) = self.places.get(&session)
            && let Some(room) = self.rooms.get_mut(room)
        {
            room.waiting.retain(|(waits, _), _| *waits != session);
        }
        let Some(client) = self.client(session) else { return };
        // Who comes in by another session loses the old one, and is not away.
        if client.session == session && std::mem::take(&mut client.is_in) && !is_wanted {
            client.away = Some(at);
        }
    }

    fn answered(&mut self, asked: (u32, u32), code: u16, at: u64, counts: bool) {
        if code != 200 {
            *self.figures.refused.entry(code).or_default() += usize::from(counts);
        }
        let Some(room) = self.places.get(&asked.0) else { return };
        let Some(room) = self.rooms.get_mut(room) else { return };
        let Some(since) = room.waiting.remove(&asked) else { return };
        if counts && code == 200 {
            self.figures.acked += 1;
            self.figures.answers.push(at - since);
        }
        let stands = room.stalled.unwrap_or(since.max(room.answered));
        if counts {
            room.pause = room.pause.max(at - stands);
        }
        if code == UNAVAILABLE {
            room.stalled = Some(stands);
        } else {
            (room.answered, room.stalled) = (at, None);
        }
    }

    fn end(self) -> Figures {
        let mut figures = self.figures;
        figures.missing = self.clients.values().filter(|client| client.away.is_some()).count();
        figures.pauses = self.rooms.values().map(|room| room.pause).collect();
        for times in [&mut figures.away, &mut figures.answers, &mut figures.pauses] {
            times.sort_unstable();
        }
        figures.refused.retain(|_, count| *count > 0);
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines at milliseconds.
    fn record(events: Vec<(u64, Event)>) -> Vec<Line> {
        events.into_iter().map(|(at, event)| Line { at: at * 1000, event }).collect()
    }

    fn opened(session: u32) -> Event {
        let (client, connector) = ("ann".to_owned(), String::new());
        Event::Opened { session, client, extended: true, connector }
    }

    fn enter(session: u32) -> Event {
        let (room, name) = ("r".to_owned(), "ann".to_owned());
        Event::Enter { session, request: 1, room, name, identity: None, resume: None }
    }

    fn entered(session: u32) -> Event {
        let (users, position, verdict) = (Vec::new(), None, None);
        Event::Entered { session, request: 1, code: 200, users, position, verdict }
    }

    fn send(request: u32) -> Event {
        let (target, content) = ("*".to_owned(), request.to_string());
        Event::Send { session: 1, request, cmid: None, target, content }
    }

    fn sent(request: u32, code: u16) -> Event {
        Event::Sent { session: 1, request, code, position: None }
    }

    fn closed(session: u32, by_client: bool) -> Event {
        Event::Closed { session, by_client, reason: String::new() }
    }

    #[test]
    fn whoever_the_server_ends_is_away_until_it_is_in_again() {
        let lines = record(vec![
            (0, opened(1)),
            (1, enter(1)),
            (2, entered(1)),
            (10, closed(1, false)),
            (20, opened(2)),
            (30, entered(2)),
            (40, closed(2, true)),
            (50, opened(3)),
            (60, entered(3)),
            (70, opened(4)),
            (80, entered(4)),
            // Superseded by its own next session.
            (90, closed(3, false)),
            (95, closed(4, false)),
        ]);
        let figures = Figures::of(&lines, &[]);
        assert_eq!((figures.away, figures.back), (vec![20_000], 1));
        assert_eq!((figures.back_peak, figures.back_most, figures.missing), (1, 1, 1));
    }

    #[test]
    fn a_room_pauses_while_somebody_waits_and_nobody_is_answered() {
        let lines = record(vec![
            (0, opened(1)),
            (1, enter(1)),
            (2, entered(1)),
            (100, send(1)),
            (110, send(2)),
            (120, sent(1, 200)),
            (150, sent(2, 200)),
            // Nobody waits; then one is told to try again, and does.
            (900, send(3)),
            (920, sent(3, 503)),
            (925, send(4)),
            (935, sent(4, 200)),
            // One is never answered, which holds nobody up.
            (940, send(5)),
            (990, send(6)),
            (991, sent(6, 200)),
        ]);
        let figures = Figures::of(&lines, &[]);
        assert_eq!(figures.pauses, [35_000]);
        assert_eq!(figures.answers, [1_000, 10_000, 20_000, 40_000]);
        assert_eq!((figures.sent, figures.acked, figures.refused[&503]), (6, 4, 1));
        let late = Figures::between(&lines, 140_000, 200_000);
        assert_eq!((late.acked, late.sent, late.pauses), (1, 0, vec![30_000]));
    }
}
