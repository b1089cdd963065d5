//! The only place that draws random numbers.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use rand::{RngCore, SeedableRng, rngs::StdRng};

/// A source of random numbers, cryptographically strong unless it was seeded.
/// Clones share it.
#[derive(Clone)]
pub struct Rng(Arc<Mutex<StdRng>>);

impl fmt::Debug for Rng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rng")
    }
}

impl Rng {
    /// Seeds itself from the operating system.
    #[must_use]
    pub fn real() -> Self {
        Self(Arc::new(Mutex::new(StdRng::from_os_rng())))
    }

    /// Gives the same numbers for the same seed: for tests and simulations only.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// Draws 64 bits.
    #[must_use]
    pub fn u64(&self) -> u64 {
        self.0.lock().expect("drawing cannot panic").next_u64()
    }

    /// Draws 128 bits, enough to be unique or unguessable.
    #[must_use]
    pub fn bytes16(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.0.lock().expect("drawing cannot panic").fill_bytes(&mut bytes);
        bytes
    }

    /// Draws a duration in `0..=max`, evenly ("full jitter").
    #[must_use]
    pub fn up_to(&self, max: Duration) -> Duration {
        let nanos = u64::try_from(max.as_nanos()).unwrap_or(u64::MAX - 1);
        Duration::from_nanos(self.u64() % (nanos + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_all_and_jitter_keeps_its_bound() {
        let (one, other) = (Rng::seeded(7), Rng::seeded(7));
        for _ in 0..100 {
            let drawn = one.up_to(Duration::from_millis(3));
            assert!(drawn <= Duration::from_millis(3));
            assert_eq!(drawn, other.up_to(Duration::from_millis(3)));
        }
        assert_ne!(Rng::real().bytes16(), Rng::real().bytes16());
    }
}
