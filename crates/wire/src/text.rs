use std::borrow::Cow;

/// How characters above U+FFFF are written inside a protobuf string.
///
/// Text without such characters is the same in both forms.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TextForm {
    /// Standard UTF-8, four bytes. What the C, C#, Python and Node builds of
    /// the clients write and read (vector PB-12).
    Utf8,
    /// CESU-8: each half of the UTF-16 pair as three bytes. What the browser
    /// builds write; four-byte UTF-8 they read as garbage (vector STR-04).
    Cesu8,
}

/// Whether `text` has a character above U+FFFF, that is, whether its two
/// [`TextForm`]s differ.
pub fn has_astral(text: &str) -> bool {
    // The lead byte of every four-byte sequence, and of nothing else.
    text.bytes().any(|byte| byte >= 0xf0)
}

/// Returns `text` as bytes in `form`.
pub(crate) fn to_form(text: &str, form: TextForm) -> Cow<'_, [u8]> {
    if form == TextForm::Utf8 || !has_astral(text) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut out = Vec::with_capacity(text.len() + text.len() / 2);
    for c in text.chars() {
        if c.len_utf8() < 4 {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            let [high, low] = [*unit >> 6, *unit].map(|bits| 0x80 | (bits & 0x3f) as u8);
            out.extend_from_slice(&[0xed, high, low]);
        }
    }
    Cow::Owned(out)
}

/// Reads text from a client: UTF-8, CESU-8, or both mixed. A surrogate without
/// its other half becomes U+FFFD, and so does what is neither, as where pomelo
/// 2.2.7 decodes text (golden invalid-utf8).
pub(crate) fn from_wire(bytes: &[u8]) -> Cow<'_, str> {
    let mut rest = bytes;
    let mut text = String::new();
    loop {
        let error = match std::str::from_utf8(rest) {
            Ok(tail) if text.is_empty() => return Cow::Borrowed(tail),
            Ok(tail) => {
                text.push_str(tail);
                return Cow::Owned(text);
            }
            Err(error) => error,
        };
        let (head, tail) = rest.split_at(error.valid_up_to());
        // Valid up to here, so this copies.
        text.push_str(&String::from_utf8_lossy(head));
        let bad_len = error.error_len().unwrap_or(tail.len());
        let (c, used) = surrogates(tail).unwrap_or((char::REPLACEMENT_CHARACTER, bad_len));
        text.push(c);
        rest = &tail[used..];
    }
}

/// Reads a surrogate pair, or one surrogate as U+FFFD, from the front of
/// `bytes`; returns the character and the bytes it took.
fn surrogates(bytes: &[u8]) -> Option<(char, usize)> {
    let first = surrogate(bytes)?;
    let second = bytes.get(3..).and_then(surrogate);
    let pair = second.and_then(|second| char::decode_utf16([first, second]).next()?.ok());
    Some(pair.map_or((char::REPLACEMENT_CHARACTER, 3), |c| (c, 6)))
}

/// Reads one UTF-16 surrogate in its three-byte form.
fn surrogate(bytes: &[u8]) -> Option<u16> {
    match *bytes.first_chunk()? {
        [0xed, high @ 0xa0..=0xbf, low @ 0x80..=0xbf] => {
            Some(0xd000 | u16::from(high & 0x3f) << 6 | u16::from(low & 0x3f))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_survives_both_forms(text: String, astral in "[😀-😿]{0,3}") {
            let text = text + &astral;
            for form in [TextForm::Utf8, TextForm::Cesu8] {
                let bytes = to_form(&text, form);
                prop_assert_eq!(from_wire(&bytes), &text[..]);
            }
        }

        #[test]
        fn without_halves_of_pairs_it_is_what_node_reads(
            bytes in prop::collection::vec(
                prop_oneof![Just(0xed), Just(0xf0), 0x80..0xc0_u8, any::<u8>()],
                0..24,
            ),
        ) {
            let has_half = bytes.windows(3).any(|three| surrogate(three).is_some());
            let node = String::from_utf8_lossy(&bytes);
            prop_assert!(has_half || from_wire(&bytes) == node);
        }
    }

    #[test]
    fn lone_halves_and_other_bytes_are_replaced_and_nothing_else() {
        let check = |bytes: &[u8], want: &str| {
            assert_eq!(from_wire(bytes), want, "{bytes:02x?}");
        };
        check(b"a\xed\xa0\xbd\xed\xb8\x80z", "a😀z");
        check(b"\xed\xa0\xbdz", "\u{fffd}z");
        check(b"\xed\xb8\x80\xed\xa0\xbd", "\u{fffd}\u{fffd}");
        check(b"\xed\xa0\xbd\xed\xa0\xbd\xed\xb8\x80", "\u{fffd}😀");
        check(b"\xed\xa0", "\u{fffd}\u{fffd}");
        check(b"ok\xff", "ok\u{fffd}");
        check(b"\xc0\x80", "\u{fffd}\u{fffd}");
        check(b"\xf0\x9f\x98", "\u{fffd}");
        // One bad byte does not cost the emoji beside it.
        check(b"\xff\xed\xa0\xbd\xed\xb8\x80\xf0\x9f\x98\x80", "\u{fffd}😀😀");
    }
}
