//! Names of rooms, users and processes. Parsed at the edge; nothing behind it
//! sees a raw string.

use std::{fmt, str::FromStr, sync::Arc};

use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// Longest room or user name, in bytes of NFC-normalised UTF-8.
pub const NAME_LEN_MAX: usize = 64;

/// Longest name of a process (shard or connector), in bytes: a DNS label and a
/// pod's UID both fit.
pub const PROCESS_ID_LEN_MAX: usize = 63;

/// Why a string is not an identifier.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidId {
    /// Empty, or longer than the limit once normalised.
    #[error("must have 1 to {max} bytes, not {len}")]
    Length {
        /// Bytes after normalisation.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// A character that has no place in a name.
    #[error("must not contain {}", .0.escape_unicode())]
    Character(char),
    /// Nothing but white space.
    #[error("must not be blank")]
    Blank,
}

/// A room's name: 1 to [`NAME_LEN_MAX`] bytes of printable Unicode in NFC,
/// without `*`. Cheap to clone.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RoomId(Arc<str>);

/// The name that a user goes by in a room; same rules as [`RoomId`]. Cheap to clone.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct UserName(Arc<str>);

/// One chat process, never reused: in Kubernetes the UID of its pod. Cheap to clone.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ShardId(Arc<str>);

/// One connector process. Cheap to clone.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ConnectorId(Arc<str>);

/// One client's attachment, unique within its connector process.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SessionId(pub u64);

/// One connector-to-shard stream, unique within its shard process.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LinkId(pub u64);

/// Who somebody is, whatever the name: an authenticated user, or, without
/// authentication, the first 128 bits of SHA-256 over the session's secret.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Identity(pub [u8; 16]);

impl RoomId {
    /// Normalises `raw` to NFC and checks it.
    ///
    /// # Errors
    ///
    /// [`InvalidId`] says which rule of [`RoomId`] is broken.
    pub fn parse(raw: &str) -> Result<Self, InvalidId> {
        parse_name(raw).map(Self)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl UserName {
    /// Normalises `raw` to NFC and checks it.
    ///
    /// # Errors
    ///
    /// [`InvalidId`] says which rule of [`RoomId`] is broken.
    pub fn parse(raw: &str) -> Result<Self, InvalidId> {
        parse_name(raw).map(Self)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ShardId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ConnectorId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ShardId {
    type Err = InvalidId;

    fn from_str(raw: &str) -> Result<Self, InvalidId> {
        parse_process_id(raw).map(Self)
    }
}

impl FromStr for ConnectorId {
    type Err = InvalidId;

    fn from_str(raw: &str) -> Result<Self, InvalidId> {
        parse_process_id(raw).map(Self)
    }
}

fn parse_name(raw: &str) -> Result<Arc<str>, InvalidId> {
    // NFC never makes a text shorter than a third of itself, so this bounds the
    // work that one hostile name can cause.
    if raw.len() > NAME_LEN_MAX * 4 {
        return Err(InvalidId::Length { len: raw.len(), max: NAME_LEN_MAX });
    }
    let name: String = raw.nfc().collect();
    if name.is_empty() || name.len() > NAME_LEN_MAX {
        return Err(InvalidId::Length { len: name.len(), max: NAME_LEN_MAX });
    }
    if let Some(c) = name.chars().find(|&c| !may_stand_in_name(c)) {
        return Err(InvalidId::Character(c));
    }
    if name.chars().all(char::is_whitespace) {
        return Err(InvalidId::Blank);
    }
    Ok(Arc::from(name))
}

/// Printable, and not `*`. The two joiners stay: emoji and several scripts are
/// spelled with them. Other format characters reverse or hide text.
fn may_stand_in_name(c: char) -> bool {
    const JOINERS: [char; 2] = ['\u{200c}', '\u{200d}'];
    let unprintable = matches!(
        c.general_category(),
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
            | GeneralCategory::PrivateUse
            | GeneralCategory::Surrogate
            | GeneralCategory::Unassigned
    );
    c != '*' && (!unprintable || JOINERS.contains(&c))
}

fn parse_process_id(raw: &str) -> Result<Arc<str>, InvalidId> {
    if raw.is_empty() || raw.len() > PROCESS_ID_LEN_MAX {
        return Err(InvalidId::Length { len: raw.len(), max: PROCESS_ID_LEN_MAX });
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    match raw.chars().find(|&c| !allowed(c)) {
        Some(c) => Err(InvalidId::Character(c)),
        None => Ok(Arc::from(raw)),
    }
}

impl fmt::Display for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ConnectorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(raw: &str, expected: &Result<&str, InvalidId>) {
        let parsed = RoomId::parse(raw);
        assert_eq!(&parsed.as_ref().map(RoomId::as_str).map_err(Clone::clone), expected);
    }

    #[test]
    fn a_name_is_printable_and_short() {
        check("room1", &Ok("room1"));
        check("房间 😀", &Ok("房间 😀"));
        check("👩\u{200d}🚀", &Ok("👩\u{200d}🚀"));
        check("", &Err(InvalidId::Length { len: 0, max: 64 }));
        check(&"a".repeat(64), &Ok(&"a".repeat(64)));
        check(&"a".repeat(65), &Err(InvalidId::Length { len: 65, max: 64 }));
        check(&"a".repeat(100_000), &Err(InvalidId::Length { len: 100_000, max: 64 }));
        check("a*b", &Err(InvalidId::Character('*')));
        check("a\nb", &Err(InvalidId::Character('\n')));
        check("a\u{202e}b", &Err(InvalidId::Character('\u{202e}')));
        check("a\0", &Err(InvalidId::Character('\0')));
        check("  ", &Err(InvalidId::Blank));
    }

    #[test]
    fn two_spellings_of_one_name_are_one_name() {
        check("Jose\u{301}", &Ok("José"));
        assert_eq!(RoomId::parse("Jose\u{301}"), RoomId::parse("Jos\u{e9}"));
    }

    #[test]
    fn a_process_id_fits_a_label_and_a_file_name() {
        assert!("chat-1".parse::<ShardId>().is_ok());
        assert_eq!("a/b".parse::<ShardId>(), Err(InvalidId::Character('/')));
        assert_eq!("".parse::<ConnectorId>(), Err(InvalidId::Length { len: 0, max: 63 }));
    }
}
