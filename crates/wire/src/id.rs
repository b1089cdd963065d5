use std::fmt;

use crate::DecodeError;

/// The number by which a client recognizes the answer to its request, kept as
/// the one to five bytes that the client sent.
///
/// Echo these bytes, never a re-encoded number. pomelo-protocol 0.1.6 writes
/// base-128 groups least significant first, pomelo-protocol 0.1.0 (and npm
/// `pomelo-client-websocket` 1.0.13) most significant first, and nothing on the
/// wire tells which; the bytes are right for both (vectors `OLD-*`).
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct RawId {
    /// Zero after `len`, so that the derived comparison is right.
    bytes: [u8; Self::LEN_MAX],
    len: u8,
}

impl RawId {
    /// Most bytes an id takes: the fifth group of seven bits reaches bit 31.
    pub const LEN_MAX: usize = 5;

    /// Returns the id `number`, as today's clients write it.
    ///
    /// Numbers above 2³¹−1 can be written but no server reads them.
    pub fn new(number: u32) -> Self {
        let (mut id, mut rest) = (Self { bytes: [0; Self::LEN_MAX], len: 0 }, number);
        loop {
            let more = if rest < 0x80 { 0 } else { 0x80 };
            id.bytes[usize::from(id.len)] = (rest & 0x7f) as u8 | more;
            id.len += 1;
            rest >>= 7;
            if rest == 0 {
                return id;
            }
        }
    }

    /// The id as it is on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Whether the request is to be answered. One with id 0, the single byte
    /// `00`, is executed and never answered (observed with pomelo 2.2.7).
    pub fn wants_response(&self) -> bool {
        self.as_bytes() != [0]
    }

    /// The number, read least significant group first: for logs and for
    /// clients of ours. Two ids may differ and have the same number.
    pub fn little_endian(&self) -> u32 {
        let groups = self.as_bytes().iter().rev();
        groups.fold(0, |number, byte| (number << 7) | u32::from(byte & 0x7f))
    }

    /// Reads an id from the front of `data`; returns it and what follows.
    pub(crate) fn split_from(data: &[u8]) -> Result<(Self, &[u8]), DecodeError> {
        let last = data.iter().take(Self::LEN_MAX).position(|byte| byte & 0x80 == 0);
        let Some(last) = last else {
            let is_cut = data.len() < Self::LEN_MAX;
            return Err(if is_cut { DecodeError::Truncated } else { DecodeError::IdTooLong });
        };
        let (head, rest) = data.split_at(last + 1);
        // The fifth byte holds bits 28 to 34; bit 31 and above must be clear.
        if head.get(4).is_some_and(|byte| *byte > 0x07) {
            return Err(DecodeError::IdTooLarge);
        }
        let mut bytes = [0; Self::LEN_MAX];
        bytes[..head.len()].copy_from_slice(head);
        Ok((Self { bytes, len: head.len() as u8 }, rest))
    }
}

impl fmt::Debug for RawId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawId({:02x?})", self.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_survive_the_wire(number in 0..1_u32 << 31, rest: Vec<u8>) {
            let id = RawId::new(number);
            let data = [id.as_bytes(), &rest].concat();
            prop_assert_eq!(RawId::split_from(&data), Ok((id, &rest[..])));
            prop_assert_eq!(id.little_endian(), number);
            prop_assert_eq!(id.wants_response(), number != 0);
        }
    }

    #[test]
    fn ids_outside_31_bits_are_refused() {
        let error = |data: &[u8]| RawId::split_from(data).unwrap_err();
        assert_eq!(error(&[]), DecodeError::Truncated);
        assert_eq!(error(&[0xff; 4]), DecodeError::Truncated);
        assert_eq!(error(&[0xff; 5]), DecodeError::IdTooLong);
        assert_eq!(error(&[0xff, 0xff, 0xff, 0xff, 0x08]), DecodeError::IdTooLarge);
        assert_eq!(error(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x00]), DecodeError::IdTooLong);
    }

    #[test]
    fn only_the_single_byte_zero_is_id_zero() {
        let (id, _) = RawId::split_from(&[0x80, 0x00]).unwrap();
        assert!(id.wants_response());
        assert_eq!(id.as_bytes(), [0x80, 0x00]);
    }
}
