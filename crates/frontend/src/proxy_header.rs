//! What a proxy says of its client before the client is heard: the header of the
//! PROXY protocol, version 2.

use std::{io, net::SocketAddr};

use chassis::Stream;
use proxy_header::{Error, ParseConfig, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The first byte of every header. No Pomelo package, no HTTP method and no TLS
/// connection begins with it.
const FIRST: u8 = b'\r';

/// The length of what every header has, in bytes.
const FIXED_LEN: usize = 16;

/// The longest rest of a header, in bytes: addresses, and what proxies add of which
/// nothing is used here. Those in use stay below 500.
const REST_LEN_MAX: usize = 2048;

const CONFIG: ParseConfig = ParseConfig { include_tlvs: false, allow_v1: false, allow_v2: true };

/// Why nothing is learnt of a proxy, and the connection ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyHeaderError {
    /// The connection ended before the header did.
    #[error("the proxy went away")]
    Gone,
    /// It began like one.
    #[error("malformed PROXY header")]
    Malformed(#[source] Error),
    /// It announces more than anybody needs.
    #[error("a PROXY header of {0} bytes is too long")]
    TooLong(usize),
}

/// Takes the header off `stream`, if there is one, and returns the client's address,
/// if the header tells it: a proxy's own connections, such as health checks, and
/// clients without an IP address have none. Takes as long as the proxy does, and
/// waits for the first byte also if there is no header.
pub(crate) async fn take(stream: &mut Stream) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    match stream.peek_first().await {
        Ok(Some(FIRST)) => read(stream).await,
        Ok(Some(_)) => Ok(None),
        // A simulation has no proxies.
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(None),
        Ok(None) | Err(_) => Err(ProxyHeaderError::Gone),
    }
}

/// Reads the header and not a byte more, as the next is the client's.
async fn read(from: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    let mut header = vec![0; FIXED_LEN];
    from.read_exact(&mut header).await.map_err(|_| ProxyHeaderError::Gone)?;
    // What is no header is told from one before more is waited for.
    match parse(&header) {
        Err(ProxyHeaderError::Malformed(Error::BufferTooShort)) => {}
        parsed => return parsed,
    }
    let rest_len = usize::from(u16::from_be_bytes([header[14], header[15]]));
    if rest_len > REST_LEN_MAX {
        return Err(ProxyHeaderError::TooLong(FIXED_LEN + rest_len));
    }
    header.resize(FIXED_LEN + rest_len, 0);
    from.read_exact(&mut header[FIXED_LEN..]).await.map_err(|_| ProxyHeaderError::Gone)?;
    parse(&header)
}

fn parse(header: &[u8]) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    let (parsed, _) = ProxyHeader::parse(header, CONFIG).map_err(ProxyHeaderError::Malformed)?;
    let source = parsed.proxied_address().map(|address| address.source);
    Ok(source.map(|source| SocketAddr::new(source.ip().to_canonical(), source.port())))
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use proptest::prelude::*;
    use proxy_header::ProxiedAddress;

    use super::*;
    use crate::fuzzing::Pieces;

    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

    /// A header with `rest` behind the fixed part.
    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &len, rest].concat()
    }

    /// What comes of `bytes` in pieces of `size`, and what is left to be read.
    fn read_in_pieces(bytes: &[u8], size: usize) -> (String, Vec<u8>) {
        let mut pieces = Pieces::new(bytes, size, false);
        let read = read(&mut pieces).now_or_never().expect("there is nothing to wait for");
        let told = match read {
            Ok(Some(client)) => client.to_string(),
            Ok(None) => "nobody".to_owned(),
            Err(error) => chassis::chain(&error),
        };
        (told, pieces.left().to_vec())
    }

    #[track_caller]
    fn check(header: &[u8], expected: &str) {
        let bytes = [header, b"client"].concat();
        for size in [1, 2, 3, 15, 16, 17, 1000] {
            let (told, left) = read_in_pieces(&bytes, size);
            assert!(told.contains(expected), "{header:x?} in pieces of {size}: {told}");
            assert!(left.ends_with(b"client"), "{header:x?}: the client's bytes are gone");
            if !told.contains("PROXY") {
                assert_eq!(left, b"client", "{header:x?}");
            }
        }
    }

    const V4: &[u8] = &[203, 0, 113, 7, 10, 0, 0, 1, 0xc0, 0, 0x0b, 0xea];

    fn v6() -> Vec<u8> {
        let [mut client, mut us] = [[0; 16]; 2];
        client[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        client[15] = 7;
        us[15] = 1;
        [&client[..], &us, &[0xc0, 0, 0x0b, 0xea]].concat()
    }

    #[test]
    fn the_clients_address_is_told_and_what_follows_is_the_clients() {
        check(&header(0x21, 0x11, V4), "203.0.113.7:49152");
        check(&header(0x21, 0x21, &v6()), "[2001:db8::7]:49152");
        let mut mapped = v6();
        mapped[..16].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 203, 0, 113, 7]);
        check(&header(0x21, 0x21, &mapped), "203.0.113.7:49152");
    }

    #[test]
    fn what_proxies_add_is_skipped() {
        let extra = [&[4, 0, 3, 1, 2, 3][..], &[0xea, 0, 10], b"vpce-12345"].concat();
        check(&header(0x21, 0x11, &[V4, &extra].concat()), "203.0.113.7:49152");
        check(&header(0x21, 0x21, &[&v6()[..], &extra].concat()), "[2001:db8::7]:49152");
        let longest = [V4, &vec![0; REST_LEN_MAX - V4.len()]].concat();
        check(&header(0x21, 0x11, &longest), "203.0.113.7:49152");
    }

    #[test]
    fn who_has_no_address_is_nobody() {
        check(&header(0x20, 0x00, b""), "nobody");
        check(&header(0x20, 0x11, V4), "nobody");
        check(&header(0x20, 0x00, &[4, 0, 1, 9]), "nobody");
        check(&header(0x21, 0x00, b""), "nobody");
        check(&header(0x21, 0x00, &[4, 0, 1, 9]), "nobody");
        // A UNIX socket's paths.
        check(&header(0x21, 0x31, &[7; 216]), "nobody");
    }

    #[test]
    fn what_is_no_header_is_malformed() {
        let malformed = "malformed PROXY header: ";
        check(b"\r\n\r\n\0\r\nQUIX\n\x21\x11\0\x0c", malformed);
        check(b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", malformed);
        check(&header(0x11, 0x11, V4), malformed);
        check(&header(0x22, 0x11, V4), malformed);
        check(&header(0x21, 0x41, V4), malformed);
        check(&header(0x21, 0x13, V4), malformed);
        check(&header(0x21, 0x11, &V4[..11]), malformed);
        check(&header(0x21, 0x21, V4), malformed);
        check(&header(0x21, 0x31, &[7; 215]), malformed);
        check(&header(0x21, 0x11, &[0; REST_LEN_MAX + 1]), "a PROXY header of 2065 bytes");
        check(&header(0x20, 0x00, &[0; 65_535]), "a PROXY header of 65551 bytes");
    }

    #[test]
    fn a_header_without_an_end_tells_nothing() {
        let whole = header(0x21, 0x11, V4);
        for len in 0..whole.len() {
            assert_eq!(read_in_pieces(&whole[..len], 5).0, "the proxy went away");
        }
    }

    fn any_address() -> impl Strategy<Value = SocketAddr> {
        let v4 = any::<([u8; 4], u16)>().prop_map(SocketAddr::from);
        let v6 = any::<([u8; 16], u16)>().prop_map(SocketAddr::from);
        prop_oneof![v4, v6]
    }

    proptest! {
        /// Whatever a header says, it comes out the same in pieces of any size, and
        /// the client's bytes behind it are untouched.
        #[test]
        fn a_header_is_read_in_any_segmentation(
            client in any_address(),
            extra in prop::collection::vec(any::<u8>(), 0..300),
            said in prop::collection::vec(any::<u8>(), 0..40),
            size in 1..400_usize,
        ) {
            let us = if client.is_ipv4() { "10.0.0.1:3050" } else { "[fd00::1]:3050" };
            let address = ProxiedAddress::stream(client, us.parse().unwrap());
            let mut bytes = [0; 64];
            let len = ProxyHeader::with_address(address).encode_to_slice_v2(&mut bytes).unwrap();
            let header = header(0x21, bytes[13], &[&bytes[FIXED_LEN..len], &extra].concat());
            let (told, left) = read_in_pieces(&[&header[..], &said].concat(), size);
            let client = SocketAddr::new(client.ip().to_canonical(), client.port());
            prop_assert_eq!(told, client.to_string());
            prop_assert_eq!(left, said);
        }

        /// No bytes break it, and the same bytes mean the same in pieces of any size.
        #[test]
        fn any_bytes_end_the_same_way_however_they_are_cut_up(
            command in any::<u8>(), family in any::<u8>(), len in 0..100_u16,
            rest in prop::collection::vec(any::<u8>(), 0..100), size in 1..30_usize,
        ) {
            let fixed = [SIGNATURE, &[command, family], &len.to_be_bytes(), &rest].concat();
            prop_assert_eq!(read_in_pieces(&fixed, size), read_in_pieces(&fixed, 1000));
        }
    }
}
