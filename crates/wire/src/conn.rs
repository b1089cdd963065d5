use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde_json::Value;

use crate::handshake::Greeting;
use crate::route::Route;
use crate::signing::PublicKey;
use crate::{
    CloseReason, DecodeError, Dialect, HEARTBEAT_PACKAGE, Kind, Message, Package, Profile, RawId,
    RawRoute, encode_kick, encode_response,
};

/// One client connection, as a machine from packages to [`Output`]s.
///
/// Follows the states of pomelo 2.2.7, where packages that do not fit the state
/// are silently ignored. Keeps no buffers and no time: the shell reads packages,
/// carries the outputs out in order, and closes when heartbeats stay away.
///
/// Three deliberate differences: an ACK counts from the moment the handshake
/// response is *put out*; malformed messages close the connection, where the
/// original leaves it open and deaf; and so do messages without the signature
/// that [the profile asks for](Profile::with_signing), which it drops.
#[derive(Debug)]
pub struct Conn {
    profile: Arc<Profile>,
    known: &'static [&'static str],
    /// Boxed, because most clients send none and a million connections live.
    user: Option<Box<Value>>,
    /// What bodies are signed with, if the profile asks for that.
    key: Option<Box<PublicKey>>,
    state: State,
    dialect: Dialect,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Inited,
    WaitAck,
    Working,
    Closed,
}

/// What the shell must do, in the order of the outputs.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Write this whole package; as one WebSocket message of its own.
    Send(Bytes),
    /// Run a handler.
    Call(Call),
    /// Write what came before, then close. Nothing comes after.
    Close(CloseReason),
}

/// A request or notify for a handler that exists.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// What to answer to, exactly once; `None` if nothing may be answered: a
    /// notify, a push sent by a client, a request with id 0.
    pub id: Option<RawId>,
    /// Which handler.
    pub route: Route,
    /// The decoded body, of any JSON type; `{}` if the client's was not JSON.
    pub body: Value,
}

impl Conn {
    /// Begins a connection that has sent nothing yet.
    ///
    /// `known` are the three-part routes that have a handler on this server.
    pub fn new(profile: Arc<Profile>, known: &'static [&'static str]) -> Self {
        let (user, key, state, dialect) = (None, None, State::Inited, Dialect::default());
        Self { profile, known, user, key, state, dialect }
    }

    /// Takes the next package of the client and appends what follows from it.
    pub fn handle(&mut self, package: Package, out: &mut Vec<Output>) {
        match (self.state, package.kind) {
            (State::Closed, _) => {}
            (_, Kind::Kick) => self.close(CloseReason::ClientKick, out),
            (State::Inited, Kind::Handshake) => self.greet(&package.body, out),
            (State::WaitAck, Kind::HandshakeAck) => {
                self.state = State::Working;
                // The JS client stays silent until the server's first heartbeat.
                self.beat(out);
            }
            (State::Working, Kind::Heartbeat) => self.beat(out),
            (State::Working, Kind::Data) => match Message::decode(package.body) {
                Ok(message) => self.dispatch(message, out),
                Err(_) => self.close(CloseReason::MalformedMessage, out),
            },
            _ => {}
        }
    }

    /// Takes an error of the framing below; the connection is over.
    pub fn handle_error(&mut self, error: DecodeError, out: &mut Vec<Output>) {
        if self.state != State::Closed {
            self.close(error.into(), out);
        }
    }

    /// Whether the client is through the handshake, so that responses, pushes
    /// and kicks may be sent. Before that, clients do not expect them.
    pub fn is_working(&self) -> bool {
        self.state == State::Working
    }

    /// What the client reads, as its handshake told; classic until then.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// What this connection announces and encodes by.
    pub fn profile(&self) -> &Arc<Profile> {
        &self.profile
    }

    /// The `user` of the client's handshake, if it was there, not `null`, and no longer
    /// than 4 KiB.
    pub fn user(&self) -> Option<&Value> {
        self.user.as_deref()
    }

    /// As [`Conn::user`], and forgets it, which frees its memory.
    pub fn take_user(&mut self) -> Option<Value> {
        self.user.take().map(|user| *user)
    }

    /// Appends a KICK package, but only to a client that is
    /// [working](Conn::is_working); otherwise the client just sees the close.
    /// Ends the connection: the caller closes after sending.
    pub fn encode_kick(&mut self, reason: &str, out: &mut BytesMut) {
        if self.is_working() {
            encode_kick(reason, out);
        }
        self.state = State::Closed;
    }

    fn greet(&mut self, body: &[u8], out: &mut Vec<Output>) {
        let Some((greeting, key)) = self.read_greeting(body) else {
            out.push(Output::Send(Bytes::from_static(HANDSHAKE_FAILED)));
            return self.close(CloseReason::HandshakeFailed, out);
        };
        self.key = key.map(Box::new);
        out.push(Output::Send(self.profile.handshake_response(&greeting)));
        self.dialect = greeting.dialect;
        self.user = greeting.user.map(Box::new);
        self.state = State::WaitAck;
    }

    /// Reads a handshake request, and in it the key that the profile asks for.
    fn read_greeting(&self, body: &[u8]) -> Option<(Greeting, Option<PublicKey>)> {
        let mut greeting = Greeting::parse(body)?;
        if !self.profile.is_signed() {
            return Some((greeting, None));
        }
        let key = PublicKey::parse(&greeting.rsa.take()?).ok()?;
        Some((greeting, key))
    }

    /// Sends a heartbeat at once, as pomelo 2.x does.
    fn beat(&self, out: &mut Vec<Output>) {
        if self.profile.heartbeat_secs().is_some() {
            out.push(Output::Send(Bytes::from_static(&HEARTBEAT_PACKAGE)));
        }
    }

    fn dispatch(&mut self, message: Message, out: &mut Vec<Output>) {
        let (id, route, body) = match message {
            Message::Request { id, route, body } => {
                (Some(id).filter(RawId::wants_response), route, body)
            }
            Message::Notify { route, body } | Message::Push { route, body } => (None, route, body),
            // Nothing was asked of the client, and unknown types mean nothing.
            Message::Response { .. } | Message::Unknown { .. } => return,
        };
        let signed = match self.open(&route, &body) {
            Ok(signed) => signed,
            Err(reason) => return self.close(reason, out),
        };
        match self.judge(&route) {
            Verdict::Ignore => {}
            Verdict::Fail => out.extend(id.map(|id| Output::Send(internal_error(&id)))),
            Verdict::Attack => {
                let mut kick = BytesMut::new();
                self.encode_kick("attack", &mut kick);
                out.push(Output::Send(kick.freeze()));
                self.close(CloseReason::Attack, out);
            }
            Verdict::Call(name) => {
                let decode = || self.profile.decode_body(self.dialect, name, &body);
                let Ok(body) = signed.map_or_else(decode, Ok) else {
                    return self.close(CloseReason::MalformedBody, out);
                };
                out.push(Output::Call(Call { id, route: Route::from_name(name), body }));
            }
        }
    }

    /// Returns the body without its signature, if bodies are signed here. Like
    /// pomelo 2.2.7 before anything is done about the route, so that unsigned
    /// messages get no answers, but after a code that means nothing.
    fn open(&self, route: &RawRoute, body: &[u8]) -> Result<Option<Value>, CloseReason> {
        let Some(route) = self.profile.resolve(route).filter(|_| self.profile.is_signed()) else {
            return Ok(None);
        };
        // By its schema the signature is an unknown field, which is left out.
        let is_json = !self.profile.is_protobuf(self.dialect, route);
        let opened = self.key.as_ref().filter(|_| is_json).and_then(|key| key.open(body));
        opened.map(Some).ok_or(CloseReason::BadSignature)
    }

    /// Decides by the route alone, in the order of pomelo 2.2.7.
    fn judge(&self, route: &RawRoute) -> Verdict {
        let Some(route) = self.profile.resolve(route) else { return Verdict::Ignore };
        let (server_type, rest) = route.split_once('.').unwrap_or_default();
        if server_type.is_empty() {
            return Verdict::Ignore;
        }
        if let Some((_, "constructor")) = rest.split_once('.') {
            return Verdict::Attack;
        }
        // Routes of two or four parts are never among the known.
        let known = self.known.iter().find(|known| **known == route);
        known.map_or(Verdict::Fail, |name| Verdict::Call(name))
    }

    fn close(&mut self, reason: CloseReason, out: &mut Vec<Output>) {
        self.state = State::Closed;
        out.push(Output::Close(reason));
    }
}

enum Verdict {
    /// No answer, not even an error.
    Ignore,
    /// `{"code":500}`.
    Fail,
    Attack,
    Call(&'static str),
}

/// `{"code":500}` in a HANDSHAKE package (vector PKG-03).
const HANDSHAKE_FAILED: &[u8] = b"\x01\x00\x00\x0c{\"code\":500}";

fn internal_error(id: &RawId) -> Bytes {
    let mut out = BytesMut::new();
    encode_response(id, br#"{"code":500}"#, &mut out).expect("twenty bytes fit a package");
    out.freeze()
}

#[cfg(test)]
mod tests;
