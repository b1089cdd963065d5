//! What clients may ask, and what they are answered.

use std::sync::{
    Arc, Mutex, OnceLock,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use bytes::Bytes;
use frontend::{Pace, Paces, Rate};
use model::{Identity, RoomId, UserName};
use serde_json::{Value, json};
use tokio::time::Instant;
use wire::{Call, Dialect, RawId, Route};

use crate::{
    extended::{self, Secret},
    hub::Hub,
    links::Links,
    pending::{Ask, Joining, Speech},
    room::Room,
};

/// A client's connection, with what this service keeps about it.
pub(crate) type Session = frontend::Session<Client>;

/// What this service keeps about a client.
#[derive(Debug, Default)]
pub(crate) struct Client {
    dialect: OnceLock<Dialect>,
    identity: OnceLock<Identity>,
    place: Mutex<Place>,
    /// How fast it speaks.
    pace: Pace,
    /// How fast it asks for other things, which only extended sessions can.
    asks: Pace,
    /// Requests that wait for an answer.
    pub(crate) waiting: AtomicUsize,
    /// Requests whose answer, if there is one, is not on its way to the client yet: it
    /// is counted down when that is written, a little after `waiting`.
    pub(crate) unanswered: AtomicUsize,
    /// It asks for something just now.
    pub(crate) is_asking: AtomicBool,
    /// It is about to be sent away, so it may ask for nothing more.
    pub(crate) is_leaving: AtomicBool,
    /// It is sent away when it has its answers.
    pub(crate) is_due: AtomicBool,
}

/// Where a client is.
#[derive(Clone, Debug, Default)]
pub(crate) enum Place {
    /// In no room.
    #[default]
    Outside,
    /// Has asked to come in.
    Entering(Seat),
    /// In a room.
    Inside(Seat),
}

/// A place in a room, had or asked for.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub(crate) room: Arc<Room>,
    pub(crate) name: UserName,
    pub(crate) who: Who,
}

/// Who somebody is, whatever the name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who {
    pub(crate) identity: Identity,
    /// True if the client can prove it.
    pub(crate) has_secret: bool,
}

impl Client {
    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect.get().copied().unwrap_or_default()
    }

    /// True if the client asked for more than the original gives.
    pub(crate) fn is_extended(&self) -> bool {
        self.dialect() == Dialect::Extended
    }

    /// Who a client is that has no secret.
    fn anybody(&self) -> Who {
        let identity = self.identity.get().copied().unwrap_or(Identity([0; 16]));
        Who { identity, has_secret: false }
    }

    pub(crate) fn place(&self) -> Place {
        self.place.lock().expect("a place").clone()
    }
}

/// Says where a client is now. Who is in no room may stay for a while only.
pub(crate) fn set_place(session: &Session, place: Place) {
    session.set_busy(!matches!(place, Place::Outside));
    *session.state().place.lock().expect("a place") = place;
}

impl Place {
    /// The place in a room, if there is one.
    pub(crate) fn seat(&self) -> Option<&Seat> {
        match self {
            Self::Outside => None,
            Self::Entering(seat) | Self::Inside(seat) => Some(seat),
        }
    }
}

/// Answers clients' calls.
#[derive(Debug)]
pub(crate) struct Handler {
    pub(crate) hub: Hub,
    pub(crate) links: Links,
    pub(crate) content_max: usize,
    pub(crate) session_requests_max: usize,
    /// How fast one client may speak; none: as it likes.
    pub(crate) sends: Option<Rate>,
    /// How fast rooms may be entered, from one address, that nobody here is in.
    pub(crate) new_rooms: Paces,
    /// Where the clients' paces start.
    pub(crate) origin: Instant,
}

impl frontend::Handler for Handler {
    type State = Client;

    const KNOWN: &'static [&'static str] = &[
        wire::route::ENTER,
        wire::route::SEND,
        wire::route::HISTORY,
        wire::route::LEAVE,
        wire::route::ROOMS,
    ];

    fn opened(&self, session: &Arc<Session>, conn: &mut wire::Conn) {
        let client = session.state();
        // Both are set here only, and this is called once.
        let _ = client.dialect.set(conn.dialect());
        let _ = client.identity.set(Identity(self.hub.rng().bytes16()));
        self.hub.opened(session);
    }

    fn call(&self, session: &Arc<Session>, call: Call) {
        // In this order, against that of `drain`: whoever is sent away has no request
        // that would get no answer.
        let client = session.state();
        client.is_asking.store(true, Ordering::SeqCst);
        if client.is_leaving.load(Ordering::SeqCst) {
            let refused = Refused::new(503, "the connector is about to stop, come back");
            self.refuse(session, call.id, label(call.route), &refused);
        } else {
            self.ask(session, &call);
        }
        client.is_asking.store(false, Ordering::SeqCst);
    }

    fn closed(&self, session: &Arc<Session>) {
        self.hub.closed(session);
    }
}

impl Handler {
    fn ask(&self, session: &Arc<Session>, call: &Call) {
        let waiting = &session.state().waiting;
        let route = label(call.route);
        let is_extra = matches!(call.route, Route::History | Route::Leave | Route::Rooms);
        if is_extra && !session.state().is_extended() {
            // As if it were not there.
            return self.refuse(session, call.id, route, &Refused::silent(500));
        }
        if waiting.load(Ordering::Relaxed) >= self.session_requests_max {
            return self.refuse(
                session,
                call.id,
                route,
                &Refused::new(429, "too many requests wait"),
            );
        }
        let refused = match call.route {
            Route::Enter => self.enter(session, call.id, &call.body),
            Route::Send => self.send(session, call.id, &call.body),
            Route::History => self.history(session, call.id, &call.body),
            Route::Leave => self.leave(session, call.id),
            Route::Rooms => self.list(session, call.id, &call.body),
            Route::QueryEntry | Route::Other(_) => Err(Refused::silent(500)),
        };
        if let Err(refused) = refused {
            self.refuse(session, call.id, route, &refused);
        }
    }
}

/// A request that no shard has to be asked about.
struct Refused {
    code: u16,
    body: Value,
}

impl Refused {
    fn new(code: u16, error: impl Into<String>) -> Self {
        Self { code, body: json!({ "code": code, "error": error.into() }) }
    }

    /// As the original says it.
    fn silent(code: u16) -> Self {
        Self { code, body: json!({ "code": code }) }
    }
}

impl Handler {
    fn enter(
        &self,
        session: &Arc<Session>,
        id: Option<RawId>,
        body: &Value,
    ) -> Result<(), Refused> {
        let username = text(body, "username")?;
        let rid = text(body, "rid")?;
        let name = UserName::parse(username)
            .map_err(|error| Refused::new(400, format!("username: {error}")))?;
        let room =
            RoomId::parse(rid).map_err(|error| Refused::new(400, format!("rid: {error}")))?;
        if session.state().place().seat().is_some() {
            return Err(Refused { code: 500, body: json!({ "code": 500, "error": true }) });
        }
        let joining = if session.state().is_extended() {
            self.shown(name, body).map_err(|error| Refused::new(400, error))?
        } else {
            let (who, may_hold) = (session.state().anybody(), false);
            Joining {
                name,
                who,
                secret: None,
                resume: None,
                held_after: None,
                knows_roster: false,
                may_hold,
            }
        };
        let now = self.hub.clock().now() - self.origin;
        if self.hub.room(&room).is_none() && !self.new_rooms.admits(session.peer().ip(), now) {
            return Err(Refused::new(429, "too many new rooms"));
        }
        self.hub.enter(session, id, &room, joining);
        Ok(())
    }

    /// Reads what an extended session shows at the door.
    fn shown(&self, name: UserName, body: &Value) -> Result<Joining, String> {
        let resume = extended::read_resume(body)?;
        let secret =
            extended::read_secret(body)?.unwrap_or_else(|| Secret::new(self.hub.rng().bytes16()));
        let who = Who { identity: secret.identity(), has_secret: true };
        let secret = Some(secret);
        Ok(Joining {
            name,
            who,
            secret,
            resume,
            held_after: None,
            knows_roster: false,
            may_hold: true,
        })
    }

    fn send(&self, session: &Arc<Session>, id: Option<RawId>, body: &Value) -> Result<(), Refused> {
        let place = session.state().place();
        let seat = place.seat().ok_or_else(|| Refused::silent(500))?;
        let now = self.hub.clock().now() - self.origin;
        if self.sends.is_some_and(|rate| !session.state().pace.admits(rate, now)) {
            return Err(Refused::new(429, "too many messages"));
        }
        let content = text(body, "content")?;
        let target = text(body, "target")?;
        if content.is_empty() {
            return Err(Refused::new(400, "content: must not be empty"));
        }
        self.fit("content", content.len())?;
        let is_extended = session.state().is_extended();
        let answer = match body.get("route").filter(|_| !is_extended) {
            None => Bytes::from_static(b"{}"),
            Some(route) => {
                // The sample gives it back. It waits as long as the content does.
                let answer = wire::to_json(&json!({ "route": route }));
                self.fit("route", answer.len())?;
                answer.into()
            }
        };
        let target = match target {
            model::TARGET_ALL => target.to_owned(),
            // Nobody can have a name that is none.
            name => UserName::parse(name).map_err(|_| Refused::silent(500))?.to_string(),
        };
        let cmid = if is_extended {
            extended::read_cmid(body).map_err(|error| Refused::new(400, error))?
        } else {
            None
        };
        let cmid = cmid.unwrap_or_else(|| self.hub.make_cmid(is_extended));
        let (author, content) = (seat.who.identity, content.to_owned());
        let speech = Speech { target, content, cmid, author, answer };
        self.hub.ask_inside(session, id, &seat.room, Ask::Publish(speech));
        Ok(())
    }

    fn history(
        &self,
        session: &Arc<Session>,
        id: Option<RawId>,
        body: &Value,
    ) -> Result<(), Refused> {
        let place = session.state().place();
        let seat = place.seat().ok_or_else(|| Refused::silent(500))?;
        self.may_ask(session)?;
        let page = extended::read_page(body).map_err(|error| Refused::new(400, error))?;
        self.hub.ask_inside(session, id, &seat.room, Ask::History(page));
        Ok(())
    }

    fn leave(&self, session: &Arc<Session>, id: Option<RawId>) -> Result<(), Refused> {
        // Whoever has asked to come in is not in yet.
        let Place::Inside(seat) = session.state().place() else {
            return Err(Refused::silent(500));
        };
        self.may_ask(session)?;
        set_place(session, Place::Outside);
        self.hub.leave(session, id, &seat.room);
        Ok(())
    }

    fn list(&self, session: &Arc<Session>, id: Option<RawId>, body: &Value) -> Result<(), Refused> {
        self.may_ask(session)?;
        let limit = extended::read_rooms_limit(body).map_err(|error| Refused::new(400, error))?;
        self.hub.list(session, id, limit, &self.links.up());
        Ok(())
    }

    /// What is not said may be asked for as fast as things may be said.
    fn may_ask(&self, session: &Session) -> Result<(), Refused> {
        let now = self.hub.clock().now() - self.origin;
        if self.sends.is_some_and(|rate| !session.state().asks.admits(rate, now)) {
            return Err(Refused::new(429, "too many requests"));
        }
        Ok(())
    }

    /// Whether `field` is short enough to be kept until the shard answers.
    fn fit(&self, field: &str, len: usize) -> Result<(), Refused> {
        let max = self.content_max;
        let error = || format!("{field}: must have at most {max} bytes, not {len}");
        if len > max { Err(Refused::new(413, error())) } else { Ok(()) }
    }

    fn refuse(
        &self,
        session: &Arc<Session>,
        id: Option<RawId>,
        route: &'static str,
        refused: &Refused,
    ) {
        self.hub.metrics().answered(route, refused.code);
        if let Some(id) = id {
            session.respond(&id, &wire::to_json(&refused.body));
        }
    }
}

/// Reads a field that has to be text.
fn text<'a>(body: &'a Value, field: &str) -> Result<&'a str, Refused> {
    match body.get(field) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(Refused::new(400, format!("{field}: must be text"))),
        None => Err(Refused::new(400, format!("{field}: is missing"))),
    }
}

fn label(route: Route) -> &'static str {
    match route {
        Route::Enter => "enter",
        Route::Send => "send",
        Route::History => "history",
        Route::Leave => "leave",
        Route::Rooms => "list",
        Route::QueryEntry | Route::Other(_) => "other",
    }
}
