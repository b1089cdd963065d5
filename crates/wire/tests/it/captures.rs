use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};
use wire::*;

use crate::vectors::reencode;
use crate::{all_vectors, hex, text, unhex};

const KNOWN: &[&str] = &[route::QUERY_ENTRY, route::ENTER, route::SEND];

#[test]
fn every_recorded_frame_is_read_and_written_back_alike() {
    let mut frames = 0;
    for capture in captures() {
        for frame in capture["frames"].as_array().unwrap() {
            let Some(bytes) = frame["hex"].as_str() else { continue };
            let package = only_package(bytes);
            let mut again = BytesMut::new();
            encode_package(package.kind, &package.body, &mut again).unwrap();
            assert_eq!(hex(&again), bytes);
            if package.kind == Kind::Data {
                let message = Message::decode(package.body).unwrap();
                assert_eq!(hex(&reencode(&message)), bytes);
            }
            frames += 1;
        }
    }
    println!("{frames} frames");
    assert_eq!(frames, 108);
}

#[test]
fn recorded_sessions_get_the_recorded_bytes() {
    assert_eq!(captures().map(|capture| check_capture(&capture)).count(), 6);
}

/// Replays one recording of the vectors.
pub(crate) fn check_capture(capture: &Value) {
    let id = text(capture, "id");
    let profile = match id {
        "CAP-master-gate" => Profile::master_gate(),
        "CAP-master-chat" => Profile::master_connector(3),
        "CAP-dict+protos-gate" => Profile::named(ProfileName::Full, Side::Gate, 0),
        "CAP-dict+protos-chat" => Profile::named(ProfileName::Full, Side::Connector, 3),
        // The branch starter without protobuf on the gate.
        "CAP-json-gate" => Profile::new(None, None, None).unwrap(),
        "CAP-json-chat" => Profile::named(ProfileName::Starter, Side::Connector, 3),
        other => panic!("no profile for {other}"),
    };
    let left = replay(profile, capture["frames"].as_array().unwrap());
    let is_end = |output: &Output| matches!(output, Output::Close(CloseReason::Attack));
    assert!(left.iter().all(is_end), "{id}: {left:?}");
    assert_eq!(left.len(), usize::from(id.ends_with("chat")), "{id}");
}

/// Plays what clients sent and compares what they got; returns what we put out
/// and the recording does not show.
pub(crate) fn replay<'a>(
    profile: Profile,
    frames: impl IntoIterator<Item = &'a Value>,
) -> Vec<Output> {
    let mut session = Session::new(profile);
    for frame in frames {
        match text(frame, "dir") {
            "C->S" => session.receive(frame),
            "S->C" => session.expect(frame),
            _ => {}
        }
    }
    session.clients.into_values().flat_map(|client| client.outputs).collect()
}

/// The clients of one recording.
struct Session {
    profile: Arc<Profile>,
    clients: BTreeMap<String, Client>,
}

struct Client {
    conn: Conn,
    /// What the connection put out and the recording has not yet shown.
    outputs: VecDeque<Output>,
}

impl Session {
    fn new(profile: Profile) -> Self {
        Self { profile: Arc::new(profile), clients: BTreeMap::new() }
    }

    /// Plays what a client sent.
    fn receive(&mut self, frame: &Value) {
        let package = only_package(text(frame, "hex"));
        let client = self.clients.entry(text(frame, "who").to_owned()).or_insert_with(|| {
            let mut conn = Conn::new(self.profile.clone(), KNOWN);
            if package.kind != Kind::Handshake {
                // The recording leaves out how this client came in.
                let hello = Bytes::from_static(br#"{"sys":{}}"#);
                for (kind, body) in [(Kind::Handshake, hello), (Kind::HandshakeAck, Bytes::new())] {
                    conn.handle(Package { kind, body }, &mut Vec::new());
                }
            }
            Client { conn, outputs: VecDeque::new() }
        });
        let mut outputs = Vec::new();
        client.conn.handle(package, &mut outputs);
        let recorded = &frame["msg"]["body_json"];
        if let ([Output::Call(call)], false) = (&outputs[..], recorded.is_null()) {
            assert_eq!(call.body, *recorded);
        }
        client.outputs.extend(outputs);
    }

    /// Compares what a client was sent with what we put out, or would write for
    /// the handler's recorded answer or the recorded event.
    fn expect(&mut self, frame: &Value) {
        let bytes = text(frame, "hex");
        let client = self.clients.get_mut(text(frame, "who")).unwrap();
        let mut out = BytesMut::new();
        match Message::decode(only_package(bytes).body) {
            Ok(Message::Response { body, .. }) if only_package(bytes).kind == Kind::Data => {
                match client.outputs.pop_front() {
                    Some(Output::Send(ours)) => out.extend_from_slice(&ours),
                    Some(Output::Call(call)) => {
                        let answer = to_json(&parse_json(&body).unwrap());
                        encode_response(&call.id.unwrap(), &answer, &mut out).unwrap();
                    }
                    other => panic!("{other:?} instead of {bytes}"),
                }
            }
            Ok(Message::Push { route, body }) if only_package(bytes).kind == Kind::Data => {
                push(&client.conn, &route, &body, &mut out);
            }
            _ => match client.outputs.pop_front() {
                Some(Output::Send(ours)) => out.extend_from_slice(&ours),
                other => panic!("{other:?} instead of {bytes}"),
            },
        }
        assert_eq!(hex(&out), bytes);
    }
}

/// Writes the event of a recorded push.
fn push(conn: &Conn, raw_route: &RawRoute, body: &[u8], out: &mut BytesMut) {
    let (profile, dialect) = (conn.profile(), conn.dialect());
    let name = profile.resolve(raw_route).unwrap();
    let event = pushes().decode(name, body).or_else(|_| parse_json(body)).unwrap();
    let field = |name| event[name].as_str().unwrap();
    let mut general = BytesMut::new();
    profile.encode_push_for(dialect, name, &event, &mut general).unwrap();
    let result = if name == route::ON_CHAT {
        profile.encode_chat_for(dialect, field("msg"), field("from"), field("target"), out)
    } else {
        profile.encode_presence_for(dialect, name == route::ON_ADD, field("user"), out)
    };
    result.unwrap();
    assert_eq!(*out, general, "the fast path writes what the general one does");
}

fn captures() -> impl Iterator<Item = Value> {
    all_vectors().into_iter().filter(|vector| vector["layer"] == "capture")
}

pub(crate) fn only_package(bytes: &str) -> Package {
    let packages = decode_frame(unhex(bytes).into(), BODY_LEN_MAX).collect::<Result<Vec<_>, _>>();
    let [package] = &packages.unwrap()[..] else { panic!("one package a frame") };
    package.clone()
}

/// The pushes of the sample's branch `tutorial-protobuf`.
fn pushes() -> Schema {
    let server = json!({
        route::ON_CHAT: {
            "required string msg": 1, "required string from": 2, "required string target": 3,
        },
        route::ON_LEAVE: { "required string user": 1 },
        route::ON_ADD: { "required string user": 1 },
    });
    Schema::parse(&server)
}
