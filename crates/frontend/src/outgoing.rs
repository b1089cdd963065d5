use std::sync::OnceLock;

use bytes::{BufMut, Bytes, BytesMut};
use wire::{RawId, TooLong};

/// How packages travel to a client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Transport {
    /// Each package is one binary WebSocket message.
    WebSocket,
    /// Packages one after the other.
    Tcp,
}

/// DATA packages for any number of sessions, encoded once.
///
/// All of them go out with one write, where the socket takes it; each is a
/// WebSocket message of its own, because old clients read only the first
/// package of a message. Cloning copies no bytes.
///
/// ```
/// use frontend::Outgoing;
/// let outgoing = Outgoing::builder().package(&[4, 0, 0, 1, 6]).package(&[4, 0, 0, 1, 7]).build();
/// assert_eq!(outgoing.packages(), 2);
/// ```
#[derive(Clone, Debug)]
pub struct Outgoing {
    framed: Bytes,
    /// Made when the first raw TCP session asks.
    bare: OnceLock<Bytes>,
    packages: u32,
}

/// Collects the packages of an [`Outgoing`].
#[derive(Debug, Default)]
pub struct OutgoingBuilder {
    framed: BytesMut,
    packages: u32,
}

impl Outgoing {
    /// Begins without a package.
    #[must_use]
    pub fn builder() -> OutgoingBuilder {
        OutgoingBuilder::default()
    }

    /// One whole package.
    #[must_use]
    pub fn package(package: &[u8]) -> Self {
        Self::builder().package(package).build()
    }

    /// How many packages it holds.
    #[must_use]
    pub fn packages(&self) -> u32 {
        self.packages
    }

    /// The bytes for a client's socket.
    pub(crate) fn bytes(&self, transport: Transport) -> &Bytes {
        match transport {
            Transport::WebSocket => &self.framed,
            Transport::Tcp => self.bare.get_or_init(|| strip(&self.framed)),
        }
    }
}

impl OutgoingBuilder {
    /// Appends one whole package, header included.
    #[must_use]
    pub fn package(mut self, package: &[u8]) -> Self {
        self.push(package);
        self
    }

    /// As [`OutgoingBuilder::package`], for loops.
    pub fn push(&mut self, package: &[u8]) {
        let header = FrameHeader::new(package.len());
        self.framed.reserve(header.as_bytes().len() + package.len());
        self.framed.put_slice(header.as_bytes());
        self.framed.put_slice(package);
        self.packages += 1;
    }

    /// True if nothing was appended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packages == 0
    }

    /// Ends collecting.
    #[must_use]
    pub fn build(self) -> Outgoing {
        Outgoing { framed: self.framed.freeze(), bare: OnceLock::new(), packages: self.packages }
    }
}

/// One response as bytes for a client's socket.
pub(crate) fn response(transport: Transport, id: &RawId, body: &[u8]) -> Result<Bytes, TooLong> {
    // Room in front for the longest frame header, so that nothing is copied.
    let room = FrameHeader::LEN_MAX;
    let header_len = wire::HEADER_LEN + 1 + RawId::LEN_MAX;
    let mut out = BytesMut::with_capacity(room + header_len + body.len());
    out.put_bytes(0, room);
    wire::encode_response(id, body, &mut out)?;
    let header = match transport {
        Transport::WebSocket => FrameHeader::new(out.len() - room),
        Transport::Tcp => FrameHeader::default(),
    };
    let header = header.as_bytes();
    let start = room - header.len();
    out[start..room].copy_from_slice(header);
    Ok(out.freeze().slice(start..))
}

/// One package as bytes for a client's socket.
pub(crate) fn package(transport: Transport, package: &Bytes) -> Bytes {
    match transport {
        Transport::Tcp => package.clone(),
        // The most frequent one needs no memory.
        Transport::WebSocket if package[..] == wire::HEARTBEAT_PACKAGE => {
            Bytes::from_static(&[FINAL_BINARY, 4, 3, 0, 0, 0])
        }
        Transport::WebSocket => Outgoing::package(package).framed,
    }
}

/// The header of one binary WebSocket message from a server: final, not masked.
#[derive(Default)]
struct FrameHeader {
    bytes: [u8; Self::LEN_MAX],
    len: usize,
}

const FINAL_BINARY: u8 = 0x82;
const LEN_16: u8 = 126;
const LEN_64: u8 = 127;

impl FrameHeader {
    const LEN_MAX: usize = 10;

    fn new(payload: usize) -> Self {
        let mut header = Self::default();
        let long = (payload as u64).to_be_bytes();
        let (first, extended) = match payload {
            0..=125 => (payload as u8, &[][..]),
            126..=0xffff => (LEN_16, &long[6..]),
            _ => (LEN_64, &long[..]),
        };
        header.bytes[..2].copy_from_slice(&[FINAL_BINARY, first]);
        header.bytes[2..2 + extended.len()].copy_from_slice(extended);
        header.len = 2 + extended.len();
        header
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Takes the frame headers off, which [`OutgoingBuilder::push`] put there.
fn strip(mut framed: &[u8]) -> Bytes {
    let mut bare = BytesMut::with_capacity(framed.len());
    while let [_, first, rest @ ..] = framed {
        let extended = match *first {
            LEN_16 => 2,
            LEN_64 => 8,
            _ => 0,
        };
        let (long, rest) = rest.split_at(extended);
        let long = long.iter().fold(0, |len, byte| (len << 8) | usize::from(*byte));
        let (package, rest) = rest.split_at(if extended == 0 { usize::from(*first) } else { long });
        bare.put_slice(package);
        framed = rest;
    }
    bare.freeze()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio_tungstenite::tungstenite::{Message, protocol::Role, protocol::WebSocket};

    use super::*;

    /// What a client reads from `framed`.
    fn messages(framed: &Bytes) -> Vec<Bytes> {
        let read_only = std::io::Cursor::new(framed.to_vec());
        let mut client = WebSocket::from_raw_socket(read_only, Role::Client, None);
        std::iter::from_fn(|| match client.read() {
            Ok(Message::Binary(bytes)) => Some(bytes),
            _ => None,
        })
        .collect()
    }

    proptest! {
        #[test]
        fn every_package_is_one_message_and_bare_they_are_a_stream(
            lens in prop::collection::vec(
                prop_oneof![0..300_usize, 65_530..65_550_usize], 0..6,
            ),
        ) {
            let packages: Vec<Bytes> = lens.iter().map(|len| vec![7; *len].into()).collect();
            let mut builder = Outgoing::builder();
            packages.iter().for_each(|package| builder.push(package));
            let outgoing = builder.build();

            prop_assert_eq!(&messages(outgoing.bytes(Transport::WebSocket)), &packages);
            prop_assert_eq!(&outgoing.bytes(Transport::Tcp)[..], packages.concat());
        }

        #[test]
        fn a_response_is_one_message(len in prop_oneof![0..300_usize, 65_500..65_550_usize]) {
            let (id, body) = (RawId::new(77), vec![7; len]);
            let mut package = BytesMut::new();
            wire::encode_response(&id, &body, &mut package).unwrap();

            let framed = response(Transport::WebSocket, &id, &body).unwrap();
            prop_assert_eq!(messages(&framed), vec![package.clone().freeze()]);
            prop_assert_eq!(response(Transport::Tcp, &id, &body), Ok(package.freeze()));
        }
    }

    #[test]
    fn headers_are_as_short_as_they_can_be() {
        for (payload, len) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            assert_eq!(FrameHeader::new(payload).as_bytes().len(), len, "{payload}");
        }
    }
}
