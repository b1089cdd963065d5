use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::{DecodeError, TooLong};

/// Bytes before a package's body: one of kind, three of length, big-endian.
pub const HEADER_LEN: usize = 4;

/// The longest body that three length bytes can declare, in bytes.
///
/// pomelo-protocol 0.1.6 does not check it and writes length 0 for one byte
/// more (vector PKG-13); [`encode_package`] refuses.
pub const BODY_LEN_MAX: usize = (1 << 24) - 1;

/// A heartbeat, the same in both directions.
pub static HEARTBEAT_PACKAGE: [u8; HEADER_LEN] = [Kind::Heartbeat as u8, 0, 0, 0];

/// One framed unit of the client protocol.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Package {
    /// What the package is for.
    pub kind: Kind,
    /// A slice of the buffer it was decoded from; cloning it copies no bytes.
    pub body: Bytes,
}

/// What a package is for; the numbers are the type bytes of pomelo-protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Kind {
    /// The client's greeting and the server's answer; a JSON object.
    Handshake = 1,
    /// The client has read the handshake answer. The body means nothing.
    HandshakeAck = 2,
    /// A sign of life, in both directions. The body means nothing.
    Heartbeat = 3,
    /// Carries one message, see [`crate::Message`].
    Data = 4,
    /// The server ends the connection; a JSON object with `reason`.
    Kick = 5,
}

impl Kind {
    fn parse(raw: u8) -> Option<Self> {
        Some(match raw {
            1 => Self::Handshake,
            2 => Self::HandshakeAck,
            3 => Self::Heartbeat,
            4 => Self::Data,
            5 => Self::Kick,
            _ => return None,
        })
    }
}

/// Turns a raw TCP stream into packages, however the bytes are cut up.
///
/// Holds at most what was fed and not yet polled, and no memory at all while
/// no package is in progress. The declared length never sizes a buffer.
#[derive(Debug)]
pub struct Decoder {
    buf: BytesMut,
    body_len_max: usize,
}

impl Decoder {
    /// Refuses bodies longer than `body_len_max` bytes.
    pub fn new(body_len_max: usize) -> Self {
        Self { buf: BytesMut::new(), body_len_max }
    }

    /// Changes the limit for packages whose header has not been polled yet,
    /// for example once the client is known.
    pub fn set_body_len_max(&mut self, body_len_max: usize) {
        self.body_len_max = body_len_max;
    }

    /// Takes bytes from the peer. Does no parsing and cannot fail; the caller
    /// drains [`Decoder::poll`] before it feeds more.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }

    /// Returns the next whole package, or `None` until more bytes are fed.
    ///
    /// # Errors
    ///
    /// [`DecodeError::UnknownKind`] or [`DecodeError::BodyTooLong`], as soon as
    /// the four header bytes are there. The stream cannot be resynchronized:
    /// every later call returns the same error.
    pub fn poll(&mut self) -> Result<Option<Package>, DecodeError> {
        let Some(header) = self.buf.first_chunk::<HEADER_LEN>() else {
            if self.buf.is_empty() {
                // An idle connection must not pin the buffer of its last package.
                self.buf = BytesMut::new();
            }
            return Ok(None);
        };
        let (kind, len) = parse_header(*header, self.body_len_max)?;
        if self.buf.len() - HEADER_LEN < len {
            return Ok(None);
        }
        self.buf.advance(HEADER_LEN);
        Ok(Some(Package { kind, body: self.buf.split_to(len).freeze() }))
    }
}

/// Splits one WebSocket message into its packages, without copying.
///
/// A message holds one package or more; every one must be whole. The original
/// takes exactly one (observed with pomelo 2.2.7), some clients send several.
/// Bodies longer than `body_len_max` bytes are refused.
///
/// ```
/// use wire::{Kind, decode_frame};
/// let frame = bytes::Bytes::from_static(&[2, 0, 0, 0, 3, 0, 0, 0]);
/// let packages: Vec<_> = decode_frame(frame, 16).collect::<Result<_, _>>()?;
/// assert_eq!(packages.iter().map(|p| p.kind).collect::<Vec<_>>(), [
///     Kind::HandshakeAck,
///     Kind::Heartbeat
/// ]);
/// # Ok::<(), wire::DecodeError>(())
/// ```
pub fn decode_frame(frame: Bytes, body_len_max: usize) -> Frames {
    Frames { rest: Some(frame), is_first: true, body_len_max }
}

/// The packages of one WebSocket message, see [`decode_frame`].
///
/// Yields an error at most once, as its last item: [`DecodeError::EmptyFrame`]
/// for a message without bytes, [`DecodeError::Truncated`] when the last
/// package is cut or stray bytes follow it, and those of [`Decoder::poll`].
#[derive(Debug)]
pub struct Frames {
    /// `None` once the end or an error was yielded.
    rest: Option<Bytes>,
    is_first: bool,
    body_len_max: usize,
}

impl Frames {
    fn split_first(&self, rest: &mut Bytes) -> Result<Package, DecodeError> {
        let header = *rest.first_chunk::<HEADER_LEN>().ok_or(DecodeError::Truncated)?;
        let (kind, len) = parse_header(header, self.body_len_max)?;
        if rest.len() - HEADER_LEN < len {
            return Err(DecodeError::Truncated);
        }
        rest.advance(HEADER_LEN);
        Ok(Package { kind, body: rest.split_to(len) })
    }
}

impl Iterator for Frames {
    type Item = Result<Package, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut rest = self.rest.take()?;
        if rest.is_empty() {
            return self.is_first.then_some(Err(DecodeError::EmptyFrame));
        }
        self.is_first = false;
        let package = self.split_first(&mut rest);
        if package.is_ok() {
            self.rest = Some(rest);
        }
        Some(package)
    }
}

/// Appends one package to `out`.
///
/// # Errors
///
/// [`TooLong::Body`] if `body` has more than [`BODY_LEN_MAX`] bytes.
pub fn encode_package(kind: Kind, body: &[u8], out: &mut BytesMut) -> Result<(), TooLong> {
    if body.len() > BODY_LEN_MAX {
        return Err(TooLong::Body(body.len()));
    }
    out.reserve(HEADER_LEN + body.len());
    out.put_u8(kind as u8);
    out.put_uint(body.len() as u64, 3);
    out.put_slice(body);
    Ok(())
}

/// Appends a package whose body `write` appends, so that the length need not
/// be known before. On error `out` is as it was.
pub(crate) fn encode_package_with(
    kind: Kind,
    out: &mut BytesMut,
    write: impl FnOnce(&mut BytesMut) -> Result<(), TooLong>,
) -> Result<(), TooLong> {
    let start = out.len();
    out.put_slice(&[kind as u8, 0, 0, 0]);
    let body = out.len();
    let result = write(out).and_then(|()| match out.len() - body {
        len if len > BODY_LEN_MAX => Err(TooLong::Body(len)),
        len => Ok(len as u32),
    });
    match result {
        Ok(len) => {
            out[start + 1..body].copy_from_slice(&len.to_be_bytes()[1..]);
            Ok(())
        }
        Err(error) => {
            out.truncate(start);
            Err(error)
        }
    }
}

fn parse_header(
    header: [u8; HEADER_LEN],
    body_len_max: usize,
) -> Result<(Kind, usize), DecodeError> {
    let [kind, len @ ..] = header;
    let kind = Kind::parse(kind).ok_or(DecodeError::UnknownKind(kind))?;
    let len = u32::from_be_bytes([0, len[0], len[1], len[2]]) as usize;
    // Checked before the body has arrived, so a peer cannot make us hold more.
    if len > body_len_max {
        return Err(DecodeError::BodyTooLong { len, max: body_len_max });
    }
    Ok((kind, len))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_package() -> impl Strategy<Value = Package> {
        let kind = (1..=5_u8).prop_filter_map("1 to 5 are kinds", Kind::parse);
        let body = prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
        (kind, body).prop_map(|(kind, body)| Package { kind, body })
    }

    fn encode(packages: &[Package]) -> BytesMut {
        let mut bytes = BytesMut::new();
        packages.iter().for_each(|p| encode_package(p.kind, &p.body, &mut bytes).unwrap());
        bytes
    }

    proptest! {
        #[test]
        fn packages_survive_any_segmentation(
            packages in prop::collection::vec(any_package(), 0..6),
            cuts in prop::collection::vec(1..9_usize, 1..6),
        ) {
            let bytes = encode(&packages);
            let (mut decoder, mut seen, mut rest) = (Decoder::new(64), Vec::new(), &bytes[..]);
            for cut in cuts.iter().cycle() {
                let (head, tail) = rest.split_at((*cut).min(rest.len()));
                decoder.feed(head);
                while let Some(package) = decoder.poll().unwrap() {
                    seen.push(package);
                }
                rest = tail;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(&seen, &packages);
            prop_assert_eq!(decoder.buf.capacity(), 0);
        }

        #[test]
        fn a_frame_holds_exactly_the_packages_that_were_put_into_it(
            packages in prop::collection::vec(any_package(), 1..6),
            lost in 0..8_usize,
        ) {
            let mut bytes = encode(&packages);
            let whole = decode_frame(bytes.clone().freeze(), 64).collect::<Result<Vec<_>, _>>();
            prop_assert_eq!(whole, Ok(packages.clone()));

            bytes.truncate(bytes.len() - lost.min(bytes.len()));
            let kept = decode_frame(bytes.freeze(), 64).take_while(Result::is_ok).count();
            prop_assert!(kept < packages.len() || lost == 0);
        }

        #[test]
        fn arbitrary_bytes_yield_at_most_one_error_and_it_is_the_last(
            bytes in prop::collection::vec(prop_oneof![0..6_u8, any::<u8>()], 0..64),
        ) {
            let items: Vec<_> = decode_frame(Bytes::from(bytes), 16).collect();
            prop_assert!(!items.is_empty());
            prop_assert!(items[..items.len() - 1].iter().all(Result::is_ok));
        }
    }

    #[test]
    fn a_bad_header_is_refused_before_its_body_arrives() {
        let mut decoder = Decoder::new(16);
        decoder.feed(&[4, 0, 0, 17]);
        assert_eq!(decoder.poll(), Err(DecodeError::BodyTooLong { len: 17, max: 16 }));
        decoder.set_body_len_max(17);
        assert_eq!(decoder.poll(), Ok(None));

        let mut decoder = Decoder::new(16);
        decoder.feed(&[9, 0, 0]);
        assert_eq!(decoder.poll(), Ok(None));
        decoder.feed(&[0]);
        assert_eq!(decoder.poll(), Err(DecodeError::UnknownKind(9)));
    }

    #[test]
    fn a_frame_without_packages_or_with_stray_bytes_is_an_error() {
        let last = |bytes: &'static [u8]| decode_frame(Bytes::from_static(bytes), 16).last();
        assert_eq!(last(&[]), Some(Err(DecodeError::EmptyFrame)));
        assert_eq!(last(&[3, 0, 0]), Some(Err(DecodeError::Truncated)));
        assert_eq!(last(&[3, 0, 0, 1]), Some(Err(DecodeError::Truncated)));
        assert_eq!(last(&[3, 0, 0, 0, 3]), Some(Err(DecodeError::Truncated)));
        assert_eq!(last(&[0, 0, 0, 0]), Some(Err(DecodeError::UnknownKind(0))));
    }

    #[test]
    fn a_failed_write_leaves_no_trace() {
        let mut out = BytesMut::from(&b"before"[..]);
        let long = vec![0; BODY_LEN_MAX + 1];
        let error = Err(TooLong::Body(BODY_LEN_MAX + 1));
        assert_eq!(encode_package(Kind::Data, &long, &mut out), error);
        let put_long = |out: &mut BytesMut| {
            out.put_slice(&long);
            Ok(())
        };
        assert_eq!(encode_package_with(Kind::Data, &mut out, put_long), error);
        assert_eq!(out, "before");
    }
}
