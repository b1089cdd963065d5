//! Schemas, values and bodies at random, against what both builds of
//! pomelo-protobuf 0.4.0 made of them, and dictionaries against pomelo 2.2.7.
//! `tests/clients/lib/differential.mjs` generates the vectors.

use serde_json::Value;
use wire::*;

use crate::{hex, text, unhex};

fn vectors(kind: &str) -> Vec<Value> {
    let file: Value =
        serde_json::from_str(include_str!("../../vectors/differential.json")).unwrap();
    let vectors = file[kind].as_array().unwrap().clone();
    assert!(vectors.len() >= 20);
    vectors
}

/// Whether both are the same to JavaScript, keys in the same order included.
fn alike(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            let [a, b] = [one, other].map(|number| number.as_f64().unwrap());
            let is_whole = a.fract() == 0.0 && a.abs() < 2_f64.powi(53);
            // serde_json reads a fraction of the vectors to the last bit but one. Beyond
            // 2^53 the original rounds at each group, and so loses the sign, too.
            a == b || (!is_whole && ((a / b).abs() - 1.0).abs() < 1e-15)
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| alike(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().zip(other).all(|(a, b)| a.0 == b.0 && alike(a.1, b.1))
        }
        _ => one == other,
    }
}

/// JavaScript puts keys that are numbers first.
fn reordered(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().map(|(k, v)| (k.clone(), reordered(v))).collect();
            entries.sort_by_key(|(key, _)| key.parse().unwrap_or(u32::MAX));
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(elements) => elements.iter().map(reordered).collect(),
        other => other.clone(),
    }
}

#[test]
fn schemas_are_parsed_as_the_original_does() {
    for vector in vectors("protobuf") {
        let server = Schema::parse(&vector["file"]);
        let json = Value::Object(server.json().clone()).to_string();
        let protos = Protos::new(server, Schema::default());
        assert_eq!(protos.version(), text(&vector, "parsed"), "{} {json}", vector["file"]);
    }
    for vector in vectors("protos") {
        let [client, server] = ["client", "server"].map(|side| Schema::parse(&vector[side]));
        assert_eq!(Protos::new(server, client).version(), text(&vector, "version"));
    }
}

#[test]
fn dictionaries_are_numbered_as_the_original_does() {
    for vector in vectors("dictionaries") {
        let routes = |kind: &str| -> Vec<&str> {
            vector[kind].as_array().unwrap().iter().map(|route| route.as_str().unwrap()).collect()
        };
        let dictionary = Dictionary::new(&routes("handlers"), &routes("user"));
        let json = Value::Object(dictionary.json().clone()).to_string();
        let inverse = Value::Object(dictionary.inverse_json()).to_string();
        assert_eq!(json, text(&vector, "dict"));
        assert_eq!(inverse, text(&vector, "abbrs"));
        assert_eq!(dictionary.version(), text(&vector, "version"));
    }
}

#[test]
fn values_are_written_as_the_server_build_does_and_read_from_both() {
    let (mut whole, mut cut) = (0, 0);
    for vector in vectors("protobuf") {
        let schema = Schema::parse(&vector["file"]);
        for case in vector["values"].as_array().unwrap() {
            let value = &case["value"];
            let written = schema.encode("r", value).unwrap();
            let written = written.map_or(Value::Null, |bytes| hex(&bytes).into());
            assert_eq!(written, case["server"], "{value} of {}", vector["file"]);
            if written.is_null() {
                continue;
            }
            let decoded = case.get("decoded").unwrap_or(value);
            let read = |build: &str| schema.decode("r", &unhex(text(case, build)));
            let ours = reordered(&read("server").unwrap());
            assert!(alike(&ours, decoded), "{ours} is not {decoded}");
            if case["cut"] == true {
                // Unless the cut is between two fields, which nobody can see.
                assert!(!read("browser").is_ok_and(|read| alike(&reordered(&read), decoded)));
                cut += 1;
            } else {
                let ours = reordered(&read("browser").unwrap());
                assert!(alike(&ours, decoded), "{ours} from a browser is not {decoded}");
                whole += 1;
            }
        }
    }
    assert!(whole > 200 && cut > 0, "{whole} whole, {cut} cut");
}

#[test]
fn of_broken_bodies_nothing_is_read_that_the_original_does_not_read() {
    let mut counts = [0; 3];
    for vector in vectors("protobuf") {
        let schema = Schema::parse(&vector["file"]);
        for case in vector["bodies"].as_array().unwrap() {
            let body = unhex(text(case, "hex"));
            match (schema.decode("r", &body), case.get("decoded")) {
                (Ok(ours), Some(theirs)) => {
                    let ours = reordered(&ours);
                    assert!(alike(&ours, theirs), "{ours} is not {theirs}: {case}");
                    counts[0] += 1;
                }
                (Err(_), None) => counts[1] += 1,
                // What the original takes although it is cut, or runs out of its message.
                (Err(BodyError::Truncated | BodyError::IntegerTooLong), Some(_)) => counts[2] += 1,
                (ours, theirs) => panic!("{ours:?} is not {theirs:?}: {case} {}", vector["file"]),
            }
        }
    }
    println!("{counts:?} read, refused by both, refused by us");
    assert!(counts.iter().all(|count| *count > 20), "{counts:?}");
}
