use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};
use wire::*;

use crate::{text, unhex};

/// Begins a connection with `sys.rsa` of the handshake as given, or none, and
/// returns it with what it put out before it took messages.
pub(crate) fn greet(profile: Profile, rsa: &str) -> (Conn, Vec<Output>) {
    let hello = match rsa {
        "" => r#"{"sys":{"type":"x"}}"#.to_owned(),
        _ => format!(r#"{{"sys":{{"type":"x","rsa":{rsa}}}}}"#),
    };
    let mut conn = Conn::new(Arc::new(profile), &[route::QUERY_ENTRY, route::ENTER, route::SEND]);
    let mut outputs = Vec::new();
    conn.handle(Package { kind: Kind::Handshake, body: hello.into() }, &mut outputs);
    conn.handle(Package { kind: Kind::HandshakeAck, body: Bytes::new() }, &mut outputs);
    (conn, outputs)
}

/// Sends request 1.
pub(crate) fn request(conn: &mut Conn, route: &str, body: &[u8]) -> Vec<Output> {
    let mut out = BytesMut::new();
    encode_request(&RawId::new(1), PushRoute::Name(route), body, &mut out).unwrap();
    let package = decode_frame(out.freeze(), BODY_LEN_MAX).next().unwrap().unwrap();
    let mut outputs = Vec::new();
    conn.handle(package, &mut outputs);
    outputs
}

/// The body of a call, or the output in a word.
pub(crate) fn plain(output: &Output) -> String {
    match output {
        Output::Call(call) => call.body.to_string(),
        Output::Close(reason) => format!("close {}", reason.as_str()),
        Output::Send(bytes) => format!("send {}", String::from_utf8_lossy(&bytes[4..])),
    }
}

fn file() -> Value {
    serde_json::from_str(include_str!("../../vectors/signed.json")).unwrap()
}

pub(crate) fn bodies() -> Vec<Value> {
    file()["bodies"].as_array().unwrap().clone()
}

pub(crate) fn bytes(body: &Value) -> Vec<u8> {
    body["hex"].as_str().map_or_else(|| text(body, "text").into(), unhex)
}

fn starter() -> Profile {
    Profile::named(ProfileName::Starter, Side::Connector, 0)
}

#[test]
fn bodies_signed_by_another_library_are_read_or_refused() {
    let file = file();
    let mut counts = [0; 2];
    for body in bodies() {
        let id = text(&body, "id");
        let key = file["keys"][text(&body, "key")].to_string();
        let (mut conn, _) = greet(starter().with_signing(), &key);
        let outputs = request(&mut conn, route::SEND, &bytes(&body));
        let want = body["opens"].as_str().map_or_else(
            || "close bad_signature".to_owned(),
            |opens| parse_json(opens.as_bytes()).unwrap().to_string(),
        );
        assert_eq!(outputs.iter().map(plain).collect::<Vec<_>>(), [want], "{id}");
        counts[usize::from(body["opens"].is_null())] += 1;
        // Without signing nobody looks at it.
        let (mut conn, _) = greet(starter(), &key);
        let outputs = request(&mut conn, route::SEND, &bytes(&body));
        let seen = parse_json(&bytes(&body)).unwrap_or_else(|_| json!({}));
        assert_eq!(outputs.iter().map(plain).collect::<Vec<_>>(), [seen.to_string()], "{id}");
    }
    assert_eq!(counts, [24, 32]);
}

/// A signed text with any one byte
/// changed, in the signature or outside, is refused.
#[test]
fn no_byte_can_be_changed() {
    let file = file();
    let key = file["keys"]["1024"].to_string();
    let body = bodies().into_iter().find(|body| body["id"] == "chinese").unwrap();
    let body = bytes(&body);
    for at in 0..body.len() {
        let mut body = body.clone();
        body[at] ^= 1;
        let (mut conn, _) = greet(starter().with_signing(), &key);
        let outputs = request(&mut conn, route::SEND, &body);
        let outputs: Vec<_> = outputs.iter().map(plain).collect();
        assert_eq!(outputs, ["close bad_signature"], "byte {at}");
    }
}

/// What a connection does with a handshake of this `rsa` and a message after.
#[track_caller]
fn check_key(rsa: &str, want: &[&str]) {
    let (mut conn, outputs) = greet(starter().with_signing(), rsa);
    let mut seen: Vec<_> = outputs.iter().map(plain).collect();
    seen.extend(request(&mut conn, route::SEND, b"{}").iter().map(plain));
    assert_eq!(seen, want, "{rsa}");
}

const REFUSED: &[&str] = &[r#"send {"code":500}"#, "close handshake_failed"];
const USELESS: &[&str] = &[r#"send {"code":200,"sys":{}}"#, "close bad_signature"];

#[test]
fn a_client_must_name_a_key_in_its_handshake() {
    ["", "null", "0", "false", "\"\""].iter().for_each(|rsa| check_key(rsa, REFUSED));
    let (_, outputs) = greet(starter(), "");
    assert_eq!(outputs.iter().map(plain).collect::<Vec<_>>(), [r#"send {"code":200,"sys":{}}"#]);
}

#[test]
fn without_a_whole_key_nothing_verifies() {
    let modulus = "f".repeat(256);
    for rsa in [
        "{}".to_owned(),
        "1".to_owned(),
        "[]".to_owned(),
        r#"{"rsa_e":65537}"#.to_owned(),
        format!(r#"{{"rsa_n":"{modulus}"}}"#),
        format!(r#"{{"rsa_n":"{modulus}","rsa_e":"10001"}}"#),
        format!(r#"{{"rsa_n":"{modulus}","rsa_e":1.5}}"#),
        format!(r#"{{"rsa_n":"{modulus}","rsa_e":-3}}"#),
        format!(r#"{{"rsa_n":"{modulus}g","rsa_e":3}}"#),
        r#"{"rsa_n":5,"rsa_e":65537}"#.to_owned(),
    ] {
        check_key(&rsa, USELESS);
    }
}

#[test]
fn keys_have_bounds() {
    let rsa = |modulus: &str, e: u64| format!(r#"{{"rsa_n":"{modulus}","rsa_e":{e}}}"#);
    let ones = |digits: usize| "f".repeat(digits);
    for (modulus, e) in [
        (String::new(), 65_537),
        ("0".repeat(256), 65_537),
        (ones(128), 65_537),
        (ones(254), 65_537),
        ("00".to_owned() + &ones(254), 65_537),
        (ones(1025), 65_537),
        (ones(100_000), 65_537),
        (ones(255) + "e", 65_537),
        (ones(256), 0),
        (ones(256), 1),
        (ones(256), 2),
        (ones(256), 65_536),
        (ones(256), 65_539),
        (ones(256), u64::MAX),
    ] {
        check_key(&rsa(&modulus, e), REFUSED);
    }
    for (modulus, e) in [(ones(255), 3), (ones(256), 65_537), (ones(1024), 17)] {
        check_key(&rsa(&modulus, e), USELESS);
        check_key(&rsa(&format!("000{modulus}"), e), USELESS);
    }
}

#[test]
fn signatures_are_looked_at_before_routes_but_after_codes() {
    let file = file();
    let key = file["keys"]["1024"].to_string();
    let profile = || Profile::master_connector(0).with_signing();
    for route in ["chat", "a.b", "a.b.c", "a.b.constructor", route::SEND] {
        let (mut conn, _) = greet(profile(), &key);
        let outputs = request(&mut conn, route, b"{}");
        assert_eq!(outputs.iter().map(plain).collect::<Vec<_>>(), ["close bad_signature"]);
    }
    let (mut conn, _) = greet(profile(), &key);
    let mut outputs = Vec::new();
    for body in [&b"\x01\x01\x00\x09{}"[..], b"\x04\x01{}", b"\x08"] {
        conn.handle(Package { kind: Kind::Data, body: Bytes::from_static(body) }, &mut outputs);
    }
    assert_eq!(outputs, []);

    let body = bodies().into_iter().find(|body| body["id"] == "chinese").unwrap();
    for (route, want) in [("chat", None), ("a.b.c", Some(r#"send {"code":500}"#))] {
        let (mut conn, _) = greet(profile(), &key);
        let outputs = request(&mut conn, route, &bytes(&body));
        let outputs: Vec<_> = outputs.iter().map(plain).collect();
        assert_eq!(outputs.len(), usize::from(want.is_some()), "{outputs:?}");
    }
}

#[test]
fn protobuf_bodies_cannot_be_signed() {
    let file = file();
    let key = file["keys"]["1024"].to_string();
    let profile = || Profile::named(ProfileName::Full, Side::Connector, 0).with_signing();
    let body = bodies().into_iter().find(|body| body["id"] == "chinese").unwrap();
    for body in [&b"\x0a\x01r\x12\x01x\x1a\x01a\x22\x01*"[..], &bytes(&body)] {
        let (mut conn, _) = greet(profile(), &key);
        let outputs = request(&mut conn, route::SEND, body);
        assert_eq!(outputs.iter().map(plain).collect::<Vec<_>>(), ["close bad_signature"]);
    }
}
