//! The bodies of the fuzz targets in `fuzz/`, here so that a test on stable can
//! replay their corpus. Each takes arbitrary bytes and panics on a bug.

use std::sync::{Arc, LazyLock};

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};

use crate::files::{NamedText, ProfileFiles};
use crate::signing::Signed;
use crate::stringify::stringify;
use crate::{
    CloseReason, Conn, DecodeError, Decoder, Kind, Message, Output, Package, Profile, ProfileName,
    PushRoute, RawRoute, Schema, Side, decode_frame, encode_notify, encode_package, encode_push,
    encode_request, encode_response, parse_json, route,
};

const BODY_LEN_MAX: usize = 1 << 16;

/// Whatever is taken apart can be put together again, byte by byte.
pub fn package(data: &[u8]) {
    let frame = Bytes::copy_from_slice(data);
    let mut out = BytesMut::new();
    let mut is_whole = true;
    for package in decode_frame(frame, BODY_LEN_MAX) {
        assert!(is_whole, "an error is the last item");
        match package {
            Ok(package) => {
                encode_package(package.kind, &package.body, &mut out).expect("it was one");
            }
            Err(_) => is_whole = false,
        }
    }
    assert!(data.starts_with(&out));
    assert_eq!(is_whole, !data.is_empty() && data.len() == out.len());
}

/// A message that is accepted is written back as it came, but for the flag bits
/// that mean nothing.
pub fn message(data: &[u8]) {
    fn borrow(route: &RawRoute) -> PushRoute<'_> {
        match route {
            RawRoute::Name(name) => {
                PushRoute::Name(std::str::from_utf8(name).expect("checked by decode"))
            }
            RawRoute::Code(code) => PushRoute::Code(*code),
        }
    }
    let Ok(message) = Message::decode(Bytes::copy_from_slice(data)) else { return };
    let (mut out, mut meaning) = (BytesMut::new(), 0x0f);
    let result = match &message {
        Message::Request { id, route, body } => encode_request(id, borrow(route), body, &mut out),
        Message::Notify { route, body } => encode_notify(borrow(route), body, &mut out),
        Message::Push { route, body } => encode_push(borrow(route), body, &mut out),
        Message::Response { id, body } => {
            meaning = 0x0e;
            encode_response(id, body, &mut out)
        }
        Message::Unknown { type_bits } => return assert!((4..8).contains(type_bits)),
    };
    result.expect("it fitted");
    assert_eq!(out[4], data[0] & meaning);
    assert_eq!(out[5..], data[1..]);
}

/// A body that is accepted and written anew is read and written the same again, and
/// has no more values than it has bytes.
pub fn protobuf(data: &[u8]) {
    static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
        Schema::parse(&json!({
            "message Tree": { "optional uInt32 id": 1, "repeated Tree kids": 2 },
            "all": {
                "optional uInt32 a": 1, "optional int32 b": 2, "optional sInt32 c": 3,
                "optional float d": 4, "optional double e": 5, "optional string f": 6,
                "optional bool g": 7, "optional Tree h": 8,
            },
            "many": {
                "message P": { "required uInt32 x": 1, "required int32 y": 2 },
                "repeated uInt32 a": 1, "repeated sInt32 b": 2, "repeated float c": 3,
                "repeated double d": 4, "repeated string e": 5, "repeated P f": 6,
                "repeated uInt64 g": 7, "repeated bool h": 8, "repeated Tree i": 2047,
            },
        }))
    });
    let Some((first, body)) = data.split_first() else { return };
    let route = if first & 1 == 0 { "all" } else { "many" };
    let Ok(value) = SCHEMA.decode(route, body) else { return };
    assert!(values_in(&value) <= body.len() + 1);
    // Not everything that is read can be written: NaN becomes null.
    let Ok(Some(written)) = SCHEMA.encode(route, &value) else { return };
    let again = SCHEMA.decode(route, &written).expect("we wrote it");
    assert_eq!(SCHEMA.encode(route, &again), Ok(Some(written)));
}

fn values_in(value: &Value) -> usize {
    match value {
        Value::Array(elements) => 1 + elements.iter().map(values_in).sum::<usize>(),
        // The list of an array field comes with its first element.
        Value::Object(fields) => {
            let fields = fields.values();
            1 + fields.map(|field| values_in(field) - usize::from(field.is_array())).sum::<usize>()
        }
        _ => 1,
    }
}

/// A connection keeps its promises to the shell whatever the client sends.
pub fn handshake(data: &[u8]) {
    const KNOWN: &[&str] = &[route::QUERY_ENTRY, route::ENTER, route::SEND];
    static PROFILES: LazyLock<[Arc<Profile>; 2]> =
        LazyLock::new(|| [Profile::master_connector(3), Profile::master_gate()].map(Arc::new));
    let Some((first, stream)) = data.split_first() else { return };
    let profile = PROFILES[usize::from(first & 1)].clone();
    let (mut conn, mut outputs) = (Conn::new(profile, KNOWN), Vec::new());
    let (packages, error) = read(stream, &[stream.len().max(1)]);
    let (mut is_closed, mut is_refused) = (false, false);
    for package in packages {
        let was_working = conn.is_working();
        conn.handle(package, &mut outputs);
        for output in outputs.drain(..) {
            assert!(!is_closed, "nothing follows a close");
            match output {
                Output::Send(bytes) => {
                    let sent: Vec<_> = decode_frame(bytes, BODY_LEN_MAX).collect();
                    let [Ok(package)] = &sent[..] else { panic!("not one package: {sent:?}") };
                    let is_early = package.kind == Kind::Handshake;
                    if is_early {
                        is_refused = !is_welcome(&package.body);
                    }
                    assert!(is_early != (was_working || conn.is_working()));
                }
                Output::Call(call) => {
                    assert!(was_working && KNOWN.contains(&call.route.as_str()));
                    assert!(call.id.is_none_or(|id| id.wants_response()));
                }
                Output::Close(reason) => {
                    is_closed = true;
                    assert_eq!(is_refused, reason == CloseReason::HandshakeFailed);
                }
            }
        }
        assert!(is_closed || !is_refused, "who is refused is closed");
        assert!(!(is_closed && conn.is_working()));
    }
    if let Some(error) = error {
        conn.handle_error(error, &mut outputs);
        assert_eq!(outputs.len(), usize::from(!is_closed));
    }
}

/// Whether a handshake's answer lets the client in. Its keys are those that clients
/// know, in the order of the original.
fn is_welcome(body: &[u8]) -> bool {
    const KEYS: &[&str] = &[
        "heartbeat",
        "dict",
        "routeToCode",
        "codeToRoute",
        "dictVersion",
        "useDict",
        "protos",
        "useProto",
        "serializer",
    ];
    assert!(body.is_ascii());
    let answer: Value = serde_json::from_slice(body).expect("an answer is json");
    let Some(sys) = answer["sys"].as_object() else {
        assert_eq!(body, br#"{"code":500}"#);
        return false;
    };
    let mut known = KEYS.iter();
    assert!(sys.keys().all(|key| known.any(|known| known == key)), "{answer}");
    assert_eq!((answer["code"].as_u64(), answer["user"].is_null()), (Some(200), true));
    let all = ["dict", "routeToCode", "codeToRoute", "dictVersion"];
    let given = all.iter().filter(|key| sys.contains_key(**key)).count();
    assert!(matches!(given, 0 | 4) || (given == 1 && sys.contains_key("serializer")));
    true
}

/// However a stream is cut into segments, it is the same packages; and the same as
/// in one WebSocket message, but for an end that is missing.
pub fn tcp(data: &[u8]) {
    let Some((cuts, stream)) = data.split_first_chunk::<4>() else { return };
    let cuts = cuts.map(|cut| usize::from(cut) + 1);
    let whole = read(stream, &[stream.len().max(1)]);
    assert_eq!(read(stream, &cuts), whole);
    let mut frame = decode_frame(Bytes::copy_from_slice(stream), BODY_LEN_MAX);
    let in_frame: Vec<_> = frame.by_ref().map_while(Result::ok).collect();
    assert_eq!(in_frame, whole.0);
    assert!(frame.next().is_none(), "an error is the last item");
}

/// Taking the signature out of a body changes nothing else, and bodies that are
/// not signed with the key of the handshake never get through.
pub fn signed(data: &[u8]) {
    static PROFILE: LazyLock<Arc<Profile>> = LazyLock::new(|| {
        Arc::new(Profile::named(ProfileName::Starter, Side::Connector, 0).with_signing())
    });
    if let Some(signed) = Signed::parse(data) {
        let text = signed.text.as_bytes();
        assert_eq!(parse_json(text).expect("the rest is json"), signed.value);
        if let Some(anew) = stringify(&signed.text) {
            assert_eq!(stringify(&anew).as_deref(), Some(&anew[..]));
            assert!(parse_json(anew.as_bytes()).is_ok());
        }
    }
    let mut conn = Conn::new(PROFILE.clone(), &[route::SEND]);
    let mut request = BytesMut::new();
    let name = PushRoute::Name(route::SEND);
    encode_notify(name, data, &mut request).expect("fuzzers send less than 16 MiB");
    let packages = [
        (Kind::Handshake, Bytes::from_static(SIGNED_HELLO)),
        (Kind::HandshakeAck, Bytes::new()),
        (Kind::Data, request.split_off(4).freeze()),
    ];
    let mut outputs = Vec::new();
    for (kind, body) in packages {
        conn.handle(Package { kind, body }, &mut outputs);
    }
    match &outputs[1..] {
        [Output::Close(CloseReason::BadSignature)] => {}
        [Output::Call(call)] => assert!(call.body.get("__crypto__").is_none()),
        other => panic!("{other:?}"),
    }
}

/// The key of vector RSA-01.
const SIGNED_HELLO: &[u8] = br#"{"sys":{"rsa":{"rsa_n":"bd1ce26a37488d9240eb949e97ea3af5a273965d84db5a34fd16c94756636413af8d810e88480bd566dd0afece4a901d1534077d751d174486d0f6e22763b4a8c657c109ace866b04c29f3184fcee3144c5a45b4d598b203225dcc45300c707c2969a6d1a2683dce66597f325bf4809d4c5540370aa07576958f0c9f8ceb28e7","rsa_e":65537}}}"#;

/// Files of a user are read or refused at a line that they have; of what is
/// read nothing is dropped, and our own pushes can be written by it.
///
/// The first byte says which profile and which files, which follow with zero
/// bytes between them.
pub fn files(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let rest = String::from_utf8_lossy(rest);
    let mut texts = rest.split('\0');
    let mut file = |bit: u8, name| {
        let text = (first & bit != 0).then(|| texts.next()).flatten()?;
        Some(NamedText { name, text })
    };
    let files = ProfileFiles {
        dictionary: file(1, "dictionary.json"),
        client_protos: file(2, "clientProtos.json"),
        server_protos: file(4, "serverProtos.json"),
    };
    let base = ProfileName::ALL[usize::from(first >> 3) % 3];
    let side = if first & 0x80 == 0 { Side::Gate } else { Side::Connector };
    let given = [files.dictionary, files.client_protos, files.server_protos];
    match Profile::from_files(base, side, 3, &files) {
        Ok(profile) => {
            let mut out = BytesMut::new();
            profile.encode_chat("a😀", "b", "*", &mut out).expect("short");
            profile.encode_presence(true, "b", &mut out).expect("short");
            for file in given[1..].iter().flatten() {
                let value: Value = serde_json::from_str(file.text).expect("it was read");
                let parsed = Schema::parse(&value);
                let kept: usize = parsed.messages.iter().map(|m| m.fields.len()).sum();
                assert_eq!(kept, declared_fields(&value));
            }
        }
        Err(error) => {
            let file = given.into_iter().flatten().find(|file| file.name == error.file);
            let lines = file.expect("one of ours").text.split('\n').count();
            assert!((1..=lines).contains(&error.line), "{error}");
            assert!(!error.to_string().is_empty());
        }
    }
}

/// Counts what is written like a field, at any level but the first.
fn declared_fields(file: &Value) -> usize {
    let members = |value: &Value| value.as_object().into_iter().flatten().count();
    let objects = file.as_object().into_iter().flatten().filter(|(_, value)| value.is_object());
    objects.map(|(_, v)| members(v) + declared_fields(v) - nested(v)).sum()
}

/// Counts the message types that are declared in `message`.
fn nested(message: &Value) -> usize {
    message.as_object().into_iter().flatten().filter(|(_, value)| value.is_object()).count()
}

/// Reads `stream` in segments of the given lengths, over and over.
fn read(stream: &[u8], cuts: &[usize]) -> (Vec<Package>, Option<DecodeError>) {
    let (mut decoder, mut packages, mut rest) = (Decoder::new(BODY_LEN_MAX), Vec::new(), stream);
    for cut in cuts.iter().cycle() {
        let (segment, tail) = rest.split_at(rest.len().min(*cut));
        rest = tail;
        decoder.feed(segment);
        loop {
            match decoder.poll() {
                Ok(Some(package)) => packages.push(package),
                Ok(None) => break,
                Err(error) => return (packages, Some(error)),
            }
        }
        if rest.is_empty() {
            break;
        }
    }
    (packages, None)
}
