//! Whatever chance does to a cluster whose shards share a log, no rule is broken.

use sim::{chaos, judge};

use crate::seeds;

#[test]
fn whatever_happens_nothing_is_lost_doubled_or_reordered() {
    for seed in seeds(2) {
        let judged = judge(&chaos(seed).run());
        let wrong = judged.wrong.join("\n");
        assert!(wrong.is_empty(), "{wrong}\nrepeat: make sim SEED={seed}");
    }
}
