use serde_json::Value;
use wire::*;

/// Inputs for the fuzz target of that name.
pub(crate) const SEEDS: [(&str, &[u8]); 8] = [
    ("dictionary", b"\x81[\"onChat\", \"onAdd\"]"),
    ("object", b"\x09{}"),
    ("all", b"\x17[\"onX\"]\0{\"a.b.c\":{\"required string a\":1}}\0{\"onChat\":{\"required string msg\":1,\"message T\":{\"optional T t\":1},\"repeated T ts\":2},\"message T\":{}}"),
    ("unknown", b"\x84{\n\"onX\": {\n \"required strng msg\": 1}}"),
    ("taken", b"\x84{\"onX\": {\"required string a\": 1, \"required string b\": 1}}"),
    ("endless", b"\x02{\"message A\":{\"required B b\":1},\"message B\":{\"required A a\":1}}"),
    ("push", b"\x04{\"onAdd\":{\"required uInt32 user\":1}}"),
    ("syntax", b"\x03[1,\n2\0{"),
];

enum File {
    Dictionary,
    Client,
    Server,
}

fn from_file(base: ProfileName, file: &File, text: &str) -> Result<Profile, FileError> {
    let named = |name| Some(NamedText { name, text });
    let mut files = ProfileFiles::default();
    match file {
        File::Dictionary => files.dictionary = named("dictionary.json"),
        File::Client => files.client_protos = named("clientProtos.json"),
        File::Server => files.server_protos = named("serverProtos.json"),
    }
    Profile::from_files(base, Side::Connector, 3, &files)
}

#[track_caller]
fn check(file: &File, text: &str, want: &str) {
    let error = from_file(ProfileName::Starter, file, text).expect_err("refused");
    assert_eq!(error.to_string(), want);
}

/// `sys` of the handshake response.
fn announced(profile: Profile) -> Value {
    let (_, outputs) = crate::signing::greet(profile, "");
    let Output::Send(bytes) = &outputs[0] else { panic!("{outputs:?}") };
    let response: Value = serde_json::from_slice(&bytes[4..]).unwrap();
    response["sys"].clone()
}

#[test]
fn the_files_of_a_branch_are_the_branch() {
    let dictionary = "[\n \"onChat\",\n \"onAdd\",\n \"onLeave\"\n]\n";
    let client = r#"{
        "chat.chatHandler.send": {
            "required string rid": 1, "required string content": 2,
            "required string from": 3, "required string target": 4
        },
        "connector.entryHandler.enter": { "required string username": 1, "required string rid": 2 },
        "gate.gateHandler.queryEntry": { "required string uid": 1 }
    }"#;
    let server = r#"{
        "onChat": {
            "required string msg": 1, "required string from": 2, "required string target": 3
        },
        "onLeave": { "required string user": 1 },
        "onAdd": { "required string user": 1 }
    }"#;
    let file = |name, text| Some(NamedText { name, text });
    let files = ProfileFiles {
        dictionary: file("dictionary.json", dictionary),
        client_protos: file("clientProtos.json", client),
        server_protos: file("serverProtos.json", server),
    };
    for base in ProfileName::ALL {
        for side in [Side::Gate, Side::Connector] {
            let profile = Profile::from_files(base, side, 3, &files).unwrap();
            let full = Profile::named(ProfileName::Full, side, 3);
            // As text, because equality of objects does not see the order.
            assert_eq!(announced(profile).to_string(), announced(full).to_string());
        }
    }
    let sys = announced(Profile::named(ProfileName::Full, Side::Gate, 0));
    assert_eq!(sys["dictVersion"], "2aLbouXtKQ/URxNfQ1DeAg==");
    assert_eq!(sys["protos"]["version"], "UzBzIWEk+oufZ+ovKTq0og==");
}

#[test]
fn no_files_are_the_profile_itself() {
    for base in ProfileName::ALL {
        for side in [Side::Gate, Side::Connector] {
            let files = ProfileFiles::default();
            let profile = Profile::from_files(base, side, 0, &files).unwrap();
            assert_eq!(announced(profile), announced(Profile::named(base, side, 0)));
        }
    }
}

#[test]
fn a_file_replaces_its_own_part_and_no_other() {
    let sys = |base, file, text| announced(from_file(base, &file, text).unwrap());
    let own = sys(ProfileName::Full, File::Client, "{}");
    let full = announced(Profile::named(ProfileName::Full, Side::Connector, 3));
    assert_eq!(own["protos"]["client"], serde_json::json!({}));
    assert_eq!(own["protos"]["server"], full["protos"]["server"]);
    assert_eq!(own["dict"], full["dict"]);
    // As on master, whose dictionary.json is an object.
    let own = sys(ProfileName::Full, File::Dictionary, "{}");
    assert_eq!(own["dictVersion"], "s2r1qfKDrbhWCkA6uf+PTA==");
    assert_eq!(own["protos"], full["protos"]);
    let own = sys(ProfileName::Starter, File::Dictionary, r#"["onX","chat.chatHandler.send"]"#);
    let dict = r#"{"chat.chatHandler.send":5,"connector.entryHandler.enter":2,"gate.gateHandler.queryEntry":3,"onX":4}"#;
    assert_eq!(own["dict"].to_string(), dict);
    assert_eq!(own.get("protos"), None);
}

#[test]
fn a_dictionary_is_a_list_of_routes() {
    let check = |text: &str, want: &str| check(&File::Dictionary, text, want);
    check("5", "dictionary.json:1: neither a list of routes nor an object");
    check("[\"a\",\n\n 7]", "dictionary.json:3: 7: route is not a text");
    check("[\n\"\"]", "dictionary.json:2: \"\": route has 0 bytes, not 1 to 255");
    check(r#"["\ud83d"]"#, "dictionary.json:1: not json: unexpected end of hex escape, column 9");
    check("[\"a\"\n\"b\"]", "dictionary.json:2: not json: expected `,` or `]`, column 1");
    check("", "dictionary.json:1: not json: EOF while parsing a value, column 0");
    let long = format!("[\"{}\"]", "é".repeat(128));
    let shown: String = long.chars().skip(1).take(80).collect();
    check(&long, &format!("dictionary.json:1: {shown}: route has 256 bytes, not 1 to 255"));
    let fits = format!("[\"{}\"]", "x".repeat(255));
    assert!(from_file(ProfileName::Starter, &File::Dictionary, &fits).is_ok());
}

#[test]
fn there_are_as_many_routes_as_codes() {
    let list = |routes: usize| {
        let routes: Vec<_> = (0..routes).map(|route| format!("\"r{route}\"")).collect();
        format!("[{}]", routes.join(",\n"))
    };
    let read = |text: &str| from_file(ProfileName::Starter, &File::Dictionary, text);
    assert!(read(&list(65_532)).is_ok());
    let error = read(&list(65_533)).unwrap_err().to_string();
    assert_eq!(error, "dictionary.json:65533: \"r65532\": more than 65535 routes");
}

#[test]
fn what_does_not_fit_a_handshake_is_refused() {
    let routes: Vec<_> = (0..30_000).map(|n| format!("\"{n:0200}\"")).collect();
    let text = format!("[{}]", routes.join(","));
    let error = from_file(ProfileName::Master, &File::Dictionary, &text).unwrap_err();
    assert!(matches!(error.problem, FileProblem::TooMuch(18_000_000..)), "{error}");
    assert!(error.to_string().starts_with("dictionary.json:1: handshake of 1"));
}

#[test]
fn mistakes_in_schemas_are_named_with_line_and_field() {
    let check = |fields: &str, want: &str| {
        let text = format!("{{\n \"onX\": {{\n  \"required string a\": 1,\n  {fields}\n }}\n}}");
        check(&File::Server, &text, &format!("serverProtos.json:4: onX: {want}"));
    };
    check(r#""required strng msg": 2"#, r#""required strng msg": unknown type strng"#);
    check(r#""needed string b": 2"#, r#""needed string b": unknown option needed"#);
    let words = "words instead of option, type and name";
    check(r#""required string": 2"#, &format!(r#""required string": 2 {words}"#));
    check(r#""required  string b": 2"#, &format!(r#""required  string b": 4 {words}"#));
    check(r#""": 2"#, &format!(r#""": 1 {words}"#));
    check(r#""message": {}"#, &format!(r#""message": 1 {words}"#));
    check(r#""optional int32 b": 1"#, r#""optional int32 b": tag 1 is taken by a"#);
    check(r#""optional int32 a": 2"#, r#""optional int32 a": field a is there already"#);
    check(r#""optional uInt64 b": 2"#, r#""optional uInt64 b": type uInt64 has no encoding"#);
    check(r#""optional int32 ": 2"#, r#""optional int32 ": name "" is not allowed"#);
    check(
        r#""optional int32 __tags": 2"#,
        r#""optional int32 __tags": name "__tags" is not allowed"#,
    );
    let range = "is not a whole number from 1 to 536870911";
    for tag in ["0", "-1", "536870912", "1.5", "\"2\"", "null", "[2]"] {
        let field = r#""optional int32 b""#;
        check(&format!("{field}: {tag}"), &format!("{field}: tag {tag} {range}"));
    }
    check(r#""message T": 5"#, "message T: not an object");
    check(
        r#""message T": { "optional U b": 1, "message U": { "optional V c": 1 } }"#,
        r#"message T: message U: "optional V c": unknown type V"#,
    );
    check(r#""message T": {}, "message T": {}"#, r#""message T": message T is there already"#);
}

#[test]
fn types_are_looked_up_as_the_original_does() {
    let read = |text: &str| from_file(ProfileName::Starter, &File::Client, text);
    // In the message itself, and at the top, but not in between.
    let nested = r#""message T": { "message U": { "optional V v": 1 }, "optional U u": 1 }"#;
    let error = read(&format!(r#"{{"r":{{ {nested}, "message V": {{}} }} }}"#)).unwrap_err();
    assert_eq!(error.problem, FileProblem::UnknownType("V".to_owned()));
    assert!(read(&format!(r#"{{"r":{{ {nested} }}, "message V": {{}} }}"#)).is_ok());
}

#[test]
fn schemas_may_be_trees_but_not_endless() {
    let check = |text: &str, want: &str| check(&File::Client, text, want);
    let read = |text: &str| from_file(ProfileName::Starter, &File::Client, text);
    for option in ["optional", "repeated"] {
        assert!(read(&format!(r#"{{"message T":{{"{option} T kids":1}}}}"#)).is_ok());
    }
    let endless = "requires itself, or messages more than 64 levels deep";
    check(
        r#"{"message T":{"required T t":1}}"#,
        &format!(r#"clientProtos.json:1: message T: "required T t": {endless}"#),
    );
    let error = read("{\"message A\":{\"required B b\":1},\n\"message B\":{\"required A a\":1}}");
    assert_eq!(error.unwrap_err().problem, FileProblem::Endless(64));
    let chain = |links: usize| {
        let links = (0..links).map(|n| format!(r#""message M{n}":{{"required M{} m":1}}"#, n + 1));
        format!(
            r#"{{{},"message M{}":{{}}}}"#,
            links.clone().collect::<Vec<_>>().join(","),
            links.len()
        )
    };
    assert!(read(&chain(63)).is_ok());
    assert_eq!(read(&chain(64)).unwrap_err().problem, FileProblem::Endless(64));

    let nested = |levels| {
        let inner =
            (0..levels).fold(String::new(), |inner, _| format!(r#""message M":{{{inner}}}"#));
        format!(r#"{{"r":{{{inner}}}}}"#)
    };
    assert!(read(&nested(32)).is_ok());
    assert_eq!(read(&nested(33)).unwrap_err().problem, FileProblem::DeclaredTooDeep(32));
    assert!(matches!(read(&nested(200)).unwrap_err().problem, FileProblem::Syntax(_)));
}

#[test]
fn files_of_schemas_are_objects_of_objects() {
    let check = |text: &str, want: &str| check(&File::Server, text, want);
    check("[]", "serverProtos.json:1: not an object");
    check("{\n\"onX\":\n1}", "serverProtos.json:3: onX: not an object");
    check("{\"a\":{},\n\"a\":{}}", "serverProtos.json:2: a: a is there already");
    check("{\"\":{}}", "serverProtos.json:1: : route has 0 bytes, not 1 to 255");
    check("{\"a\\nb\":[]}", "serverProtos.json:1: a\\nb: not an object");
}

#[test]
fn schemas_that_cannot_carry_our_pushes_are_refused() {
    let check = |text: &str, want: &str| check(&File::Server, text, want);
    check(
        "{\"onX\":{},\n\n\"onChat\":{\"required uInt32 msg\":1}}",
        "serverProtos.json:3: onChat: does not take the values of this push: \
         field \"msg\" has a value of another type",
    );
    check(
        "{\n\"a.b.c\":{\"required uInt32 code\":1}}",
        "serverProtos.json:2: a.b.c: schemas of answers are not supported: answers are json",
    );
}

#[test]
fn names_of_profiles_are_read_as_they_are_written() {
    for name in ProfileName::ALL {
        assert_eq!(name.to_string().parse(), Ok(name));
    }
    let error = "Master".parse::<ProfileName>().unwrap_err();
    assert_eq!(error.to_string(), r#"no profile "Master": there are starter, master and full"#);
    assert_eq!(format!("{:>8}|", ProfileName::Full), "    full|");
}
