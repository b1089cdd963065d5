//! Signed bodies, `useCrypto` in pomelo: the client names an RSA key in its
//! handshake and signs the JSON text of every request and notify.

use ring::signature::{RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RsaPublicKeyComponents};
use serde_json::Value;

use crate::parse_json;
use crate::stringify::stringify;
use crate::text::from_wire;
use crate::tree::{Node, NodeKind};

/// The property that carries the signature.
const SIGNATURE: &str = "__crypto__";

/// Sizes of a modulus in bytes; the smallest is that of 1024 bits. By bytes,
/// because the keys that the JS client makes have 1023 bits as often as not.
const MODULUS_LEN: std::ops::RangeInclusive<usize> = 128..=512;

/// The largest exponent, and the only one that clients use. A smaller one is
/// as good for a signature; a larger one would only cost us more.
const EXPONENT_MAX: u64 = 65_537;

/// The key of one client.
#[derive(Debug)]
pub(crate) struct PublicKey {
    /// Big-endian, without leading zeros.
    modulus: Box<[u8]>,
    exponent: [u8; 3],
}

/// A key that is too short, too long, or none at all. The client is told.
#[derive(Debug)]
pub(crate) struct UnusableKey;

impl PublicKey {
    /// Reads `sys.rsa` of a handshake. `None` if it does not have the two
    /// fields with the types that pomelo 2.2.7 verifies by; the JS client
    /// sends `{}` when it does not sign.
    ///
    /// # Errors
    ///
    /// [`UnusableKey`] for a modulus below 1017 or above 4096 bits or an even
    /// one, and for an exponent that is even, 1, or above 65 537.
    pub(crate) fn parse(rsa: &Value) -> Result<Option<Self>, UnusableKey> {
        let (Some(modulus), Some(exponent)) =
            (rsa["rsa_n"].as_str().and_then(unhex), rsa["rsa_e"].as_u64())
        else {
            return Ok(None);
        };
        let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
        let modulus = &modulus[zeros..];
        let is_odd = modulus.last().is_some_and(|byte| byte & 1 == 1) && exponent & 1 == 1;
        if !is_odd
            || !MODULUS_LEN.contains(&modulus.len())
            || !(3..=EXPONENT_MAX).contains(&exponent)
        {
            return Err(UnusableKey);
        }
        let [.., a, b, c] = exponent.to_be_bytes();
        Ok(Some(Self { modulus: modulus.into(), exponent: [a, b, c] }))
    }

    /// Reads a signed body: an object whose [`SIGNATURE`] is that of the rest.
    /// Returns the rest; `None` if it is anything else or the signature is
    /// wrong.
    pub(crate) fn open(&self, body: &[u8]) -> Option<Value> {
        let signed = Signed::parse(body)?;
        let signature = self.read_signature(&signed.signature)?;
        let is_signed = |text: &str| self.verify(text, &signature);
        let is_right = is_signed(&signed.text)
            || stringify(&signed.text).is_some_and(|t| t != signed.text && is_signed(&t));
        is_right.then_some(signed.value)
    }

    /// Reads the hex digits of a signature: as many as the modulus has, or as
    /// its bytes have.
    fn read_signature(&self, hex: &str) -> Option<Vec<u8>> {
        let modulus_len = self.modulus.len();
        let is_odd = self.modulus.first().is_some_and(|byte| *byte < 0x10);
        let shortest = 2 * modulus_len - usize::from(is_odd);
        (shortest..=2 * modulus_len).contains(&hex.len()).then(|| unhex(hex))?
    }

    /// Whether `signature` is one of `text` in either of two encodings: UTF-8,
    /// which the client's own library signs, or UTF-8 of UTF-8, the only one
    /// that pomelo 2.2.7 accepts of Chinese text.
    fn verify(&self, text: &str, signature: &[u8]) -> bool {
        let exponent = self.exponent.iter().position(|byte| *byte > 0);
        let key = RsaPublicKeyComponents {
            n: &self.modulus[..],
            e: &self.exponent[exponent.unwrap_or_default()..],
        };
        let algorithm = &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY;
        let is_of = |bytes: &[u8]| key.verify(algorithm, bytes, signature).is_ok();
        let twice = || text.bytes().map(char::from).collect::<String>();
        is_of(text.as_bytes()) || (!text.is_ascii() && is_of(twice().as_bytes()))
    }
}

/// A body that claims to be signed.
#[derive(Debug)]
pub(crate) struct Signed {
    /// The body without the signature.
    pub(crate) value: Value,
    /// The JSON text without it, which the client signed if it wrote its text
    /// once and did not reorder it.
    pub(crate) text: String,
    signature: String,
}

impl Signed {
    /// Takes the signature out of a body, wherever it stands in the object;
    /// `None` if the body is no object or has not exactly one that is a text.
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        let Value::Object(mut value) = parse_json(body).ok()? else { return None };
        let Value::String(signature) = value.shift_remove(SIGNATURE)? else { return None };
        let text = from_wire(body);
        let root = Node::parse(&text)?;
        let NodeKind::Object(members) = &root.kind else { return None };
        let mut found = members.iter().enumerate().filter(|(_, (key, _))| is_signature_key(key));
        let (index, _) = found.next()?;
        if found.next().is_some() {
            return None;
        }
        // With one of the commas beside it: the one before, unless it is first.
        let (key, member) = &members[index];
        let cut = match (index.checked_sub(1), members.get(index + 1)) {
            (Some(before), _) => members[before].1.end()..member.end(),
            (None, Some((after, _))) => key.at..after.at,
            (None, None) => key.at..member.end(),
        };
        let text = [&text[..cut.start], &text[cut.end..]].concat();
        Some(Self { value: value.into(), text, signature })
    }
}

/// Keys with half a surrogate pair are other keys, whatever they become.
fn is_signature_key(key: &Node<'_>) -> bool {
    key.text().is_some_and(|text| text == SIGNATURE)
}

/// Reads hex digits, with a zero before them if they are odd in number.
fn unhex(hex: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).map(|digit| digit as u8);
    let (head, pairs) = hex.as_bytes().split_at(hex.len() % 2);
    let head = head.iter().map(digit);
    let pairs = pairs.chunks_exact(2).map(|pair| Some(digit(&pair[0])? << 4 | digit(&pair[1])?));
    head.chain(pairs).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `body` without its signature `x`, or nothing.
    #[track_caller]
    fn check(body: &str, want: Option<&str>) {
        let signed = Signed::parse(body.as_bytes());
        assert_eq!(signed.as_ref().map(|signed| &signed.text[..]), want);
        if let Some(signed) = signed {
            assert_eq!(signed.signature, "x");
            assert_eq!(signed.value, parse_json(signed.text.as_bytes()).unwrap());
        }
    }

    #[test]
    fn the_signature_is_cut_out_wherever_it_stands() {
        check(r#"{"a":1,"__crypto__":"x"}"#, Some(r#"{"a":1}"#));
        check(r#"{"a":1,"__crypto__":"x","b":[2]}"#, Some(r#"{"a":1,"b":[2]}"#));
        check(r#"{"__crypto__":"x","b":"}"}"#, Some(r#"{"b":"}"}"#));
        check(r#"{"__crypto__":"x"}"#, Some("{}"));
        check(r#"{"a": 1, "__crypto__": "x", "b": 2}"#, Some(r#"{"a": 1, "b": 2}"#));
        check(r#"{"__crypto__": "x", "b": 2}"#, Some(r#"{"b": 2}"#));
        check(r#"{"\u005f_crypto__":"\u0078","é":"😀"}"#, Some(r#"{"é":"😀"}"#));
    }

    #[test]
    fn only_a_signature_of_the_whole_body_counts() {
        let quoted = r#"{"a":"\"__crypto__\":\"y\"","b":{"__crypto__":"z"}"#;
        check(&format!(r#"{quoted},"__crypto__":"x"}}"#), Some(&format!("{quoted}}}")));
        for body in [
            &format!("{quoted}}}"),
            "",
            "{",
            "5",
            r#"["__crypto__","x"]"#,
            r#"{"a":1}"#,
            r#"{"__crypto__":1}"#,
            r#"{"__crypto__":null}"#,
            r#"{"__crypto__":"y","__crypto__":"x"}"#,
        ] {
            check(body, None);
        }
    }

    proptest! {
        #[test]
        fn what_was_put_in_is_cut_out(
            fields in prop::collection::vec(("[a-z_é😀\"]{0,4}", "[{},:\"\\\\é中😀]{0,9}"), 0..5),
            at in 0..6_usize,
        ) {
            let quote = |text: &str| serde_json::to_string(text).unwrap();
            let mut members: Vec<_> =
                fields.iter().map(|(key, value)| quote(key) + ":" + &quote(value)).collect();
            let text = format!("{{{}}}", members.join(","));
            members.insert(at.min(members.len()), r#""__crypto__":"x""#.to_owned());
            let signed = Signed::parse(format!("{{{}}}", members.join(",")).as_bytes()).unwrap();
            prop_assert_eq!(&signed.value, &parse_json(text.as_bytes()).unwrap());
            prop_assert_eq!(signed.text, text);
        }
    }
}
