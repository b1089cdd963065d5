use bytes::{BufMut, BytesMut};

use crate::json::put_json_string;

/// A chat message as extended sessions are told of it.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    /// What was said; empty if it was taken away.
    pub msg: &'a str,
    /// Who said it.
    pub from: &'a str,
    /// `*` or the one user it is for.
    pub target: &'a str,
    /// Its number.
    pub seq: u64,
    /// The incarnation of the log that it is in.
    pub epoch: u64,
    /// When it was stored, milliseconds since 1970.
    pub at_ms: u64,
    /// The client's name for it: text, or bytes that are told in hex.
    pub cmid: &'a [u8],
    /// True if its content was taken away on purpose.
    pub redacted: bool,
}

impl Said<'_> {
    /// Appends the body of its push: `{"msg":…,"from":…,"target":…,"seq":…,
    /// "epoch":…,"at":…,"cmid":…}`, and `"redacted":true` if it is.
    pub(crate) fn put(&self, out: &mut BytesMut) {
        // Room for the keys, the numbers and a few escapes; more is found when needed.
        let texts = self.msg.len() + self.from.len() + self.target.len();
        out.reserve(192 + texts + 2 * self.cmid.len());
        let texts = [self.msg, self.from, self.target];
        for (before, text) in [r#"{"msg":"#, r#","from":"#, r#","target":"#].iter().zip(texts) {
            out.put_slice(before.as_bytes());
            put_json_string(text, out);
        }
        out.put_slice(br#","seq":"#);
        put_number(self.seq, out);
        out.put_slice(br#","epoch":""#);
        put_hex(&self.epoch.to_be_bytes(), out);
        out.put_slice(br#"","at":"#);
        put_number(self.at_ms, out);
        out.put_slice(br#","cmid":"#);
        match std::str::from_utf8(self.cmid) {
            Ok(text) => put_json_string(text, out),
            Err(_) => {
                out.put_u8(b'"');
                put_hex(self.cmid, out);
                out.put_u8(b'"');
            }
        }
        if self.redacted {
            out.put_slice(br#","redacted":true"#);
        }
        out.put_u8(b'}');
    }
}

/// Bytes as lower-case hex digits.
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| digits(*byte)).map(char::from).collect()
}

fn put_hex(bytes: &[u8], out: &mut BytesMut) {
    bytes.iter().for_each(|byte| out.put_slice(&digits(*byte)));
}

fn digits(byte: u8) -> [u8; 2] {
    let digit = |half: u8| b"0123456789abcdef"[usize::from(half)];
    [digit(byte >> 4), digit(byte & 15)]
}

fn put_number(number: u64, out: &mut BytesMut) {
    // Twenty digits at most; from the last to the first.
    let (mut digits, mut at, mut rest) = ([0; 20], 20, number);
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            return out.put_slice(&digits[at..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn body(said: &Said<'_>) -> Vec<u8> {
        let mut out = BytesMut::new();
        said.put(&mut out);
        out.to_vec()
    }

    proptest! {
        #[test]
        fn it_is_written_as_the_general_way_writes_it(
            msg in "[a-z\"\\\\\n\u{1}é中😀]{0,200}",
            (from, target) in ("[a-z😀]{0,20}", "[*]|[a-zé]{0,20}"),
            (seq, epoch, at_ms) in any::<(u64, u64, u64)>(),
            cmid in prop_oneof!["[a-z\"😀]{1,64}".prop_map(String::into_bytes), any::<Vec<u8>>()],
            redacted: bool,
        ) {
            let said = Said {
                msg: &msg, from: &from, target: &target, seq, epoch, at_ms, cmid: &cmid, redacted,
            };
            let cmid = String::from_utf8(cmid.clone()).unwrap_or_else(|_| to_hex(&cmid));
            let epoch = format!("{epoch:016x}");
            let mut general = json!({
                "msg": msg, "from": from, "target": target, "seq": seq, "epoch": epoch,
                "at": at_ms, "cmid": cmid,
            });
            if redacted {
                general["redacted"] = true.into();
            }
            prop_assert_eq!(body(&said), crate::to_json(&general));
        }
    }

    #[test]
    fn it_reads_like_this() {
        let said = Said {
            msg: "hi",
            from: "ann",
            target: "*",
            seq: 0,
            epoch: 7,
            at_ms: 1_700_000_000_000,
            cmid: b"\xff\0",
            redacted: false,
        };
        let expected = concat!(
            r#"{"msg":"hi","from":"ann","target":"*","seq":0,"epoch":"0000000000000007","#,
            r#""at":1700000000000,"cmid":"ff00"}"#
        );
        assert_eq!(String::from_utf8(body(&said)).unwrap(), expected);
    }
}
