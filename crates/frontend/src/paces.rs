//! How fast something may happen for the clients of one place.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::{Pace, Rate, addresses::place};

/// The paces of all places that were busy lately; a place is an IPv4 address, or an
/// IPv6 network of 64 bits. One that kept quiet for long enough is forgotten, so
/// there are no more than made themselves known in that time.
#[derive(Debug)]
pub struct Paces {
    rate: Option<Rate>,
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    paces: HashMap<IpAddr, Pace>,
    /// With so many, those that are quiet are sought.
    sweep_at: usize,
}

/// Fewer than these are not worth looking through.
const SWEEP_MIN: usize = 1024;

impl Paces {
    /// Without a rate everything is admitted.
    #[must_use]
    pub fn new(rate: Option<Rate>) -> Self {
        let table = Table { paces: HashMap::new(), sweep_at: SWEEP_MIN };
        Self { rate, table: Mutex::new(table) }
    }

    /// Counts one more from `address` at `now`, a time since some fixed point; false
    /// if that is too fast, and then it does not count.
    pub fn admits(&self, address: IpAddr, now: Duration) -> bool {
        let Some(rate) = self.rate else { return true };
        // A pace holds no invariant that a panic could break.
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.paces.len() >= table.sweep_at {
            table.paces.retain(|_, pace| !pace.has_rested(now));
            table.sweep_at = (table.paces.len() * 2).max(SWEEP_MIN);
            let keep = table.sweep_at;
            table.paces.shrink_to(keep);
        }
        table.paces.entry(place(address)).or_default().admits(rate, now)
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, num::NonZeroU32};

    use super::*;

    fn paces() -> Paces {
        let burst = NonZeroU32::new(2).unwrap();
        Paces::new(Rate::per(60, Duration::from_secs(60), burst))
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(1_000 + seconds)
    }

    #[test]
    fn each_place_has_its_own_pace() {
        let paces = paces();
        let admits = |address: &str, seconds| paces.admits(address.parse().unwrap(), at(seconds));
        assert!(admits("10.0.0.1", 0) && admits("::ffff:10.0.0.1", 0));
        assert!(!admits("10.0.0.1", 0));
        assert!(admits("10.0.0.2", 0));
        assert!(admits("10.0.0.1", 1) && !admits("10.0.0.1", 1));
        assert!(admits("2001:db8:1:2::1", 1) && admits("2001:db8:1:2:3::", 1));
        assert!(!admits("2001:db8:1:2::4", 1) && admits("2001:db8:1:3::1", 1));
        let endless = Paces::new(Rate::per(0, Duration::from_secs(60), NonZeroU32::MIN));
        assert!((0..1000).all(|_| endless.admits(Ipv4Addr::LOCALHOST.into(), at(0))));
    }

    #[test]
    fn who_has_rested_is_forgotten_and_others_are_not() {
        let paces = paces();
        let address = |n: u32| IpAddr::V4(Ipv4Addr::from_bits(n));
        let len = || paces.table.lock().unwrap().paces.len();
        for n in 1..5_000 {
            assert!(paces.admits(address(n), at(0)));
        }
        assert_eq!(len(), 4_999);
        // Busy since the others rested.
        assert!(paces.admits(address(1), at(10)) && paces.admits(address(1), at(10)));
        for n in 5_000..5_000 + 4_000 {
            assert!(paces.admits(address(n), at(10)));
        }
        assert!(!paces.admits(address(1), at(10)));
        assert!(len() < 5_000, "{}", len());
    }
}
