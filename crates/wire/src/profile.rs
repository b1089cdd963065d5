use std::num::NonZeroU16;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};

use crate::encode::{key, put_varint};
use crate::handshake::{Greeting, Responses};
use crate::json::put_json_string;
use crate::message::encode_push_with;
use crate::schema::{FieldOption, Type};
use crate::text::{TextForm, to_form};
use crate::{
    BodyError, Dictionary, EncodeError, PushRoute, RawRoute, Said, Schema, TooLong, encode_push,
    parse_json, route, to_json,
};
use crate::{Dialect, Protos};

/// What one listener announces to its clients and encodes by.
///
/// Immutable and shared by all connections of the listener. The handshake
/// responses are encoded once, here.
#[derive(Debug)]
pub struct Profile {
    heartbeat_secs: Option<NonZeroU16>,
    dictionary: Option<Dictionary>,
    protos: Option<Protos>,
    chat: ChatForm,
    responses: Responses,
    is_signed: bool,
}

/// How the body of an onChat push is written for those who know the schemas.
#[derive(Debug)]
enum ChatForm {
    Json,
    /// Three strings with these keys, and no other required field.
    Strings([u64; 3]),
    /// A schema of another shape, through the general encoder.
    Schema,
}

const CHAT_FIELDS: [&str; 3] = ["msg", "from", "target"];

/// Why schemas cannot be served.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ProfileError {
    /// The schema of one of the chat's pushes does not take text.
    #[error("schema of push {route:?} does not take its values")]
    Push {
        /// The push.
        route: &'static str,
        /// Why.
        source: EncodeError,
    },
    /// The server schemas name a route with a dot, that is, a request. Answers
    /// are always JSON here: libpomelo2 could not read any other.
    #[error("server schema for the answers of {0:?}")]
    Response(String),
    /// The dictionary and the schemas do not fit a handshake response.
    #[error("handshake response does not fit a package")]
    Handshake(#[from] TooLong),
}

/// Why a push was not encoded; nothing was written.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PushError {
    /// It does not fit a package.
    #[error("push does not fit")]
    TooLong(#[from] TooLong),
    /// Its schema does not take the value.
    #[error("push does not match its schema")]
    Encode(#[from] EncodeError),
}

impl Profile {
    /// Puts a profile together.
    ///
    /// `heartbeat_secs` is how often a client is asked to send a heartbeat;
    /// with `None` heartbeats are neither announced nor answered. Route codes
    /// are understood and used only with a dictionary, protobuf only with
    /// protos.
    ///
    /// # Errors
    ///
    /// [`ProfileError`] if a server schema cannot do what it is needed for.
    pub fn new(
        heartbeat_secs: Option<NonZeroU16>,
        dictionary: Option<Dictionary>,
        protos: Option<Protos>,
    ) -> Result<Self, ProfileError> {
        let responses = Responses::new(heartbeat_secs, dictionary.as_ref(), protos.as_ref())?;
        let server = protos.as_ref().map(Protos::server);
        let chat = server.map_or(ChatForm::Json, chat_form);
        if let Some(server) = server {
            check_server_schema(server)?;
        }
        Ok(Self { heartbeat_secs, dictionary, protos, chat, responses, is_signed: false })
    }

    /// Asks clients to sign what they send, as the original's `useCrypto`.
    ///
    /// Clients name an RSA key in `sys.rsa` of the handshake, or are refused;
    /// `{}` is let in, as in the original, but can do nothing. Every request
    /// and notify then needs a property `__crypto__` with the RSASSA-PKCS1-v1_5
    /// signature, SHA-256, of the JSON text of the other properties, in hex.
    /// The connection is closed at the first message without one. The original
    /// drops such messages in silence and, unlike this, those with Chinese text
    /// as its own client signs it.
    ///
    /// Keys have 1024 to 4096 bits and an odd exponent up to 65 537. A route
    /// with a client schema can never be called: protobuf bodies have no place
    /// for the signature.
    #[must_use]
    pub fn with_signing(self) -> Self {
        Self { is_signed: true, ..self }
    }

    /// Whether clients [must sign](Profile::with_signing) what they send.
    pub fn is_signed(&self) -> bool {
        self.is_signed
    }

    /// Whether bodies for `route` come as protobuf, from all clients that can write it.
    pub fn has_client_schema(&self, route: &str) -> bool {
        self.is_protobuf(Dialect::Classic, route)
    }

    /// Seconds between the heartbeats of a client. The server closes after
    /// twice as long without one.
    pub fn heartbeat_secs(&self) -> Option<NonZeroU16> {
        self.heartbeat_secs
    }

    /// Returns the name that `route` stands for, or `None` for a code that is
    /// not in the dictionary or when there is no dictionary.
    pub fn resolve<'a>(&'a self, route: &'a RawRoute) -> Option<&'a str> {
        match route {
            RawRoute::Name(name) => std::str::from_utf8(name).ok(),
            RawRoute::Code(code) => self.dictionary.as_ref()?.route(*code),
        }
    }

    /// Appends a push of `body`, as a whole DATA package for classic clients.
    ///
    /// # Errors
    ///
    /// [`PushError`] if `body` does not match the schema of `route` or is too
    /// long.
    pub fn encode_push(
        &self,
        route: &str,
        body: &Value,
        out: &mut BytesMut,
    ) -> Result<(), PushError> {
        self.encode_push_for(Dialect::Classic, route, body, out)
    }

    /// As [`Profile::encode_push`], for clients of the given dialect.
    ///
    /// # Errors
    ///
    /// As [`Profile::encode_push`].
    pub fn encode_push_for(
        &self,
        dialect: Dialect,
        route: &str,
        body: &Value,
        out: &mut BytesMut,
    ) -> Result<(), PushError> {
        let body = match self.server_schema(dialect, route) {
            // The original sends an empty body where there is nothing to write.
            Some((schema, form)) => schema.encode_as(form, route, body)?.unwrap_or_default(),
            None => to_json(body),
        };
        Ok(encode_push(self.push_route(dialect, route), &body, out)?)
    }

    /// Appends the push of a chat message, as a whole DATA package for classic
    /// clients. `target` is `*` or the one user it is for.
    ///
    /// One pass over the text, without intermediate values.
    ///
    /// # Errors
    ///
    /// [`TooLong::Body`] if the message does not fit a package.
    pub fn encode_chat(
        &self,
        msg: &str,
        from: &str,
        target: &str,
        out: &mut BytesMut,
    ) -> Result<(), TooLong> {
        self.encode_chat_for(Dialect::Classic, msg, from, target, out)
    }

    /// As [`Profile::encode_chat`], for clients of the given dialect. Classic
    /// and browser clients get the same bytes unless one of the texts
    /// [has astral characters](crate::has_astral).
    ///
    /// # Errors
    ///
    /// As [`Profile::encode_chat`].
    pub fn encode_chat_for(
        &self,
        dialect: Dialect,
        msg: &str,
        from: &str,
        target: &str,
        out: &mut BytesMut,
    ) -> Result<(), TooLong> {
        let texts = [msg, from, target];
        // Room for the keys and for a few escapes; more is found when needed.
        out.reserve(64 + msg.len() + from.len() + target.len());
        match (&self.chat, dialect.text_form()) {
            (ChatForm::Json, _) | (_, None) => {
                encode_push_with(self.push_route(dialect, route::ON_CHAT), out, |out| {
                    for (before, text) in
                        [r#"{"msg":"#, r#","from":"#, r#","target":"#].iter().zip(texts)
                    {
                        out.put_slice(before.as_bytes());
                        put_json_string(text, out);
                    }
                    out.put_u8(b'}');
                })
            }
            (ChatForm::Strings(keys), Some(form)) => {
                encode_push_with(self.push_route(dialect, route::ON_CHAT), out, |out| {
                    for (key, text) in keys.iter().zip(texts) {
                        let text = to_form(text, form);
                        put_varint(*key, out);
                        put_varint(text.len() as u64, out);
                        out.put_slice(&text);
                    }
                })
            }
            (ChatForm::Schema, Some(_)) => {
                let body = json!({ "msg": msg, "from": from, "target": target });
                self.encode_text_push(dialect, route::ON_CHAT, &body, out)
            }
        }
    }

    /// Appends the push of a chat message as extended sessions get it, as a whole
    /// DATA package.
    ///
    /// # Errors
    ///
    /// [`TooLong::Body`] if the message does not fit a package.
    pub fn encode_said(&self, said: &Said<'_>, out: &mut BytesMut) -> Result<(), TooLong> {
        encode_push_with(self.push_route(Dialect::Extended, route::ON_CHAT), out, |out| {
            said.put(out);
        })
    }

    /// Appends the push that `user` came (`added`) or went, as a whole DATA
    /// package for classic clients.
    ///
    /// As JSON the body repeats the route, as in the sample:
    /// `{"route":"onAdd","user":"bob"}`.
    ///
    /// # Errors
    ///
    /// [`TooLong::Body`] if the name does not fit a package.
    pub fn encode_presence(
        &self,
        added: bool,
        user: &str,
        out: &mut BytesMut,
    ) -> Result<(), TooLong> {
        self.encode_presence_for(Dialect::Classic, added, user, out)
    }

    /// As [`Profile::encode_presence`], for clients of the given dialect.
    ///
    /// # Errors
    ///
    /// As [`Profile::encode_presence`].
    pub fn encode_presence_for(
        &self,
        dialect: Dialect,
        added: bool,
        user: &str,
        out: &mut BytesMut,
    ) -> Result<(), TooLong> {
        let name = if added { route::ON_ADD } else { route::ON_LEAVE };
        if self.server_schema(dialect, name).is_some() {
            let body = json!({ "route": name, "user": user });
            return self.encode_text_push(dialect, name, &body, out);
        }
        encode_push_with(self.push_route(dialect, name), out, |out| {
            out.put_slice(br#"{"route":"#);
            put_json_string(name, out);
            out.put_slice(br#","user":"#);
            put_json_string(user, out);
            out.put_u8(b'}');
        })
    }

    /// Picks the handshake response for what the client said of itself.
    pub(crate) fn handshake_response(&self, greeting: &Greeting) -> Bytes {
        let dictionary = self.dictionary.as_ref().map(Dictionary::version);
        let protos = self.protos.as_ref().map(Protos::version);
        self.responses.pick(greeting, dictionary, protos)
    }

    /// Reads the body of a request or notify. What is not JSON becomes `{}`,
    /// as in pomelo 2.2.7.
    pub(crate) fn decode_body(
        &self,
        dialect: Dialect,
        route: &str,
        body: &[u8],
    ) -> Result<Value, BodyError> {
        match self.client_schema(dialect, route) {
            Some(schema) => schema.decode(route, body),
            None => Ok(parse_json(body).unwrap_or_else(|_| json!({}))),
        }
    }

    /// As [`Profile::encode_push_for`], for pushes whose schema was checked to
    /// take any text.
    fn encode_text_push(
        &self,
        dialect: Dialect,
        route: &'static str,
        body: &Value,
        out: &mut BytesMut,
    ) -> Result<(), TooLong> {
        self.encode_push_for(dialect, route, body, out).map_err(|error| match error {
            PushError::TooLong(error) => error,
            PushError::Encode(error) => panic!("Profile::new lets no such schema in: {error}"),
        })
    }

    /// Whether clients of `dialect` write the body of `route` as protobuf.
    pub(crate) fn is_protobuf(&self, dialect: Dialect, route: &str) -> bool {
        self.client_schema(dialect, route).is_some()
    }

    fn client_schema(&self, dialect: Dialect, route: &str) -> Option<&Schema> {
        let schema = self.protos.as_ref()?.client();
        Some(schema).filter(|schema| dialect.text_form().is_some() && schema.contains(route))
    }

    fn server_schema(&self, dialect: Dialect, route: &str) -> Option<(&Schema, TextForm)> {
        let schema = self.protos.as_ref()?.server();
        dialect.text_form().filter(|_| schema.contains(route)).map(|form| (schema, form))
    }

    /// Pitaya clients get names: libpitaya reads only one byte of a code.
    fn push_route<'a>(&self, dialect: Dialect, name: &'a str) -> PushRoute<'a> {
        let dictionary = self.dictionary.as_ref().filter(|_| dialect != Dialect::Pitaya);
        let code = dictionary.and_then(|dictionary| dictionary.code(name));
        code.map_or(PushRoute::Name(name), PushRoute::Code)
    }
}

/// Proves on a sample that no text can make one of our pushes fail.
fn check_server_schema(server: &Schema) -> Result<(), ProfileError> {
    if let Some(request) = server.routes().find(|route| route.contains('.')) {
        return Err(ProfileError::Response(request.to_owned()));
    }
    let values = [
        (route::ON_CHAT, json!({ "msg": "x", "from": "x", "target": "x" })),
        (route::ON_ADD, json!({ "route": "x", "user": "x" })),
        (route::ON_LEAVE, json!({ "route": "x", "user": "x" })),
    ];
    for (route, value) in values {
        if server.contains(route) {
            server.encode(route, &value).map_err(|source| ProfileError::Push { route, source })?;
        }
    }
    Ok(())
}

fn chat_form(server: &Schema) -> ChatForm {
    let Some(root) = server.root(route::ON_CHAT) else { return ChatForm::Json };
    let message = &server.messages[root];
    let is_ours = |name: &str| CHAT_FIELDS.contains(&name);
    let must_fill =
        message.fields.iter().any(|f| f.option == FieldOption::Required && !is_ours(&f.name));
    let mut keys = [0; 3];
    for (key_of_field, name) in keys.iter_mut().zip(CHAT_FIELDS) {
        let field = message.by_name.get(name).map(|index| &message.fields[*index]);
        match field {
            Some(f) if f.ty == Type::Text && f.option != FieldOption::Repeated && !must_fill => {
                *key_of_field = key(f.tag, f.ty);
            }
            _ => return ChatForm::Schema,
        }
    }
    ChatForm::Strings(keys)
}
