//! The sessions recorded from four branches of the sample.

use serde_json::Value;
use wire::*;

use crate::captures::{only_package, replay};
use crate::signing::{greet, plain};
use crate::text;

fn frames(branch: &str) -> Vec<Value> {
    let branches: Vec<Value> =
        serde_json::from_str(include_str!("../../vectors/branches.json")).unwrap();
    let found = branches.iter().find(|found| found["id"] == branch).unwrap();
    found["frames"].as_array().unwrap().clone()
}

/// Replays the gate and the connector of a recording.
#[track_caller]
fn check(branch: &str, gate: Profile, connector: Profile) {
    let frames = frames(branch);
    let (at_gate, others): (Vec<_>, Vec<_>) = frames.iter().partition(|f| f["who"] == "gate");
    assert!(at_gate.len() == 5 && others.len() > 20);
    assert_eq!(replay(gate, at_gate), []);
    assert_eq!(replay(connector, others), []);
}

#[test]
fn the_branches_get_the_recorded_bytes() {
    for (branch, name) in
        [("tutorial-starter", ProfileName::Starter), ("tutorial-protobuf", ProfileName::Full)]
    {
        let [gate, connector] = [(Side::Gate, 0), (Side::Connector, 3)]
            .map(|(side, secs)| Profile::named(name, side, secs));
        check(branch, gate, connector);
    }
}

#[test]
fn a_dictionary_alone_is_the_branch_tutorial_dict() {
    let text = r#"["onChat", "onAdd", "onLeave"]"#;
    let dictionary = Some(NamedText { name: "dictionary.json", text });
    let files = ProfileFiles { dictionary, ..ProfileFiles::default() };
    let [gate, connector] = [(Side::Gate, 0), (Side::Connector, 3)]
        .map(|(side, secs)| Profile::from_files(ProfileName::Starter, side, secs, &files).unwrap());
    check("tutorial-dict", gate, connector);
}

/// The branch `rsa` up to the first message that the original drops, and the
/// others of that client apart.
#[test]
fn signed_messages_are_read_as_recorded_and_chinese_ones_too() {
    let mut frames = frames("rsa");
    let sent = |frame: &Value| frame["who"] == "a" && frame["dir"] == "C->S";
    let is_wrong = |frame: &Value| {
        // Request 5 of the client is the first with a wrong signature.
        sent(frame) && text(frame, "hex")[8..].starts_with("0105")
    };
    let cut = frames.iter().position(is_wrong).unwrap();
    let late: Vec<_> = frames.split_off(cut);
    frames.extend(late.iter().filter(|frame| frame["who"] == "b").cloned());
    let (at_gate, others): (Vec<_>, Vec<_>) = frames.iter().partition(|f| f["who"] == "gate");
    assert_eq!(replay(Profile::master_gate(), at_gate), []);
    assert_eq!(replay(Profile::master_connector(3).with_signing(), others.clone()), []);

    let hello = only_package(text(others.iter().find(|frame| sent(frame)).unwrap(), "hex"));
    let hello: Value = serde_json::from_slice(&hello.body).unwrap();
    let mut results = Vec::new();
    for frame in late.iter().filter(|frame| sent(frame)) {
        let package = only_package(text(frame, "hex"));
        if package.kind == Kind::Data {
            let profile = Profile::master_connector(3).with_signing();
            let (mut conn, _) = greet(profile, &hello["sys"]["rsa"].to_string());
            let mut outputs = Vec::new();
            conn.handle(package, &mut outputs);
            results.extend(outputs.iter().map(plain));
        }
    }
    // The original answers none of the three.
    let chinese = r#"{"rid":"room","content":"你好","from":"ann","target":"*"}"#;
    assert_eq!(results, ["close bad_signature", "close bad_signature", chinese]);
}
