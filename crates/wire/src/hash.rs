use base64::{Engine as _, engine::general_purpose::STANDARD};
use md5::{Digest, Md5};

/// Returns the version of a dictionary or of protos: base64 of the MD5 of its
/// JSON text, as pomelo 2.2.7 computes it. Guards a cache, not a secret.
pub(crate) fn version(json: &str) -> String {
    STANDARD.encode(Md5::digest(json))
}
