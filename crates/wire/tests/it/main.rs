//! The crate against recordings of the original, against itself at random,
//! and against what fuzzing once found.

// `allow-unwrap-in-tests` does not reach the helpers of an integration test.
#![allow(clippy::unwrap_used)]

mod branches;
mod captures;
mod corpus;
mod differential;
mod files;
mod profile;
mod protobuf;
mod signing;
mod vectors;

use serde_json::Value;

/// All vectors of `vectors/wire-vectors.json`.
fn all_vectors() -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("../../vectors/wire-vectors.json"))
        .expect("the vectors are json");
    let vectors = file["vectors"].as_array().expect("the vectors are a list").clone();
    assert_eq!(file["count"], vectors.len());
    vectors
}

/// A text field of a vector, which must be there.
fn text<'a>(vector: &'a Value, field: &str) -> &'a str {
    vector[field].as_str().unwrap_or_else(|| panic!("{} has no {field}", vector["id"]))
}

fn unhex(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("ascii"));
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hex digits")).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
