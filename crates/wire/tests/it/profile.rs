use bytes::BytesMut;
use proptest::prelude::*;
use serde_json::{Value, json};
use wire::*;

fn with_server(server: &Value) -> Result<Profile, ProfileError> {
    let protos = Protos::new(Schema::parse(server), Schema::default());
    let dictionary = Dictionary::new(&[], &[route::ON_CHAT]);
    Profile::new(None, Some(dictionary), Some(protos))
}

/// A profile of each form that the body of onChat can have.
fn profiles() -> [Profile; 5] {
    let chat = |fields: Value| with_server(&json!({ route::ON_CHAT: fields })).unwrap();
    let all = json!({
        "optional string from": 2, "required string msg": 1, "required string target": 30,
    });
    let more = json!({
        "optional string from": 2, "optional string msg": 1, "optional string target": 3,
        "required uInt32 never": 4,
    });
    [
        Profile::master_connector(3),
        Profile::new(None, None, None).unwrap(),
        chat(json!({ "optional string target": 300, "required string msg": 1 })),
        chat(all),
        chat(more),
    ]
}

const DIALECTS: [Dialect; 4] =
    [Dialect::Classic, Dialect::Browser, Dialect::Pitaya, Dialect::Extended];

proptest! {
    #[test]
    fn the_fast_path_writes_what_the_general_one_does(
        msg in "[a-z\"\\\\\n\u{1}é中😀]{0,200}",
        from in "[a-z😀]{0,20}",
        target in "[*]|[a-zé]{0,20}",
    ) {
        for (profile, dialect) in profiles().iter().flat_map(|p| DIALECTS.map(|d| (p, d))) {
            let (mut fast, mut general) = (BytesMut::new(), BytesMut::new());
            profile.encode_chat_for(dialect, &msg, &from, &target, &mut fast).unwrap();
            let body = json!({ "msg": msg, "from": from, "target": target });
            profile.encode_push_for(dialect, route::ON_CHAT, &body, &mut general).unwrap();
            prop_assert_eq!(&fast, &general);

            let (mut fast, mut general) = (BytesMut::new(), BytesMut::new());
            profile.encode_presence_for(dialect, false, &from, &mut fast).unwrap();
            let body = json!({ "route": route::ON_LEAVE, "user": from });
            profile.encode_push_for(dialect, route::ON_LEAVE, &body, &mut general).unwrap();
            prop_assert_eq!(&fast, &general);
        }
    }
}

/// Encodes the chat message `😀` of `a` to all and compares the bytes.
#[track_caller]
fn check_emoji(dialect: Dialect, expected: &[u8]) {
    let mut out = BytesMut::new();
    Profile::master_connector(3).encode_chat_for(dialect, "😀", "a", "*", &mut out).unwrap();
    assert_eq!(out, [b"\x04\0\0", expected].concat());
}

#[test]
fn every_dialect_gets_an_emoji_that_it_can_read() {
    check_emoji(Dialect::Classic, b"\x14\x06\x06onChat\x0a\x04\xf0\x9f\x98\x80\x12\x01a\x1a\x01*");
    check_emoji(
        Dialect::Browser,
        b"\x16\x06\x06onChat\x0a\x06\xed\xa0\xbd\xed\xb8\x80\x12\x01a\x1a\x01*",
    );
    let json = br#"{"msg":"\ud83d\ude00","from":"a","target":"*"}"#;
    check_emoji(Dialect::Pitaya, &[b"\x36\x06\x06onChat", &json[..]].concat());
}

#[test]
fn codes_of_pushes_are_for_all_but_pitaya_clients() {
    let profile = Profile::named(ProfileName::Full, Side::Connector, 3);
    let left = |dialect| {
        let mut out = BytesMut::new();
        profile.encode_presence_for(dialect, false, "a", &mut out).unwrap();
        out
    };
    for dialect in [Dialect::Classic, Dialect::Browser] {
        assert_eq!(left(dialect), &b"\x04\0\0\x06\x07\0\x06\x0a\x01a"[..]);
    }
    let named = b"\x04\0\0\x27\x06\x07onLeave{\"route\":\"onLeave\",\"user\":\"a\"}";
    assert_eq!(left(Dialect::Pitaya), &named[..]);
}

#[test]
fn schemas_that_cannot_carry_our_pushes_are_refused() {
    let error = |server: Value| with_server(&server).unwrap_err();
    assert!(matches!(
        error(json!({ route::ON_CHAT: { "required uInt32 msg": 1 } })),
        ProfileError::Push { route: route::ON_CHAT, source: EncodeError::Mismatch(_) }
    ));
    assert_eq!(
        error(json!({ route::SEND: { "required uInt32 code": 1 } })),
        ProfileError::Response(route::SEND.to_owned())
    );
}

#[test]
fn a_push_with_nothing_to_write_has_an_empty_body() {
    let profile = with_server(&json!({ "onX": { "required string a": 1 } })).unwrap();
    let mut out = BytesMut::new();
    profile.encode_push("onX", &json!({}), &mut out).unwrap();
    assert_eq!(out, &b"\x04\0\0\x05\x06\x03onX"[..]);
    let error = profile.encode_push("onX", &json!({ "a": 1 }), &mut out);
    assert_eq!(error, Err(PushError::Encode(EncodeError::Mismatch("a".into()))));
}

#[test]
fn a_kick_is_cut_where_a_character_ends() {
    let mut out = BytesMut::new();
    encode_kick(&"é".repeat(KICK_REASON_LEN_MAX), &mut out);
    let body: Value = serde_json::from_slice(&out[4..]).unwrap();
    assert_eq!(body["reason"].as_str().unwrap().len(), KICK_REASON_LEN_MAX);
    out.clear();
    encode_kick(&format!("x{}", "é".repeat(600)), &mut out);
    let body: Value = serde_json::from_slice(&out[4..]).unwrap();
    assert_eq!(body["reason"].as_str().unwrap().len(), KICK_REASON_LEN_MAX - 1);
}
