//! Writes what came over a link to the sessions of a room: each push encoded once,
//! each session written to once per batch.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, atomic::Ordering},
};

use bytes::{Bytes, BytesMut};
use frontend::Outgoing;
use model::RoomId;
use serde_json::Value;
use wire::{Dialect, Profile, PushError, RawId, has_astral};

use crate::{entry::Entry, handler::Session, metrics::Metrics, room::Room};

/// What one batch of events means for clients, room by room.
#[derive(Debug)]
pub(crate) struct Batch {
    profile: Arc<Profile>,
    metrics: Metrics,
    /// Ordered, so that a simulated run can be repeated.
    rooms: BTreeMap<RoomId, (Arc<Room>, Vec<Frame>)>,
}

#[derive(Debug)]
struct Frame {
    scope: Scope,
    content: Content,
}

/// Who gets a frame.
#[derive(Debug)]
enum Scope {
    /// Everybody who is in the room.
    All,
    /// Everybody but the session with this id.
    Except(u64),
    /// One session, whether it is in the room or not.
    Only(Arc<Session>),
}

#[derive(Debug)]
enum Content {
    Chat(Arc<Entry>),
    Presence {
        name: String,
        joined: bool,
    },
    /// For extended sessions only.
    Told {
        route: &'static str,
        body: Value,
    },
    Response {
        id: RawId,
        body: Bytes,
    },
}

impl Batch {
    pub(crate) fn new(profile: Arc<Profile>, metrics: Metrics) -> Self {
        Self { profile, metrics, rooms: BTreeMap::new() }
    }

    /// A message for everybody in the room, or for one session.
    pub(crate) fn chat(
        &mut self,
        room: &Arc<Room>,
        only: Option<&Arc<Session>>,
        entry: Arc<Entry>,
    ) {
        let scope = only.map_or(Scope::All, |session| Scope::Only(Arc::clone(session)));
        self.push(room, scope, Content::Chat(entry));
    }

    /// Somebody came or left; the session `except` is not told.
    pub(crate) fn presence(&mut self, room: &Arc<Room>, except: u64, name: String, joined: bool) {
        let scope = if except == 0 { Scope::All } else { Scope::Except(except) };
        self.push(room, scope, Content::Presence { name, joined });
    }

    /// Something that only the extended sessions in the room are told.
    pub(crate) fn told(&mut self, room: &Arc<Room>, route: &'static str, body: Value) {
        self.push(room, Scope::All, Content::Told { route, body });
    }

    /// An answer, which stays in its place among the pushes.
    pub(crate) fn response(
        &mut self,
        room: &Arc<Room>,
        session: &Arc<Session>,
        id: RawId,
        body: Bytes,
    ) {
        self.push(room, Scope::Only(Arc::clone(session)), Content::Response { id, body });
    }

    fn push(&mut self, room: &Arc<Room>, scope: Scope, content: Content) {
        let (_, frames) =
            self.rooms.entry(room.id.clone()).or_insert_with(|| (Arc::clone(room), Vec::new()));
        frames.push(Frame { scope, content });
    }

    /// Writes what has gathered for a room: before somebody comes in who must not
    /// get it.
    pub(crate) fn flush_room(&mut self, room: &Arc<Room>) {
        if let Some((room, frames)) = self.rooms.remove(&room.id) {
            self.write(&room, &frames);
        }
    }

    /// Writes all that has gathered.
    pub(crate) fn flush(&mut self) {
        for (_, (room, frames)) in std::mem::take(&mut self.rooms) {
            self.write(&room, &frames);
        }
    }

    fn write(&self, room: &Room, frames: &[Frame]) {
        let _turn = room.delivery.lock().expect("a writer panicked");
        let members = Arc::clone(&room.state().members);
        self.metrics.batch_pushes.observe(frames.len() as f64);

        // Sessions that get something else than the rest.
        let special: HashSet<u64> = frames
            .iter()
            .filter_map(|frame| match &frame.scope {
                Scope::All => None,
                Scope::Except(id) => Some(*id),
                Scope::Only(session) => Some(session.id()),
            })
            .collect();
        let mut shared = Shared::new(&self.profile, frames);
        let mut delivered = 0;
        let mut written = HashSet::new();
        for member in members.iter() {
            let session = &member.session;
            if special.contains(&session.id()) {
                written.insert(session.id());
                delivered += self.write_special(session, frames, true);
            } else if let Some((outgoing, count)) = shared.get(session.state().dialect()) {
                delivered += count;
                session.send(outgoing);
            }
        }
        for frame in frames {
            if let Scope::Only(session) = &frame.scope
                && written.insert(session.id())
            {
                self.write_special(session, frames, false);
            }
        }
        self.metrics.deliveries.inc_by(delivered);
    }

    fn write_special(&self, session: &Arc<Session>, frames: &[Frame], is_member: bool) -> u64 {
        let mine = frames.iter().filter(|frame| match &frame.scope {
            Scope::All => is_member,
            Scope::Except(id) => is_member && *id != session.id(),
            // What is said is for members: of one who has left since it gathered here the
            // messages for all are lost, and so must be the whispers among them. Answers
            // and what else is for one session alone come in any case.
            Scope::Only(only) => {
                only.id() == session.id()
                    && (is_member || !matches!(frame.content, Content::Chat(_)))
            }
        });
        let mut builder = Outgoing::builder();
        let (mut delivered, mut answered) = (0, 0);
        let mut package = BytesMut::new();
        for frame in mine {
            answered += usize::from(matches!(frame.content, Content::Response { .. }));
            package.clear();
            if encode(&self.profile, session.state().dialect(), &frame.content, &mut package) {
                builder.push(&package);
                delivered += u64::from(!matches!(frame.content, Content::Response { .. }));
            }
        }
        if !builder.is_empty() {
            session.send(&builder.build());
        }
        session.state().unanswered.fetch_sub(answered, Ordering::Release);
        delivered
    }
}

/// The frames for everybody, encoded when the first session of a dialect comes.
struct Shared<'a> {
    profile: &'a Profile,
    frames: &'a [Frame],
    /// By dialect; those that need the same bytes share them.
    encoded: [Option<(Outgoing, u64)>; 4],
    is_plain: bool,
}

impl<'a> Shared<'a> {
    fn new(profile: &'a Profile, frames: &'a [Frame]) -> Self {
        let astral = |frame: &Frame| match &frame.content {
            Content::Chat(said) => {
                let said = &said.entry;
                has_astral(&said.content) || has_astral(&said.author) || has_astral(&said.target)
            }
            Content::Presence { name, .. } => has_astral(name),
            Content::Told { .. } | Content::Response { .. } => false,
        };
        Self {
            profile,
            frames,
            encoded: [None, None, None, None],
            is_plain: !frames.iter().any(astral),
        }
    }

    fn get(&mut self, dialect: Dialect) -> Option<&(Outgoing, u64)> {
        // Without characters above U+FFFF these two read the same bytes.
        let dialect =
            if dialect == Dialect::Browser && self.is_plain { Dialect::Classic } else { dialect };
        let slot = match dialect {
            Dialect::Classic => 0,
            Dialect::Browser => 1,
            Dialect::Pitaya => 2,
            Dialect::Extended => 3,
        };
        if self.encoded[slot].is_none() {
            let mut builder = Outgoing::builder();
            let (mut count, mut package) = (0, BytesMut::new());
            // Whoever is not special gets those with an exception, too.
            for frame in self.frames.iter().filter(|frame| !matches!(frame.scope, Scope::Only(_))) {
                package.clear();
                if encode(self.profile, dialect, &frame.content, &mut package) {
                    builder.push(&package);
                    count += 1;
                }
            }
            self.encoded[slot] = Some((builder.build(), count));
        }
        self.encoded[slot].as_ref().filter(|(_, count)| *count > 0)
    }
}

/// Appends one package. False if there is nothing for the dialect in it, or if it
/// does not fit one, which limits on content and names make impossible; then it is
/// left out and logged.
fn encode(profile: &Profile, dialect: Dialect, content: &Content, out: &mut BytesMut) -> bool {
    let encoded: Result<(), PushError> = match content {
        Content::Chat(said) if dialect == Dialect::Extended => {
            profile.encode_said(&said.said(), out).map_err(Into::into)
        }
        // There is nothing to show.
        Content::Chat(said) if said.entry.redacted => return false,
        Content::Chat(said) => {
            let said = &said.entry;
            profile
                .encode_chat_for(dialect, &said.content, &said.author, &said.target, out)
                .map_err(Into::into)
        }
        Content::Presence { name, joined } => {
            profile.encode_presence_for(dialect, *joined, name, out).map_err(Into::into)
        }
        Content::Told { route, body } if dialect == Dialect::Extended => {
            profile.encode_push_for(dialect, route, body, out)
        }
        Content::Told { .. } => return false,
        Content::Response { id, body } => wire::encode_response(id, body, out).map_err(Into::into),
    };
    if let Err(error) = &encoded {
        tracing::warn!(error = %error, "push does not fit a package");
    }
    encoded.is_ok()
}
