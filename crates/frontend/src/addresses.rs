//! How many connections come from one place.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Connections by where they come from. No longer than there are connections.
#[derive(Debug, Default)]
pub(crate) struct Addresses(Mutex<HashMap<IpAddr, usize>>);

/// One connection's count; dropping it takes it back.
#[derive(Debug)]
pub(crate) struct Counted {
    addresses: Arc<Addresses>,
    place: IpAddr,
}

impl Addresses {
    /// Counts one more from `address`; none if there are `limit` already.
    pub(crate) fn count(self: &Arc<Self>, address: IpAddr, limit: usize) -> Option<Counted> {
        let place = place(address);
        let mut counts = self.counts();
        let count = counts.entry(place).or_default();
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(Counted { addresses: Arc::clone(self), place })
    }

    /// A count holds no invariant that a panic could break.
    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.addresses.counts();
        if let Some(count) = counts.get_mut(&self.place) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.place);
            }
        }
        // Memory follows the crowd when it has gone.
        if counts.len() * 4 < counts.capacity() {
            counts.shrink_to(64);
        }
    }
}

/// What counts as one place: an IPv4 address, or the network of 64 bits that a
/// subscriber has of IPv6.
pub(crate) fn place(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_its_share_and_gets_it_back() {
        let addresses = Arc::new(Addresses::default());
        let count = |address: &str| addresses.count(address.parse().unwrap(), 2);
        let (one, two) = (count("10.0.0.1"), count("::ffff:10.0.0.1"));
        assert!(one.is_some() && two.is_some());
        assert!(count("10.0.0.1").is_none());
        assert!(count("10.0.0.2").is_some());
        drop(two);
        let three = count("10.0.0.1");
        assert!(three.is_some());
        drop((one, three));
        assert!(addresses.counts().is_empty());
    }

    #[test]
    fn a_subscriber_of_ipv6_is_one_place() {
        let addresses = Arc::new(Addresses::default());
        let count = |address: &str| addresses.count(address.parse().unwrap(), 1);
        let one = count("2001:db8:1:2::1");
        assert!(one.is_some());
        assert!(count("2001:db8:1:2:ffff::9").is_none());
        assert!(count("2001:db8:1:3::1").is_some());
    }
}
