use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use serde_json::{Map, Value, json};
use wire::*;

use crate::captures::check_capture;
use crate::signing::{greet, request};
use crate::{all_vectors, hex, text, unhex};

/// Vectors where we deliberately do something else than the original: what we
/// do, and why. An entry that does not differ fails the test.
const DEVIATIONS: &[(&str, &str, &str)] = &[
    ("PKG-13", "refused", "a body of 2^24 bytes would be sent as length 0"),
    ("PKG-15", "empty frame", "the decoder returns no package; its server disconnects, as ours"),
    ("PKG-16", "data ends too early", "missing bytes are not zeros"),
    (
        "PKG-17",
        "unknown package type 9",
        "the decoder lets it pass; its server disconnects, as ours",
    ),
    (
        "MSG-29",
        "compressed message bodies are not supported",
        "the original carries the bit and then fails to parse the body",
    ),
    ("MSG-35", "message id is above 2^31-1", "the original hangs when it answers this id"),
    ("MSG-36", "message id is above 2^31-1", "as MSG-35"),
    ("MSG-37", "message id is above 2^31-1", "as MSG-35"),
    ("PB-09b", "browser body refused: body ends too early", "the browser build cuts the double"),
    (
        "PB-23",
        "browser body refused: body ends too early",
        "the browser build cuts the last double",
    ),
    ("PB-D4", "refused: body ends too early", "a cut string is not a shorter string"),
];

/// What a vector says and what we do, in the same words.
struct Outcome {
    theirs: String,
    ours: String,
}

#[test]
fn every_vector_is_followed_or_named_as_a_deviation() {
    let mut counts: BTreeMap<String, [usize; 2]> = BTreeMap::new();
    let mut open: Vec<_> = DEVIATIONS.iter().map(|(id, ..)| *id).collect();
    for vector in all_vectors() {
        let (id, layer) = (text(&vector, "id"), text(&vector, "layer"));
        let [followed, deviating] = counts.entry(layer.to_owned()).or_default();
        let outcome = match layer {
            "package" => package(&vector),
            "message" if id.starts_with("OLD-") => old_id(&vector),
            "message" => message(&vector),
            "string" => string(&vector),
            "protobuf" if vector.get("parsed").is_some() => schema(&vector),
            "protobuf" => protobuf(&vector),
            "hash" => hash(&vector),
            "rsa" => rsa(&vector),
            "capture" => {
                // Compares byte by byte, and panics at the first that differs.
                check_capture(&vector);
                *followed += 1;
                continue;
            }
            other => panic!("no check for layer {other}"),
        };
        match DEVIATIONS.iter().find(|(deviation, ..)| *deviation == id) {
            None => {
                assert_eq!(outcome.ours, outcome.theirs, "{id}");
                *followed += 1;
            }
            Some((_, ours, why)) => {
                assert_eq!(outcome.ours, *ours, "{id}: {why}");
                assert_ne!(outcome.ours, outcome.theirs, "{id} is no deviation");
                open.retain(|open| *open != id);
                *deviating += 1;
            }
        }
    }
    println!("{:10} {:>8} {:>9}", "layer", "followed", "deviating");
    for (layer, [followed, deviating]) in &counts {
        println!("{layer:10} {followed:8} {deviating:9}");
    }
    for (id, ours, why) in DEVIATIONS {
        println!("{id}: {ours}; {why}");
    }
    assert!(open.is_empty(), "no such vectors: {open:?}");
    assert_eq!(counts.values().flatten().sum::<usize>(), 118);
    let followed: usize = counts.values().map(|[followed, _]| followed).sum();
    let ids: Vec<_> = DEVIATIONS.iter().map(|(id, ..)| *id).collect();
    // Reports look for this line.
    println!("vectors {followed}/118 followed, {} deviate: {}", ids.len(), ids.join(", "));
}

fn package(vector: &Value) -> Outcome {
    if let Some(prefix) = vector.get("hex_prefix") {
        return long_package(vector, prefix.as_str().unwrap());
    }
    let frame = Bytes::from(unhex(text(vector, "hex")));
    let ours = match decode_frame(frame.clone(), BODY_LEN_MAX).collect::<Result<Vec<_>, _>>() {
        Err(error) => error.to_string(),
        Ok(packages) => {
            let mut again = BytesMut::new();
            for package in &packages {
                encode_package(package.kind, &package.body, &mut again).unwrap();
            }
            assert_eq!(again, frame, "{}", vector["id"]);
            let packages = packages.iter().map(|p| format!("{} {};", p.kind as u8, hex(&p.body)));
            packages.collect()
        }
    };
    let one = [vector["decoded"].clone()];
    let decoded = vector["decoded"].as_array().map_or(&one[..], |list| list);
    let theirs = decoded.iter().map(|package| {
        let body = package["body"]["hex"].as_str().or(package["body_hex"].as_str());
        format!("{} {};", package["type"], body.unwrap_or_default())
    });
    Outcome { theirs: theirs.collect(), ours }
}

/// Vectors that list only the first bytes and the length of a package.
fn long_package(vector: &Value, prefix: &str) -> Outcome {
    let fill = if prefix.ends_with("61") { 0x61 } else { 0 };
    let total = vector["total_length"].as_u64().unwrap() as usize;
    let mut out = BytesMut::new();
    let ours = match encode_package(Kind::Data, &vec![fill; total - HEADER_LEN], &mut out) {
        Err(_) => "refused".to_owned(),
        Ok(()) => {
            let mut decoder = Decoder::new(BODY_LEN_MAX);
            decoder.feed(&out);
            let package = decoder.poll().unwrap().unwrap();
            assert_eq!(package.body.len(), total - HEADER_LEN);
            format!("{} {}", hex(&out[..8]), out.len())
        }
    };
    Outcome { theirs: format!("{prefix} {total}"), ours }
}

fn message(vector: &Value) -> Outcome {
    if let Some(input) = vector.get("input") {
        return refused_message(input);
    }
    let data = Bytes::from(unhex(text(vector, "hex")));
    let decoded = &vector["decoded"];
    let theirs = match decoded.get("type") {
        None => "refused".to_owned(),
        Some(kind) => {
            let kind = kind.as_str().map_or_else(|| kind.to_string(), str::to_owned);
            let kind = ["request", "notify", "response", "push"]
                .iter()
                .position(|name| *name == kind)
                .map_or(kind, |position| position.to_string());
            let route = decoded["route"]["utf8"].as_str().or(decoded["route"].as_str());
            let route = route.map_or_else(|| decoded["route"].to_string(), str::to_owned);
            let body = decoded["body"]["hex"].as_str().unwrap();
            let body = if kind.as_str() > "3" { "" } else { body };
            format!("{kind} {} {route} {body}", decoded["id"])
        }
    };
    let ours = match Message::decode(data) {
        // Any error will do where the original throws.
        Err(_) if theirs == "refused" => "refused".to_owned(),
        Err(error) => error.to_string(),
        Ok(message) => {
            if let Some(package) = vector.get("package_hex") {
                assert_eq!(hex(&reencode(&message)), *package, "{}", vector["id"]);
            }
            render_message(&message)
        }
    };
    Outcome { theirs, ours }
}

/// Inputs that the original's encoder refuses.
fn refused_message(input: &Value) -> Outcome {
    let mut out = BytesMut::new();
    let is_refused = match input["route_length"].as_u64() {
        Some(len) => {
            let route = "a".repeat(len as usize);
            encode_push(PushRoute::Name(&route), b"", &mut out).is_err()
        }
        None => u16::try_from(input["route_code"].as_u64().unwrap()).is_err(),
    };
    let ours = if is_refused { "refused" } else { "written" };
    Outcome { theirs: "refused".into(), ours: ours.into() }
}

fn render_message(message: &Message) -> String {
    let route = |route: &RawRoute| match route {
        RawRoute::Name(name) => String::from_utf8(name.to_vec()).unwrap(),
        RawRoute::Code(code) => code.to_string(),
    };
    match message {
        Message::Request { id, route: r, body } => {
            format!("0 {} {} {}", id.little_endian(), route(r), hex(body))
        }
        Message::Notify { route: r, body } => format!("1 0 {} {}", route(r), hex(body)),
        Message::Response { id, body } => format!("2 {} null {}", id.little_endian(), hex(body)),
        Message::Push { route: r, body } => format!("3 0 {} {}", route(r), hex(body)),
        Message::Unknown { type_bits } => format!("{type_bits} 0 null "),
    }
}

/// Writes a message as a DATA package, by whichever side sends such messages.
pub(crate) fn reencode(message: &Message) -> BytesMut {
    let borrow = |route: &RawRoute| match route {
        RawRoute::Name(name) => {
            PushRoute::Name(std::str::from_utf8(name).unwrap().to_owned().leak())
        }
        RawRoute::Code(code) => PushRoute::Code(*code),
    };
    let mut out = BytesMut::new();
    match message {
        Message::Request { id, route, body } => encode_request(id, borrow(route), body, &mut out),
        Message::Notify { route, body } => encode_notify(borrow(route), body, &mut out),
        Message::Response { id, body } => encode_response(id, body, &mut out),
        Message::Push { route, body } => encode_push(borrow(route), body, &mut out),
        Message::Unknown { .. } => panic!("nobody sends unknown messages"),
    }
    .unwrap();
    out
}

/// Ids of old clients: kept as bytes, whatever number they seem to be.
fn old_id(vector: &Value) -> Outcome {
    let Ok(Message::Request { id, .. }) = Message::decode(unhex(text(vector, "hex")).into()) else {
        panic!("{} is a request", vector["id"]);
    };
    let decoded = &vector["decoded"];
    let theirs = format!("{} {}", text(decoded, "raw_id_bytes"), decoded["id_seen_by_0_1_6"]);
    Outcome { theirs, ours: format!("{} {}", hex(id.as_bytes()), id.little_endian()) }
}

fn string(vector: &Value) -> Outcome {
    if let Some(raw) = vector.get("hex") {
        // The client can read what we write for this value, and only that.
        let value = parse_json(&unhex(raw.as_str().unwrap())).unwrap();
        let readable = r#"{"msg":"x\ud83d\ude01","to":1}"#;
        let ours = String::from_utf8(to_json(&value)).unwrap();
        return Outcome { theirs: readable.into(), ours };
    }
    let body = [b"\"", &unhex(text(vector, "client_sends_hex"))[..], b"\""].concat();
    let read = parse_json(&body).unwrap();
    let written = String::from_utf8(to_json(&read)).unwrap();
    let theirs = text(vector, "text");
    // The vector escapes all that is not ASCII; we only what must be.
    let escaped = if theirs.chars().all(|c| c.len_utf8() < 4) {
        format!("\"{theirs}\"")
    } else {
        text(vector, "text_escaped").to_owned()
    };
    let ours = format!("{} {written}", read.as_str().unwrap());
    Outcome { theirs: format!("{theirs} {escaped}"), ours }
}

fn schema(vector: &Value) -> Outcome {
    let parsed = Schema::parse(&vector["schema"]).json().clone();
    Outcome { theirs: vector["parsed"].to_string(), ours: Value::Object(parsed).to_string() }
}

fn protobuf(vector: &Value) -> Outcome {
    let schema = Schema::parse(&vector["schema"]);
    let route = text(vector, "route");
    let decode = |bytes: &str| match schema.decode(route, &unhex(bytes)) {
        Ok(value) => value.to_string(),
        Err(error) => format!("refused: {error}"),
    };
    let Some(value) = vector.get("value") else {
        let ours = decode(text(vector, "hex"));
        // Any error will do where the original throws.
        let is_error = vector.get("error").is_some() && ours.starts_with("refused");
        let theirs = if is_error { ours.clone() } else { vector["decoded"].to_string() };
        return Outcome { theirs, ours };
    };
    let ours = match schema.encode(route, value) {
        Err(_) => "refused".to_owned(),
        Ok(None) => "null null".to_owned(),
        Ok(Some(bytes)) => format!("\"{0}\" {1}", hex(&bytes), decode(&hex(&bytes))),
    };
    let theirs = match vector.get("error") {
        Some(_) => "refused".to_owned(),
        None => format!("{} {}", vector["hex"], vector["decoded"]),
    };
    // What the browser build writes for this value must be read as well.
    if let Some(browser) = vector.get("client_build_hex") {
        let read = decode(browser.as_str().unwrap());
        if let Some(error) = read.strip_prefix("refused") {
            return Outcome { theirs, ours: format!("browser body refused{error}") };
        }
        assert_eq!(read, vector["decoded"].to_string(), "{}", vector["id"]);
    }
    Outcome { theirs, ours }
}

fn hash(vector: &Value) -> Outcome {
    let handlers = [route::SEND, route::ENTER, route::QUERY_ENTRY];
    let dictionary = |user: &[&str]| {
        let dictionary = Dictionary::new(&handlers, user);
        (Value::Object(dictionary.json().clone()).to_string(), dictionary.version().to_owned())
    };
    let (input, output) = match text(vector, "id") {
        "HASH-01" => dictionary(&[]),
        "HASH-02" => dictionary(&[route::ON_CHAT, route::ON_ADD, route::ON_LEAVE]),
        "HASH-03" => {
            let fields = json!({
                "required string msg": 1, "required string from": 2, "required string target": 3,
            });
            let server = Schema::parse(&json!({ route::ON_CHAT: fields }));
            let input = format!("{{}}{}", Value::Object(server.json().clone()));
            let client = Schema::parse(&Value::Object(Map::new()));
            (input, Protos::new(server, client).version().to_owned())
        }
        other => panic!("no check for {other}"),
    };
    let theirs = format!("{} {}", text(vector, "input"), text(vector, "output"));
    Outcome { theirs, ours: format!("{input} {output}") }
}

/// A signed body, sent by a client that named the key in its handshake.
fn rsa(vector: &Value) -> Outcome {
    let profile = Profile::named(ProfileName::Starter, Side::Connector, 0).with_signing();
    let (mut conn, _) = greet(profile, &vector["handshake_sys_rsa"].to_string());
    let outputs = request(&mut conn, route::ENTER, vector["body"].to_string().as_bytes());
    let ours = match &outputs[..] {
        [Output::Call(call)] => format!("{} true", call.body),
        other => format!("{other:?}"),
    };
    let theirs = format!("{} {}", text(vector, "signed_text"), vector["verifies"]);
    Outcome { theirs, ours }
}
