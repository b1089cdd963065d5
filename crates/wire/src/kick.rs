use bytes::{BufMut, BytesMut};

use crate::Kind;
use crate::json::put_json_string;
use crate::package::encode_package_with;

/// The longest reason that a kick carries, in bytes of UTF-8.
pub const KICK_REASON_LEN_MAX: usize = 1024;

/// Appends a KICK package: `{"reason":"…"}`.
///
/// The body is never empty, because the JS client parses it without looking.
/// A reason of more than [`KICK_REASON_LEN_MAX`] bytes is cut.
pub fn encode_kick(reason: &str, out: &mut BytesMut) {
    let reason = &reason[..reason.floor_char_boundary(KICK_REASON_LEN_MAX)];
    let result = encode_package_with(Kind::Kick, out, |out| {
        out.put_slice(br#"{"reason":"#);
        put_json_string(reason, out);
        out.put_u8(b'}');
        Ok(())
    });
    result.expect("a kilobyte fits a package, however it is escaped");
}
