//! Proxies that stand between clients and us, and whose word about a client's
//! address is believed.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use http::{HeaderMap, HeaderName};
use ipnet::{IpNet, Ipv4Net};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// A network of proxies, as `10.0.0.0/8`, or one of them, as `10.0.0.1`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ProxyNetwork(IpNet);

/// It is not written as networks are.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be an IP address, or a network as 10.0.0.0/8 or fd00::/8")]
pub struct InvalidNetwork;

/// A proxy says something about its client that nobody understands.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("an entry of X-Forwarded-For is no IP address")]
pub struct Unreadable;

impl From<IpAddr> for ProxyNetwork {
    fn from(address: IpAddr) -> Self {
        Self(address.to_canonical().into())
    }
}

impl FromStr for ProxyNetwork {
    type Err = InvalidNetwork;

    fn from_str(raw: &str) -> Result<Self, InvalidNetwork> {
        let raw = raw.trim();
        if let Ok(address) = raw.parse::<IpAddr>() {
            return Ok(address.into());
        }
        let network: IpNet = raw.parse().map_err(|_| InvalidNetwork)?;
        // Peers are compared in their canonical form, so IPv4 must not hide in IPv6.
        let inner = network.addr().to_canonical();
        Ok(Self(match (inner, network.prefix_len().checked_sub(96)) {
            (IpAddr::V4(v4), Some(len)) if network.addr().is_ipv6() => {
                Ipv4Net::new(v4, len).map_err(|_| InvalidNetwork)?.into()
            }
            _ => network,
        }))
    }
}

impl fmt::Display for ProxyNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether `address` is a proxy's whose word counts.
#[must_use]
pub fn is_trusted(trusted: &[ProxyNetwork], address: IpAddr) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|network| network.0.contains(&address))
}

/// Returns who the client is by the `X-Forwarded-For` of a request that a trusted
/// proxy has brought: the last address, over all headers, that is no trusted
/// proxy's; if all are, the first. None if there is no such header.
///
/// What a client itself writes into the header stands to the left of that, and is
/// not looked at.
///
/// # Errors
///
/// What should have told is no address.
pub fn forwarded_for(
    trusted: &[ProxyNetwork],
    headers: &HeaderMap,
) -> Result<Option<IpAddr>, Unreadable> {
    let mut farthest = None;
    for value in headers.get_all(X_FORWARDED_FOR).iter().rev() {
        let entries = value.as_bytes().rsplit(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        for entry in entries.filter(|entry| !entry.is_empty()) {
            let address = address(entry).ok_or(Unreadable)?;
            if !is_trusted(trusted, address) {
                return Ok(Some(address));
            }
            farthest = Some(address);
        }
    }
    Ok(farthest)
}

/// An address, which some proxies write with a port, or in brackets.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let entry = std::str::from_utf8(entry).ok()?;
    let bare = entry.strip_prefix('[').and_then(|entry| entry.strip_suffix(']')).unwrap_or(entry);
    let address: Result<IpAddr, _> = bare.parse();
    let with_port = || entry.parse::<SocketAddr>().ok().map(|address| address.ip());
    address.ok().or_else(with_port).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(raw: &str) -> Vec<ProxyNetwork> {
        raw.split(',').map(|one| one.parse().unwrap()).collect()
    }

    #[test]
    fn a_network_holds_what_it_says_however_it_is_written() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            (" 10.1.2.3/8 ", "10.0.0.1", "11.0.0.1"),
            ("10.0.0.1", "10.0.0.1", "10.0.0.2"),
            ("10.0.0.0/8", "::ffff:10.0.0.1", "::ffff:11.0.0.1"),
            ("::ffff:10.0.0.0/104", "10.0.0.1", "11.0.0.1"),
            ("::ffff:10.0.0.1", "10.0.0.1", "10.0.0.2"),
            ("fd00::/8", "fd12::1", "fc00::1"),
            ("::1", "::1", "127.0.0.1"),
            ("0.0.0.0/0", "203.0.113.7", "2001:db8::1"),
        ] {
            let trusted = networks(network);
            assert!(is_trusted(&trusted, inside.parse().unwrap()), "{network} has {inside}");
            assert!(!is_trusted(&trusted, outside.parse().unwrap()), "{network} has {outside}");
        }
        assert!(!is_trusted(&[], "127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for raw in ["", "localhost", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/", "::/129", "a/8"] {
            assert_eq!(raw.parse::<ProxyNetwork>(), Err(InvalidNetwork), "{raw}");
        }
    }

    /// `headers` are separated by `|`.
    #[track_caller]
    fn check(headers: &str, expected: Result<Option<&str>, Unreadable>) {
        let trusted = networks("10.0.0.0/8,fd00::/8");
        let mut map = HeaderMap::new();
        for value in headers.split('|') {
            let value = http::HeaderValue::from_bytes(value.as_bytes()).unwrap();
            map.append(X_FORWARDED_FOR, value);
        }
        let expected = expected.map(|address| address.map(|raw| raw.parse().unwrap()));
        assert_eq!(forwarded_for(&trusted, &map), expected, "{headers}");
    }

    #[test]
    fn the_last_address_that_is_no_proxys_is_the_clients() {
        check("203.0.113.7", Ok(Some("203.0.113.7")));
        check("1.2.3.4, 203.0.113.7", Ok(Some("203.0.113.7")));
        check("1.2.3.4, 203.0.113.7,10.0.0.1 ,\t10.9.9.9", Ok(Some("203.0.113.7")));
        check("203.0.113.7, fd00::1", Ok(Some("203.0.113.7")));
        check("2001:db8::7, 10.0.0.1", Ok(Some("2001:db8::7")));
        assert_eq!(forwarded_for(&networks("::1"), &HeaderMap::new()), Ok(None));
    }

    #[test]
    fn several_headers_are_one_list() {
        check("1.2.3.4|203.0.113.7", Ok(Some("203.0.113.7")));
        check("1.2.3.4|203.0.113.7, 10.0.0.1|10.0.0.2", Ok(Some("203.0.113.7")));
        check("203.0.113.7||,10.0.0.2, ,", Ok(Some("203.0.113.7")));
    }

    #[test]
    fn among_proxies_only_the_farthest_counts() {
        check("10.0.0.3, 10.0.0.2|10.0.0.1", Ok(Some("10.0.0.3")));
        check(" , ", Ok(None));
    }

    #[test]
    fn ports_and_brackets_are_no_part_of_an_address() {
        check("203.0.113.7:49152", Ok(Some("203.0.113.7")));
        check("[2001:db8::7]:49152, 10.0.0.1:80", Ok(Some("2001:db8::7")));
        check("[2001:db8::7]", Ok(Some("2001:db8::7")));
        check("::ffff:203.0.113.7, ::ffff:10.0.0.1", Ok(Some("203.0.113.7")));
    }

    #[test]
    fn what_nobody_understands_counts_only_where_it_matters() {
        for garbage in ["unknown", "203.0.113.7.8", "<script>", "é", "203.0.113.7 1.2.3.4", "_x"] {
            check(&format!("1.2.3.4, {garbage}, 10.0.0.1"), Err(Unreadable));
            check(&format!("1.2.3.4|{garbage}|10.0.0.1"), Err(Unreadable));
            check(&format!("{garbage}, 203.0.113.7"), Ok(Some("203.0.113.7")));
        }
    }
}
