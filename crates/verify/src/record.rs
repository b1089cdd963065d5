//! What happened in one run, as lines of JSON in order of time.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

/// The kind of a fault that nobody asked for: rooms were taken to a shard again, as
/// after a lost link. It began before it was seen.
pub const REPAIR: &str = "repair";

/// The kind of a fault that is none: shards come and go, as an operator wants it.
pub const SCALE: &str = "scale";

/// Lines that one record may have; whatever writes one stops there, and says so.
pub const LINES_MAX: usize = 8_000_000;

/// One thing that happened.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Line {
    /// Microseconds since the start.
    pub at: u64,
    /// What it was.
    #[serde(flatten)]
    pub event: Event,
}

/// A place in a room's log, as clients see it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Position {
    /// 16 hex digits.
    pub epoch: String,
    /// Number of the entry.
    pub seq: u64,
}

/// What a session that resumes is told.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Verdict {
    /// `complete`, `truncated`, `reset` or `denied`.
    pub kind: String,
    /// The first entry that follows one that is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
    /// Where the session goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
}

/// One message in a page of history.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Shown {
    /// Its number.
    pub seq: u64,
    /// Its author's name.
    pub from: String,
    /// `*`, or a name.
    pub target: String,
    /// Its content.
    #[serde(rename = "msg")]
    pub content: String,
    /// True if its content was taken away.
    #[serde(default)]
    pub redacted: bool,
}

/// One entry of a room's log, as `store export` writes it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Entry {
    /// Its number.
    pub seq: u64,
    /// The term that it was appended under.
    pub term: u64,
    /// When, by the store's clock, in milliseconds since 1970; 0 if that is not known.
    #[serde(default)]
    pub at: u64,
    /// `message`, `whisper` or `claim`.
    pub kind: String,
    /// The shard that claims, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Its author's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Who its author is, in hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author_identity: Option<String>,
    /// The name that a whisper is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Who that was, in hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_identity: Option<String>,
    /// Its client message id, in hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmid: Option<String>,
    /// Its content; none if it was taken away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
}

/// What can happen. Sessions are numbered over all clients; so are requests, within
/// a session.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The run begins.
    Run {
        /// What its workload and faults were drawn from.
        seed: u64,
        /// What it was run with, for people.
        setting: String,
        /// When, in milliseconds since 1970; 0 if the store's times are not of this clock.
        #[serde(default)]
        began_ms: u64,
    },
    /// A client has connected.
    Opened {
        /// The session.
        session: u32,
        /// Which client.
        client: String,
        /// True for extended sessions.
        extended: bool,
        /// Where it connected to.
        connector: String,
    },
    /// It asks to come in.
    Enter {
        /// The session.
        session: u32,
        /// The request.
        request: u32,
        /// Which room.
        room: String,
        /// Under which name.
        name: String,
        /// Who it is, in hex digits, if it can prove it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        identity: Option<String>,
        /// Where it was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resume: Option<Position>,
    },
    /// It was answered.
    Entered {
        /// The session.
        session: u32,
        /// The request.
        request: u32,
        /// 200 if it is in.
        code: u16,
        /// Who is in the room.
        users: Vec<String>,
        /// Where it goes on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        position: Option<Position>,
        /// What became of its resuming.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        verdict: Option<Verdict>,
    },
    /// It says something.
    Send {
        /// The session.
        session: u32,
        /// The request.
        request: u32,
        /// The client's own name for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cmid: Option<String>,
        /// `*`, or a name.
        target: String,
        /// What.
        content: String,
    },
    /// It was answered.
    Sent {
        /// The session.
        session: u32,
        /// The request.
        request: u32,
        /// 200 if it is stored.
        code: u16,
        /// Where it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        position: Option<Position>,
    },
    /// Something was said (`onChat`).
    Pushed {
        /// The session.
        session: u32,
        /// By whom.
        from: String,
        /// To whom.
        target: String,
        /// What.
        content: String,
        /// Where it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        position: Option<Position>,
        /// True if its content was taken away.
        #[serde(default)]
        redacted: bool,
    },
    /// Somebody came (`onAdd`).
    Came {
        /// The session.
        session: u32,
        /// Who.
        user: String,
        /// True if it had a number.
        numbered: bool,
    },
    /// Somebody left (`onLeave`).
    Went {
        /// The session.
        session: u32,
        /// Who.
        user: String,
        /// True if it had a number.
        numbered: bool,
    },
    /// What it saw does not go on without a hole (`onVerdict`).
    Told {
        /// The session.
        session: u32,
        /// What became of it.
        verdict: Verdict,
    },
    /// It asks for a page of history.
    Ask {
        /// The session.
        session: u32,
        /// The request.
        request: u32,
        /// What came before it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<u64>,
        /// What came after it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<u64>,
    },
    /// It was answered.
    Page {
        /// The session.
        session: u32,
        /// The request.
        request: u32,
        /// 200 if it got one.
        code: u16,
        /// The log's epoch.
        epoch: String,
        /// The newest entry of the room.
        head: u64,
        /// Up to which entries are gone.
        taken: u64,
        /// True if nothing lies beyond the page.
        complete: bool,
        /// What was said.
        entries: Vec<Shown>,
    },
    /// It asks to leave.
    Leave {
        /// The session.
        session: u32,
        /// The request.
        request: u32,
    },
    /// It has left.
    GotOut {
        /// The session.
        session: u32,
        /// The request.
        request: u32,
        /// 200 if it is out.
        code: u16,
    },
    /// It is told to come back by another connector (`onReconnect`).
    SentAway {
        /// The session.
        session: u32,
        /// After how long.
        delay_ms: u64,
    },
    /// The session is over.
    Closed {
        /// The session.
        session: u32,
        /// True if the client ended it.
        by_client: bool,
        /// What it was told.
        reason: String,
    },
    /// Something is broken on purpose: written once it is.
    FaultBegins {
        /// Which.
        fault: u32,
        /// What kind of fault.
        kind: String,
        /// What it is done to.
        what: String,
        /// True if nothing can be stored while it lasts.
        store_stopped: bool,
        /// Names of the connectors and shards that it is done to, so that nobody else is
        /// excused; none: all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        touches: Option<Vec<String>>,
    },
    /// It is mended: written before it is, where `store_stopped`, else after.
    FaultEnds {
        /// Which.
        fault: u32,
    },
    /// A time without faults begins.
    QuietBegins,
    /// It ends. Nobody came or went in its last seconds.
    QuietEnds,
    /// A room, as the store has it at the end.
    Log {
        /// The room.
        room: String,
        /// 16 hex digits.
        epoch: String,
        /// Its newest entry.
        head: u64,
        /// Up to which entries are gone or emptied.
        taken: u64,
    },
    /// One entry of it.
    Logged {
        /// The room.
        room: String,
        /// The entry.
        entry: Entry,
    },
    /// The store cannot tell what a room's log is: an entry is none that was written.
    Damaged {
        /// The room.
        room: String,
        /// What it says.
        what: String,
    },
    /// The run is over.
    End,
}

/// Writes a record.
///
/// # Errors
///
/// What the writer says.
pub fn write(lines: &[Line], out: &mut dyn Write) -> io::Result<()> {
    for line in lines {
        serde_json::to_writer(&mut *out, line)?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// Reads a record.
///
/// # Errors
///
/// What the reader says, or which line is none of a record.
pub fn read(from: &mut dyn BufRead) -> io::Result<Vec<Line>> {
    let mut lines = Vec::new();
    for (number, text) in from.lines().enumerate() {
        let line = serde_json::from_str(&text?).map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidData, format!("line {}: {error}", number + 1))
        })?;
        if lines.len() == LINES_MAX {
            return Err(io::Error::other(format!("more than {LINES_MAX} lines")));
        }
        lines.push(line);
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_the_same_after_writing_and_reading() {
        let at = Position { epoch: "00000000000000aa".into(), seq: 7 };
        let lines = [
            Event::Run { seed: 1, setting: "tiny".into(), began_ms: 0 },
            Event::Sent { session: 1, request: 2, code: 200, position: Some(at) },
            Event::Sent { session: 1, request: 3, code: 503, position: None },
            Event::QuietBegins,
            Event::End,
        ];
        let lines: Vec<_> =
            lines.into_iter().zip(0..).map(|(event, at)| Line { at, event }).collect();
        let mut bytes = Vec::new();
        write(&lines, &mut bytes).unwrap();
        assert_eq!(read(&mut &*bytes).unwrap(), lines);
        let error = read(&mut &b"{\"at\":1,\"event\":\"end\"}\n{}\n"[..]).unwrap_err();
        assert!(error.to_string().starts_with("line 2: "), "{error}");
    }
}
