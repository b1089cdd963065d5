use super::*;
use crate::{
    BODY_LEN_MAX, Dictionary, ProfileName, Protos, PushRoute, Schema, Side, decode_frame,
    encode_notify, encode_push, encode_request, route,
};

const KNOWN: &[&str] = &[route::ENTER, route::SEND];

/// Plays a script to a new connection of `profile` and compares its outputs.
///
/// Script: `hello {…}`, `ack`, `beat` and `kick` are packages; `1 a.b.c {}` is a
/// request with id bytes 01, with a code instead of a route if that is a
/// number; `- a.b.c {}` is a notify and `> a.b.c {}` a push; `data 0a0b` is a
/// DATA package of these bytes. Output: `hello {…}`, `beat`, `kick {…}`, an answer
/// `1 {…}`, `call 1 a.b.c {}`, and `close reason`.
#[track_caller]
fn check(profile: Profile, script: &[&str], expected: &[&str]) {
    let mut conn = Conn::new(Arc::new(profile), KNOWN);
    let mut outputs = Vec::new();
    for line in script {
        conn.handle(package(line), &mut outputs);
    }
    assert_eq!(outputs.iter().map(render).collect::<Vec<_>>(), expected);
}

fn package(line: &str) -> Package {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let control = |kind, body: &str| Package { kind, body: Bytes::from(body.to_owned()) };
    match word {
        "hello" => return control(Kind::Handshake, rest),
        "ack" => return control(Kind::HandshakeAck, rest),
        "beat" => return control(Kind::Heartbeat, rest),
        "kick" => return control(Kind::Kick, rest),
        "data" => return Package { kind: Kind::Data, body: Bytes::from(unhex(rest)) },
        _ => {}
    }
    let (route, body) = rest.split_once(' ').unwrap();
    let route = route.parse().map_or(PushRoute::Name(route), PushRoute::Code);
    let mut out = BytesMut::new();
    match word {
        "-" => encode_notify(route, body.as_bytes(), &mut out),
        ">" => encode_push(route, body.as_bytes(), &mut out),
        id => encode_request(&RawId::new(id.parse().unwrap()), route, body.as_bytes(), &mut out),
    }
    .unwrap();
    decode_frame(out.freeze(), BODY_LEN_MAX).next().unwrap().unwrap()
}

fn unhex(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

fn render(output: &Output) -> String {
    match output {
        Output::Call(Call { id, route, body }) => {
            let id = id.map_or("-".to_owned(), |id| id.little_endian().to_string());
            format!("call {id} {} {body}", route.as_str())
        }
        Output::Close(reason) => format!("close {}", reason.as_str()),
        Output::Send(bytes) => {
            let packages = decode_frame(bytes.clone(), BODY_LEN_MAX).collect::<Result<Vec<_>, _>>();
            let [package] = &packages.unwrap()[..] else { panic!("one package at a time") };
            let text = String::from_utf8_lossy(&package.body);
            match package.kind {
                Kind::Handshake => format!("hello {text}"),
                Kind::HandshakeAck => "ack".to_owned(),
                Kind::Heartbeat => "beat".to_owned(),
                Kind::Kick => format!("kick {text}"),
                Kind::Data => match Message::decode(package.body.clone()).unwrap() {
                    Message::Response { id, body } => {
                        format!("{} {}", id.little_endian(), String::from_utf8_lossy(&body))
                    }
                    other => panic!("a connection sends no {other:?}"),
                },
            }
        }
    }
}

fn plain(heartbeat_secs: u16) -> Profile {
    Profile::new(std::num::NonZeroU16::new(heartbeat_secs), None, None).unwrap()
}

const HELLO: &str = r#"hello {"sys":{}}"#;
const WELCOME: &str = r#"hello {"code":200,"sys":{"heartbeat":3}}"#;

/// [`check`] with a client that is through the handshake, without heartbeat.
#[track_caller]
fn check_working(script: &[&str], expected: &[&str]) {
    let script = [&[HELLO, "ack"], script].concat();
    let expected = [&[r#"hello {"code":200,"sys":{}}"#], expected].concat();
    check(plain(0), &script, &expected);
}

#[test]
fn the_server_beats_first_and_answers_every_beat() {
    check(plain(3), &[HELLO, "ack", "beat", "beat"], &[WELCOME, "beat", "beat", "beat"]);
}

#[test]
fn without_a_heartbeat_none_is_answered() {
    check_working(&["beat"], &[]);
}

#[test]
fn packages_that_do_not_fit_the_state_are_ignored() {
    let early = ["ack", "beat", "- a.b.c {}", "1 a.b.c {}", "data ff"];
    check(plain(3), &early, &[]);
    check(plain(3), &[HELLO, HELLO, "beat", "1 a.b.c {}", "data ff"], &[WELCOME]);
    check(plain(3), &[HELLO, "ack", HELLO, "ack"], &[WELCOME, "beat"]);
}

#[test]
fn a_kick_from_a_client_closes_in_every_state() {
    check(plain(3), &["kick", "kick", HELLO], &["close client_kick"]);
    check(plain(3), &[HELLO, "kick", "ack"], &[WELCOME, "close client_kick"]);
    check(plain(3), &[HELLO, "ack", "kick {}"], &[WELCOME, "beat", "close client_kick"]);
}

#[test]
fn a_handshake_without_a_truthy_sys_is_refused() {
    let bodies = ["", "{", "null", "5", "[]", "{}", r#"{"sys":0}"#, r#"{"sys":""}"#, "\u{0}"];
    for body in bodies {
        let hello = format!("hello {body}");
        check(
            plain(3),
            &[&hello, HELLO, "ack"],
            &[r#"hello {"code":500}"#, "close handshake_failed"],
        );
    }
    check(plain(3), &[r#"hello {"sys":1}"#], &[WELCOME]);
}

#[test]
fn clients_are_not_sent_what_they_have() {
    let dict = Dictionary::new(&["a.b.c"], &[]);
    let protos = Protos::new(Schema::default(), Schema::default());
    let dict_keys = concat!(
        r#""dict":{"a.b.c":1},"routeToCode":{"a.b.c":1},"#,
        r#""codeToRoute":{"1":"a.b.c"},"dictVersion":"#
    );
    let dict_keys = format!(r#"{dict_keys}"{}","#, dict.version());
    let proto_keys = format!(r#""protos":{},"#, protos.json());
    for (dict_version, dict_keys) in [("old", &dict_keys[..]), (dict.version(), "")] {
        for (proto_version, proto_keys) in [("old", &proto_keys[..]), (protos.version(), "")] {
            let versions =
                format!(r#""dictVersion":"{dict_version}","protoVersion":"{proto_version}""#);
            let sys = format!(r#"{dict_keys}"useDict":true,{proto_keys}"useProto":true"#);
            check(
                Profile::new(None, Some(dict.clone()), Some(protos.clone())).unwrap(),
                &[&format!(r#"hello {{"sys":{{{versions}}}}}"#)],
                &[&format!(r#"hello {{"code":200,"sys":{{{sys}}}}}"#)],
            );
        }
    }
}

#[test]
fn a_client_that_kept_protos_of_another_server_is_sent_empty_ones() {
    let protos = Protos::new(Schema::default(), Schema::default()).json();
    let want = format!(r#"hello {{"code":200,"sys":{{"heartbeat":3,"protos":{protos}}}}}"#);
    check(plain(3), &[r#"hello {"sys":{"protoVersion":"x"}}"#], &[&want]);
    check(plain(3), &[r#"hello {"sys":{"protoVersion":0}}"#], &[WELCOME]);
}

#[test]
fn protos_without_a_version_are_always_sent() {
    let gate = || Profile::named(ProfileName::Starter, Side::Gate, 0);
    let protos = r#"{"server":{},"client":{},"version":""}"#;
    let want = format!(r#"hello {{"code":200,"sys":{{"protos":{protos},"useProto":true}}}}"#);
    for version in ["\"\"", "0", "null", "\"x\""] {
        check(gate(), &[&format!(r#"hello {{"sys":{{"protoVersion":{version}}}}}"#)], &[&want]);
    }
}

#[test]
fn a_pitaya_client_gets_what_it_survives() {
    let hello = r#"hello {"sys":{"platform":"mac","libVersion":"0.3.5"}}"#;
    check(
        Profile::master_gate(),
        &[hello],
        &[r#"hello {"code":200,"sys":{"heartbeat":60,"serializer":"json"}}"#],
    );
    check(
        Profile::master_connector(3),
        &[hello],
        &[concat!(
            r#"hello {"code":200,"sys":{"heartbeat":3,"dict":{"chat.chatHandler.send":1,"#,
            r#""connector.entryHandler.enter":2,"gate.gateHandler.queryEntry":3},"serializer":"json"}}"#
        )],
    );
}

#[test]
fn an_extended_session_is_told_so_and_gets_no_protos() {
    let hello = |sys: &str| format!(r#"hello {{"sys":{{{sys}}},"user":{{"shaddock":1}}}}"#);
    let told =
        |sys: &str| format!(r#"hello {{"code":200,"sys":{{{sys}}},"user":{{"shaddock":1}}}}"#);
    check(plain(3), &[&hello("")], &[&told(r#""heartbeat":3"#)]);
    let profile = || Profile::named(ProfileName::Full, Side::Gate, 0);
    let dict = |sys: &str| {
        let mut conn = Conn::new(Arc::new(profile()), KNOWN);
        let mut outputs = Vec::new();
        conn.handle(package(&hello(sys)), &mut outputs);
        assert_eq!(conn.dialect(), Dialect::Extended);
        render(&outputs[0])
    };
    for sys in ["", r#""type":"js-websocket","version":"0.0.1""#] {
        let answer = dict(sys);
        assert!(answer.contains(r#""routeToCode":{"chat.chatHandler.send":1,"#), "{answer}");
        assert!(answer.ends_with(r#""useDict":true},"user":{"shaddock":1}}"#), "{answer}");
        assert!(!answer.contains("roto"), "{answer}");
    }
    // One that kept those of another server must not read by them.
    let answer = dict(r#""protoVersion":"x""#);
    assert!(answer.contains(r#""protos":{"server":{},"client":{},"version":"#), "{answer}");
    assert!(!answer.contains("useProto"), "{answer}");
    let answer = dict(r#""libVersion":"1""#);
    assert!(answer.contains(r#""heartbeat":60,"#) && answer.contains("serializer"), "{answer}");
}

#[test]
fn other_values_do_not_make_a_session_extended() {
    for user in [r#"{"shaddock":2}"#, r#"{"shaddock":"1"}"#, r#"{"shaddock":true}"#, "1", "[1]"] {
        check(plain(3), &[&format!(r#"hello {{"sys":{{}},"user":{user}}}"#)], &[WELCOME]);
    }
}

#[test]
fn dialects_are_told_apart_by_the_handshake() {
    let dialect = |sys: &str| {
        let mut conn = Conn::new(Arc::new(plain(0)), KNOWN);
        conn.handle(package(&format!(r#"hello {{"sys":{{{sys}}}}}"#)), &mut Vec::new());
        conn.dialect()
    };
    assert_eq!(dialect(r#""type":"js-websocket","version":"0.0.1","rsa":{}"#), Dialect::Browser);
    assert_eq!(dialect(r#""type":"js-websocket","version":"0.0.5""#), Dialect::Classic);
    assert_eq!(dialect(r#""type":"c","version":"0.3.4","platform":"x""#), Dialect::Classic);
    assert_eq!(dialect(r#""libVersion":"0.3.5""#), Dialect::Pitaya);
    assert_eq!(dialect(""), Dialect::Classic);
}

#[test]
fn calls_of_known_routes_reach_the_handler() {
    check_working(
        &[
            r#"1 connector.entryHandler.enter {"rid":"r"}"#,
            r#"300 chat.chatHandler.send [1]"#,
            r#"- chat.chatHandler.send {"content":"😀"}"#,
            "> chat.chatHandler.send {}",
            "0 chat.chatHandler.send {}",
        ],
        &[
            r#"call 1 connector.entryHandler.enter {"rid":"r"}"#,
            r#"call 300 chat.chatHandler.send [1]"#,
            r#"call - chat.chatHandler.send {"content":"😀"}"#,
            "call - chat.chatHandler.send {}",
            "call - chat.chatHandler.send {}",
        ],
    );
}

#[test]
fn bodies_that_are_not_json_become_empty_objects() {
    let route = "chat.chatHandler.send";
    check_working(
        &[&format!("1 {route} "), &format!("2 {route} {{"), &format!("3 {route} null")],
        &[
            &format!("call 1 {route} {{}}"),
            &format!("call 2 {route} {{}}"),
            &format!("call 3 {route} null"),
        ],
    );
}

#[test]
fn requests_without_a_handler_are_answered_500_and_the_rest_is_not() {
    let fail = |id| format!(r#"{id} {{"code":500}}"#);
    check_working(
        &["1 a.b {}", "2 a.b.c.d {}", "3 gate.gateHandler.queryEntry {}", "4 a.. {}", "5 a. {}"],
        &[1, 2, 3, 4, 5].map(fail).each_ref().map(|s| &s[..]),
    );
    check_working(&["0 a.b.c {}", "- a.b.c {}", "> a.b {}"], &[]);
    check_working(&["1  {}", "2 abc {}", "3 .b.c {}", "data 080102", "data 0401"], &[]);
}

#[test]
fn codes_mean_something_only_with_a_dictionary() {
    check_working(&["1 1 {}", "2 0 {}"], &[]);
    let script = ["1 2 {}", "2 0 {}", "3 4 {}", "4 3 {}"];
    let script = [&[HELLO, "ack"], &script[..]].concat();
    let mut conn = Conn::new(Arc::new(Profile::master_connector(0)), KNOWN);
    let mut outputs = Vec::new();
    script.iter().for_each(|line| conn.handle(package(line), &mut outputs));
    let seen: Vec<_> = outputs[1..].iter().map(render).collect();
    assert_eq!(seen, ["call 1 connector.entryHandler.enter {}", r#"4 {"code":500}"#]);
}

#[test]
fn a_constructor_is_an_attack() {
    let kick = &[r#"kick {"reason":"attack"}"#, "close attack"][..];
    check_working(&["1 connector.entryHandler.constructor {}", "beat"], kick);
    check_working(&["- x.y.constructor {}", "1 a.b {}"], kick);
    check_working(&["> x..constructor {}"], kick);
    check_working(&["1 x.constructor {}"], &[r#"1 {"code":500}"#]);
    check_working(&["1 x.y.constructor.z {}"], &[r#"1 {"code":500}"#]);
    check_working(&["1 x.y.z.constructor {}"], &[r#"1 {"code":500}"#]);
}

#[test]
fn a_malformed_message_closes() {
    for data in ["", "00", "00ffffff", "0021ff63", "06", "0201ff", "1001", "00ffffffff08056100"] {
        let line = format!("data {data}");
        check_working(&[&line, "1 a.b {}"], &["close malformed_message"]);
    }
}

#[test]
fn a_malformed_protobuf_body_closes() {
    let client =
        Schema::parse(&serde_json::json!({ route::SEND: { "required string content": 1 } }));
    let protos = Protos::new(Schema::default(), client);
    let profile = || Profile::new(None, None, Some(protos.clone())).unwrap();
    let play = |hello: &str, body: &str| {
        let mut conn = Conn::new(Arc::new(profile()), KNOWN);
        let mut outputs = Vec::new();
        let line = format!("1 {} {body}", route::SEND);
        [hello, "ack", &line].iter().for_each(|line| conn.handle(package(line), &mut outputs));
        outputs[1..].iter().map(render).collect::<Vec<_>>()
    };
    let call = [r#"call 1 chat.chatHandler.send {"content":"hi"}"#];
    assert_eq!(play(HELLO, "\n\u{2}hi"), call);
    assert_eq!(play(HELLO, "\n\u{3}hi"), ["close malformed_body"]);
    assert_eq!(play(HELLO, r#"{"content":"hi"}"#), ["close malformed_body"]);
    // Pitaya clients were not told of the schema.
    assert_eq!(play(r#"hello {"sys":{"libVersion":"1"}}"#, r#"{"content":"hi"}"#), call);
    let extended = r#"hello {"sys":{},"user":{"shaddock":1}}"#;
    assert_eq!(play(extended, r#"{"content":"hi"}"#), call);
}

#[test]
fn the_user_of_the_handshake_is_kept() {
    let mut conn = Conn::new(Arc::new(plain(0)), KNOWN);
    conn.handle(package(r#"hello {"sys":{},"user":{"shaddock":1}}"#), &mut Vec::new());
    assert_eq!(conn.user().unwrap()["shaddock"], 1);
    assert!(conn.take_user().is_some() && conn.user().is_none());
}

#[test]
fn a_long_user_of_the_handshake_is_not_kept() {
    let user_of = |len: usize| {
        let mut conn = Conn::new(Arc::new(plain(0)), KNOWN);
        let hello = format!(r#"hello {{"sys":{{}},"user":"{}"}}"#, "x".repeat(len - 2));
        conn.handle(package(&hello), &mut Vec::new());
        conn.take_user().is_some()
    };
    assert_eq!((user_of(4096), user_of(4097)), (true, false));
}

#[test]
fn a_kick_reaches_only_clients_that_are_working() {
    let mut out = BytesMut::new();
    Conn::new(Arc::new(plain(0)), KNOWN).encode_kick("full", &mut out);
    assert!(out.is_empty());

    let mut conn = Conn::new(Arc::new(plain(0)), KNOWN);
    [HELLO, "ack"].iter().for_each(|line| conn.handle(package(line), &mut Vec::new()));
    conn.encode_kick("full", &mut out);
    assert_eq!(out, &b"\x05\0\0\x11{\"reason\":\"full\"}"[..]);
    assert!(!conn.is_working());
}

#[test]
fn a_connection_is_small() {
    assert!(size_of::<Conn>() <= 48, "{}", size_of::<Conn>());
}

#[test]
fn names_of_reasons_differ() {
    let names: std::collections::BTreeSet<_> =
        CloseReason::ALL.iter().map(CloseReason::as_str).collect();
    assert_eq!(names.len(), CloseReason::ALL.len());
}
