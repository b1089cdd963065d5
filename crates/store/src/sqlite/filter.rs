//! What has surely not been stored.

/// Bits of a filter: 4 MiB. Three million keys have one in a hundred looked for in
/// vain; ten million one in four, and it goes on from there.
const BITS: u64 = 32 << 20;
const PROBES: u32 = 4;

/// A set of keys that may say yes for one that is not in it, and never no for one
/// that is (a Bloom filter). Its size is fixed.
#[derive(Debug)]
pub(super) struct Filter(Box<[u64]>);

impl Default for Filter {
    fn default() -> Self {
        Self(vec![0; (BITS / 64) as usize].into())
    }
}

impl Filter {
    pub(super) fn add(&mut self, key: i64) {
        for bit in probes(key) {
            self.0[(bit / 64) as usize] |= 1 << (bit % 64);
        }
    }

    pub(super) fn may_have(&self, key: i64) -> bool {
        probes(key).all(|bit| self.0[(bit / 64) as usize] & 1 << (bit % 64) != 0)
    }
}

/// The key is a hash already.
fn probes(key: i64) -> impl Iterator<Item = u64> {
    let first = key.cast_unsigned() >> 2;
    let step = first.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) | 1;
    (0..PROBES).map(move |n| first.wrapping_add(step.wrapping_mul(u64::from(n))) % BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_there_and_little_else() {
        let mut filter = Filter::default();
        let keys = |from: i64| {
            let hash = |n: i64| crate::dedup(model::Identity([1; 16]), &n.to_le_bytes(), 0);
            (from..from + 100_000).map(hash)
        };
        keys(0).for_each(|key| filter.add(key));
        assert!(keys(0).all(|key| filter.may_have(key)));
        let wrong = keys(1_000_000).filter(|key| filter.may_have(*key)).count();
        assert!(wrong < 100, "{wrong} of 100 000");
    }
}
