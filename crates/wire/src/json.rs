use std::io;

use bytes::BufMut;
use serde::Serialize;
use serde_json::{Value, ser::Formatter};

use crate::text;

/// Why a body is not JSON.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The text is not JSON, or is nested deeper than 128 levels.
    #[error("body is not json")]
    Syntax(#[source] serde_json::Error),
}

/// Returns `value` as JSON text in which every character above U+FFFF is an
/// escaped pair such as `\ud83d\ude00`.
///
/// The official JS client misreads four-byte UTF-8 and can lose the closing
/// quote with it; every client reads the escapes (vectors STR-05 and STR-06).
///
/// # Panics
///
/// If `value` has no JSON form: a map whose keys are not strings, or a
/// `Serialize` implementation that fails.
pub fn to_json(value: &impl Serialize) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, EscapeAstral);
    value.serialize(&mut serializer).expect("the caller passes a value that has a json form");
    out
}

/// Appends `text` as a JSON string, with its quotes. For bodies that are put
/// together by hand.
///
/// Writes what `JSON.stringify` writes, apart from the pairs that [`to_json`]
/// describes.
pub fn write_json_string(text: &str, out: &mut Vec<u8>) {
    put_json_string(text, out);
}

/// As [`write_json_string`], for any buffer that grows.
pub(crate) fn put_json_string(text: &str, out: &mut impl BufMut) {
    out.put_u8(b'"');
    let bytes = text.as_bytes();
    let mut start = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if ESCAPE[usize::from(byte)] == 0 {
            continue;
        }
        out.put_slice(&bytes[start..at]);
        start = at + 1;
        match ESCAPE[usize::from(byte)] {
            ASTRAL => {
                let c = text[at..].chars().next().expect("a lead byte begins a character");
                c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| put_escaped(*unit, out));
                start = at + c.len_utf8();
            }
            CONTROL => put_escaped(u16::from(byte), out),
            letter => out.put_slice(&[b'\\', letter]),
        }
    }
    out.put_slice(&bytes[start..]);
    out.put_u8(b'"');
}

fn put_escaped(unit: u16, out: &mut impl BufMut) {
    let hex = |shift: u16| b"0123456789abcdef"[usize::from((unit >> shift) & 0xf)];
    out.put_slice(&[b'\\', b'u', hex(12), hex(8), hex(4), hex(0)]);
}

const ASTRAL: u8 = 1;
const CONTROL: u8 = 2;

/// For each byte 0 (write as it is), the letter after the backslash, or one of
/// the two constants above.
static ESCAPE: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            0x08 => b'b',
            0x09 => b't',
            0x0a => b'n',
            0x0c => b'f',
            0x0d => b'r',
            b'"' => b'"',
            b'\\' => b'\\',
            0x00..=0x1f => CONTROL,
            0xf0..=0xff => ASTRAL,
            _ => 0,
        };
        byte += 1;
    }
    table
};

struct EscapeAstral;

impl Formatter for EscapeAstral {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if !text::has_astral(fragment) {
            return writer.write_all(fragment.as_bytes());
        }
        for c in fragment.chars() {
            if c.len_utf8() < 4 {
                writer.write_all(c.encode_utf8(&mut [0; 4]).as_bytes())?;
                continue;
            }
            let mut escaped = Vec::with_capacity(12);
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| put_escaped(*unit, &mut escaped));
            writer.write_all(&escaped)?;
        }
        Ok(())
    }
}

/// Reads the JSON text of a client.
///
/// Accepts UTF-8 and CESU-8, which the browser builds send for characters above
/// U+FFFF. Half a surrogate pair, whether as bytes or as a `\u` escape, becomes
/// U+FFFD: a JS client sends one when it cuts a text inside an emoji. So does every
/// byte that is neither. Numbers that JavaScript reads as infinite become the
/// largest there is.
///
/// The value takes up to about a hundred times the memory of `body`.
///
/// # Errors
///
/// [`JsonError`], for everything else that is not one JSON value.
pub fn parse_json(body: &[u8]) -> Result<Value, JsonError> {
    let text = text::from_wire(body);
    serde_json::from_str(&text).or_else(|error| {
        // serde_json refuses lone `\ud800` and 1e999; looked for only in this rare case.
        let repaired = repair(&text).ok_or(JsonError::Syntax(error))?;
        serde_json::from_str(&repaired).map_err(JsonError::Syntax)
    })
}

/// Replaces what JavaScript takes and serde_json does not: `\u` escapes of half a
/// surrogate pair, and numbers beyond those of 64 bits. `None` if there are none.
fn repair(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let (mut out, mut copied, mut at, mut in_string) = (String::new(), 0, 0, false);
    while let Some(byte) = bytes.get(at) {
        let (len, instead) = match byte {
            b'\\' if in_string => escape(&bytes[at..]),
            b'-' | b'0'..=b'9' if !in_string => number(&text[at..]),
            byte => {
                in_string ^= *byte == b'"';
                (1, None)
            }
        };
        if let Some(instead) = instead {
            out.push_str(&text[copied..at]);
            out.push_str(instead);
            copied = at + len;
        }
        at += len;
    }
    if copied == 0 {
        return None;
    }
    out.push_str(&text[copied..]);
    Some(out)
}

/// The length of the escape at the front of `bytes`, and what to write instead.
fn escape(bytes: &[u8]) -> (usize, Option<&'static str>) {
    let Some(first) = escaped_unit(bytes) else {
        // Another escape: its second byte may be a backslash or a quote of its own.
        return (2, None);
    };
    let second = bytes.get(6..).and_then(escaped_unit);
    let is_pair = second.is_some_and(|s| char::decode_utf16([first, s]).all(|c| c.is_ok()));
    match first {
        0xd800..=0xdfff if !is_pair => (6, Some("\\ufffd")),
        0xd800..=0xdbff => (12, None),
        _ => (6, None),
    }
}

/// The length of the number at the front of `text`, and what to write instead.
fn number(text: &str) -> (usize, Option<&'static str>) {
    let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
    let len = text.bytes().take_while(is_part).count();
    let instead = match text[..len].parse() {
        Ok(f64::INFINITY) => Some("1.7976931348623157e308"),
        Ok(f64::NEG_INFINITY) => Some("-1.7976931348623157e308"),
        _ => None,
    };
    (len, instead)
}

/// Reads `\uXXXX` from the front of `bytes`.
fn escaped_unit(bytes: &[u8]) -> Option<u16> {
    let [b'\\', b'u', hex @ ..] = *bytes.first_chunk::<6>()? else { return None };
    hex.iter().try_fold(0, |unit, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(unit << 4 | digit as u16)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn quoted(text: &str) -> String {
        let mut out = Vec::new();
        write_json_string(text, &mut out);
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn strings_are_written_alike_and_read_back(
            text: String,
            tail in "[\"\\\\\n\u{1}é中😀a]{0,6}",
        ) {
            let text = text + &tail;
            let quoted = quoted(&text);
            prop_assert!(!text::has_astral(&quoted));
            prop_assert_eq!(quoted.as_bytes(), to_json(&text));
            prop_assert_eq!(parse_json(quoted.as_bytes()).unwrap(), json!(text));
        }

        #[test]
        fn arbitrary_text_never_panics(
            body in r#"(["\[{:,\\]|\\u|d[89abcdef]|00|-|1e999|é|😀){0,12}"#,
        ) {
            let _ = parse_json(body.as_bytes());
        }
    }

    #[test]
    fn strings_are_written_as_javascript_does() {
        assert_eq!(
            quoted("a\"\\/\u{8}\t\n\u{c}\r\u{1f}\u{7f}é中😀"),
            concat!(r#""a\"\\/\b\t\n\f\r\u001f"#, "\u{7f}é中", r#"\ud83d\ude00""#)
        );
    }

    #[track_caller]
    fn check(body: &[u8], want: &Value) {
        assert_eq!(parse_json(body).unwrap(), *want);
    }

    #[test]
    fn halves_of_a_pair_are_replaced_however_they_are_written() {
        check(b"\"a\xed\xa0\xbdb\"", &json!("a\u{fffd}b"));
        check(br#""a\ud83db""#, &json!("a\u{fffd}b"));
        check(br#""\ude00\ud83d\ude00\ud83d""#, &json!("\u{fffd}😀\u{fffd}"));
        check(br#""\ud83d\ud83d\ude00""#, &json!("\u{fffd}😀"));
        check(br#"["\\ud83d","\ud83d\n"]"#, &json!(["\\ud83d", "\u{fffd}\n"]));
    }

    #[test]
    fn a_bad_byte_does_not_cost_the_emoji_beside_it() {
        check(b"\"\xff\xed\xa0\xbd\xed\xb8\x80\"", &json!("\u{fffd}😀"));
        check(b"[\"\xed\xa0\xbd\xed\xb8\x80\xc3\"]", &json!(["😀\u{fffd}"]));
    }

    #[test]
    fn numbers_that_javascript_takes_for_infinite_are_read() {
        let digits = "9".repeat(400);
        check(b"1e999", &json!(f64::MAX));
        check(format!("[-{digits}.5,1]").as_bytes(), &json!([-f64::MAX, 1]));
        check(
            br#"{"a\"1e999":"1e999","b":-1E+400}"#,
            &json!({ "a\"1e999": "1e999", "b": -f64::MAX }),
        );
        check(br#"["\ud83d",1e999]"#, &json!(["\u{fffd}", f64::MAX]));
        check(b"1e-999", &json!(0.0));
        assert!(parse_json(b"1e999e").is_err());
        assert!(parse_json(b"[1e999").is_err());
    }

    #[test]
    fn what_is_not_json_is_refused() {
        let error = |body: &[u8]| parse_json(body).unwrap_err();
        assert_eq!(parse_json(b"\"x\xff\xfey\"").unwrap(), json!("x\u{fffd}\u{fffd}y"));
        assert!(matches!(error(b""), JsonError::Syntax(_)));
        assert!(matches!(error(br#"{"a":"\ud83d"#), JsonError::Syntax(_)));
        assert!(matches!(error("[".repeat(200).as_bytes()), JsonError::Syntax(_)));
    }
}
