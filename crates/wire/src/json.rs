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
/// byte that is neither.
///
/// The value takes up to about a hundred times the memory of `body`.
///
/// # Errors
///
/// [`JsonError`], for everything else that is not one JSON value.
pub fn parse_json(body: &[u8]) -> Result<Value, JsonError> {
    // As the original's `Buffer.toString` does, golden invalid-utf8.
    let text = text::from_wire(body).unwrap_or_else(|| String::from_utf8_lossy(body));
    serde_json::from_str(&text).or_else(|error| {
        // serde_json refuses lone `\ud800`; looked for only in this rare case.
        let repaired = replace_lone_escapes(&text).ok_or(JsonError::Syntax(error))?;
        serde_json::from_str(&repaired).map_err(JsonError::Syntax)
    })
}

/// Replaces `\u` escapes of half a surrogate pair; `None` if there are none.
fn replace_lone_escapes(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let (mut out, mut copied, mut at) = (String::new(), 0, 0);
    while at < bytes.len() {
        if bytes[at] != b'\\' {
            at += 1;
            continue;
        }
        let Some(first) = escaped_unit(&bytes[at..]) else {
            // Another escape: its second byte may be a backslash of its own.
            at += 2;
            continue;
        };
        let second = bytes.get(at + 6..).and_then(escaped_unit);
        let is_pair = second.is_some_and(|s| char::decode_utf16([first, s]).all(|c| c.is_ok()));
        match first {
            0xd800..=0xdfff if !is_pair => {
                out.push_str(&text[copied..at]);
                out.push_str("\\ufffd");
                at += 6;
                copied = at;
            }
            0xd800..=0xdbff => at += 12,
            _ => at += 6,
        }
    }
    if copied == 0 {
        return None;
    }
    out.push_str(&text[copied..]);
    Some(out)
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
            body in r#"(["\[{:,\\]|\\u|d[89abcdef]|00|é|😀){0,12}"#,
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
    fn what_is_not_json_is_refused() {
        let error = |body: &[u8]| parse_json(body).unwrap_err();
        assert_eq!(parse_json(b"\"x\xff\xfey\"").unwrap(), json!("x\u{fffd}\u{fffd}y"));
        assert!(matches!(error(b""), JsonError::Syntax(_)));
        assert!(matches!(error(br#"{"a":"\ud83d"#), JsonError::Syntax(_)));
        assert!(matches!(error("[".repeat(200).as_bytes()), JsonError::Syntax(_)));
    }
}
