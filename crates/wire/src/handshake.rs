use std::num::NonZeroU16;

use bytes::{Bytes, BytesMut};
use serde_json::{Map, Value, json};

use crate::hash::version;
use crate::{Dictionary, Kind, Protos, TextForm, TooLong, encode_package, parse_json, to_json};

/// What a Pitaya client is told when the server has no heartbeat, in seconds:
/// its Go client panics on 0 or nothing. Nobody answers these heartbeats;
/// libpitaya gives up after six of them.
const PITAYA_HEARTBEAT_SECS: u16 = 60;

/// The field of a client's `user`, and of our response, that makes a session an
/// extended one, and its value.
const EXTENDED: &str = "shaddock";
const EXTENDED_VERSION: u64 = 1;

/// The longest `user` that is kept, in bytes of JSON. As values it may take a hundred
/// times as much, for as long as the client stays.
const USER_LEN_MAX: usize = 4 * 1024;

/// The families of clients that need different bytes for the same push, as
/// told apart by the handshake.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Dialect {
    /// Reads protobuf with UTF-8: libpomelo, Unity, pypomelo, pinus, and all
    /// that are unknown.
    #[default]
    Classic,
    /// `sys.type` is `js-websocket` and `sys.version` is `0.0.1`: the JS client
    /// and its copies. Reads protobuf with CESU-8, and four-byte UTF-8 as
    /// garbage. The client of pinus, version `0.0.5`, is the other way round.
    Browser,
    /// Has `sys.platform` or `sys.libVersion` and no `sys.type`: JSON only, and
    /// push routes as names.
    Pitaya,
    /// `user.shaddock` is 1, whatever `sys` says: JSON only, with more fields, and
    /// more routes.
    Extended,
}

impl Dialect {
    /// How protobuf strings are written; `None` if bodies are always JSON.
    pub fn text_form(self) -> Option<TextForm> {
        match self {
            Self::Classic => Some(TextForm::Utf8),
            Self::Browser => Some(TextForm::Cesu8),
            Self::Pitaya | Self::Extended => None,
        }
    }
}

/// What a client says of itself in its HANDSHAKE package.
#[derive(Debug)]
pub(crate) struct Greeting {
    pub(crate) dialect: Dialect,
    /// Reads a handshake response only in the form that Pitaya's clients need.
    is_pitaya: bool,
    pub(crate) user: Option<Value>,
    /// `sys.rsa`, if it is there.
    pub(crate) rsa: Option<Value>,
    dict_version: Option<String>,
    /// A string, or 0 for none.
    proto_version: Value,
}

impl Greeting {
    /// Reads a handshake request; `None` if it is not JSON or has no truthy
    /// `sys`, which is all that pomelo 2.2.7 asks for.
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        let Value::Object(mut request) = parse_json(body).ok()? else { return None };
        let mut sys = request.get_mut("sys").map(Value::take).filter(is_truthy)?;
        let rsa = sys.get_mut("rsa").map(Value::take).filter(is_truthy);
        let has = |name| sys.get(name).is_some_and(is_truthy);
        let text = |name| sys.get(name).and_then(Value::as_str);
        let is_pitaya = text("type").is_none() && (has("platform") || has("libVersion"));
        let user = request.remove("user");
        let is_extended =
            user.as_ref().and_then(|user| user.get(EXTENDED)?.as_u64()) == Some(EXTENDED_VERSION);
        let dialect = match (text("type"), text("version")) {
            _ if is_extended => Dialect::Extended,
            _ if is_pitaya => Dialect::Pitaya,
            (Some("js-websocket"), Some("0.0.1")) => Dialect::Browser,
            _ => Dialect::Classic,
        };
        Some(Self {
            dialect,
            is_pitaya,
            rsa,
            user: user.filter(is_worth_keeping),
            dict_version: text("dictVersion").map(str::to_owned),
            proto_version: sys.get("protoVersion").cloned().unwrap_or_default(),
        })
    }
}

/// Whether the client's `user` says something, in few words.
fn is_worth_keeping(user: &Value) -> bool {
    !user.is_null() && to_json(user).len() <= USER_LEN_MAX
}

/// The successful handshake responses of one profile, as whole packages.
#[derive(Debug)]
pub(crate) struct Responses {
    /// By whether the client has our dictionary, and whether it has our protos
    /// or, if we have none, some of another server.
    classic: [[Bytes; 2]; 2],
    /// As above, for extended sessions: without our protos.
    extended: [[Bytes; 2]; 2],
    /// By whether the session is extended.
    pitaya: [Bytes; 2],
}

impl Responses {
    pub(crate) fn new(
        heartbeat_secs: Option<NonZeroU16>,
        dictionary: Option<&Dictionary>,
        protos: Option<&Protos>,
    ) -> Result<Self, TooLong> {
        let response = |dict_is_cached, has_protos, is_extended: bool| {
            let mut sys = Map::new();
            if let Some(secs) = heartbeat_secs {
                sys.insert("heartbeat".into(), secs.get().into());
            }
            if let Some(dictionary) = dictionary {
                put_dictionary(dictionary, dict_is_cached, &mut sys);
            }
            put_protos(protos.filter(|_| !is_extended), has_protos, &mut sys);
            success(&sys, is_extended)
        };
        let responses = |is_extended| -> Result<_, TooLong> {
            let response = |dict, protos| response(dict, protos, is_extended);
            Ok([
                [response(false, false)?, response(false, true)?],
                [response(true, false)?, response(true, true)?],
            ])
        };
        let pitaya = |is_extended| pitaya(heartbeat_secs, dictionary, is_extended);
        Ok(Self {
            classic: responses(false)?,
            extended: responses(true)?,
            pitaya: [pitaya(false)?, pitaya(true)?],
        })
    }

    /// Picks the response for `greeting` from a server with these versions.
    pub(crate) fn pick(
        &self,
        greeting: &Greeting,
        dict_version: Option<&str>,
        proto_version: Option<&str>,
    ) -> Bytes {
        let is_extended = greeting.dialect == Dialect::Extended;
        if greeting.is_pitaya {
            return self.pitaya[usize::from(is_extended)].clone();
        }
        let dict_is_cached =
            dict_version.is_some_and(|v| greeting.dict_version.as_deref() == Some(v));
        let has_protos = match proto_version.filter(|_| !is_extended) {
            // An empty one is that of a client without protos, too.
            Some(version) => !version.is_empty() && greeting.proto_version == *version,
            None => is_truthy(&greeting.proto_version),
        };
        let responses = if is_extended { &self.extended } else { &self.classic };
        responses[usize::from(dict_is_cached)][usize::from(has_protos)].clone()
    }
}

/// Adds the dictionary's keys. libpomelo2 wants either all three of
/// `routeToCode`, `codeToRoute` and `dictVersion` or none; JS reads `dict`.
fn put_dictionary(dictionary: &Dictionary, is_cached: bool, sys: &mut Map<String, Value>) {
    if !is_cached {
        sys.insert("dict".into(), dictionary.json().clone().into());
        sys.insert("routeToCode".into(), dictionary.json().clone().into());
        sys.insert("codeToRoute".into(), dictionary.inverse_json().into());
        sys.insert("dictVersion".into(), dictionary.version().into());
    }
    sys.insert("useDict".into(), true.into());
}

/// Adds the keys of protobuf. The JS client keeps the protos of any server it
/// ever met and reads pushes by them, so a client that has some while we have
/// none is sent empty ones; the original does not.
fn put_protos(protos: Option<&Protos>, client_has: bool, sys: &mut Map<String, Value>) {
    match protos {
        Some(protos) => {
            if !client_has {
                sys.insert("protos".into(), protos.json());
            }
            sys.insert("useProto".into(), true.into());
        }
        None if client_has => {
            let empty = json!({ "server": {}, "client": {}, "version": version("{}{}") });
            sys.insert("protos".into(), empty);
        }
        None => {}
    }
}

/// What a Pitaya client reads without aborting: an integer heartbeat of at
/// least 1, a dictionary without `useDict`, and the name of the serializer.
fn pitaya(
    heartbeat_secs: Option<NonZeroU16>,
    dictionary: Option<&Dictionary>,
    is_extended: bool,
) -> Result<Bytes, TooLong> {
    let mut sys = Map::new();
    let secs = heartbeat_secs.map_or(PITAYA_HEARTBEAT_SECS, NonZeroU16::get);
    sys.insert("heartbeat".into(), secs.into());
    if let Some(dictionary) = dictionary {
        sys.insert("dict".into(), dictionary.json().clone().into());
    }
    sys.insert("serializer".into(), "json".into());
    success(&sys, is_extended)
}

fn success(sys: &Map<String, Value>, is_extended: bool) -> Result<Bytes, TooLong> {
    let mut body = json!({ "code": 200, "sys": sys });
    if is_extended {
        body["user"] = json!({ EXTENDED: EXTENDED_VERSION });
    }
    let body = to_json(&body);
    let mut out = BytesMut::new();
    encode_package(Kind::Handshake, &body, &mut out)?;
    Ok(out.freeze())
}

/// Whether JavaScript takes `value` for true.
fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}
