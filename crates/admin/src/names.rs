//! From a name to all who have it.

use std::{net::SocketAddr, time::Duration};

use chassis::Net;

/// Addresses of one name that are looked at; a list has as many at most.
const ADDRESSES_MAX: usize = 1000;

/// Who is at `addr`, a `host:port`: all of its addresses.
///
/// # Errors
///
/// In one line, why there is none.
pub(crate) async fn addresses(
    net: &Net,
    addr: &str,
    patience: Duration,
) -> Result<Vec<String>, String> {
    if addr.parse::<SocketAddr>().is_ok() {
        return Ok(vec![addr.to_owned()]);
    }
    match tokio::time::timeout(patience, net.addresses(addr)).await {
        Ok(Ok(found)) if !found.is_empty() => Ok(of_all(addr, &found)),
        Ok(Ok(_)) => Err("it has no address".into()),
        Ok(Err(error)) => Err(format!("no address: {error}")),
        Err(_) => Err(format!("no address within {}", humantime::format_duration(patience))),
    }
}

/// One address for each process that `addr` stands for. One that has an address of each
/// family is not two, and this machine is one, however many it has.
fn of_all(addr: &str, found: &[SocketAddr]) -> Vec<String> {
    if found.iter().all(|one| one.ip().is_loopback()) {
        return vec![addr.to_owned()];
    }
    // The family that the machine prefers.
    let is_wanted = |one: &&SocketAddr| one.is_ipv4() == found[0].is_ipv4();
    let mut wanted: Vec<SocketAddr> = found.iter().filter(is_wanted).copied().collect();
    wanted.sort_unstable();
    wanted.dedup();
    wanted.truncate(ADDRESSES_MAX);
    wanted.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(found: &[&str], expected: &[&str]) {
        let found: Vec<SocketAddr> = found.iter().map(|one| one.parse().unwrap()).collect();
        assert_eq!(of_all("name:1", &found), expected);
    }

    #[test]
    fn a_process_is_listed_once() {
        check(&["10.0.0.2:1", "10.0.0.1:1", "10.0.0.2:1"], &["10.0.0.1:1", "10.0.0.2:1"]);
        check(&["10.0.0.1:1", "[fd00::1]:1"], &["10.0.0.1:1"]);
        check(&["[fd00::1]:1", "10.0.0.1:1", "[fd00::2]:1"], &["[fd00::1]:1", "[fd00::2]:1"]);
        check(&["[::1]:1", "127.0.0.1:1"], &["name:1"]);
    }

    #[tokio::test]
    async fn an_address_is_its_own_and_who_has_none_is_told_why() {
        let ask = async |addr| addresses(&Net::real(), addr, Duration::from_secs(5)).await;
        assert_eq!(ask("[fd00::1]:1").await, Ok(vec!["[fd00::1]:1".to_owned()]));
        assert!(ask("nobody.invalid:1").await.unwrap_err().starts_with("no address"));
        assert!(ask("no port").await.unwrap_err().starts_with("no address"));
    }
}
