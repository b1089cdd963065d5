use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use model::{Fence, Term};

use super::*;
use crate::conformance::{self, Harness};

/// A clock that moves when it is told to.
#[derive(Debug, Default)]
struct Bench {
    now_ms: Arc<AtomicU64>,
}

impl Harness for Bench {
    type Store = Memory;

    async fn open(&self) -> Memory {
        self.now_ms.store(1_000_000, Ordering::Relaxed);
        let (now_ms, next) = (Arc::clone(&self.now_ms), AtomicU64::new(1));
        Memory::new(
            MemoryLimits { entries_max: 1000 },
            move || now_ms.load(Ordering::Relaxed),
            move || next.fetch_add(1, Ordering::Relaxed),
        )
    }

    async fn age(&self, _store: &Memory, by: Duration) {
        let by = u64::try_from(by.as_millis()).unwrap();
        self.now_ms.fetch_add(by, Ordering::Relaxed);
    }
}

fn memory(entries_max: usize) -> Memory {
    let next = AtomicU64::new(1);
    Memory::new(
        MemoryLimits { entries_max },
        || 1_000_000,
        move || next.fetch_add(1, Ordering::Relaxed),
    )
}

#[tokio::test]
async fn conforms() {
    conformance::check(&Bench::default()).await;
}

#[tokio::test]
async fn old_entries_are_taken_and_the_page_says_so() {
    let memory = memory(3);
    let room = RoomId::parse("r").unwrap();
    let claim = Claim { room: room.clone(), shard: "s".parse().unwrap(), seen: Fence::default() };
    let claimed = memory.claim(&[claim]).await.unwrap().remove(0);
    assert_eq!(claimed.term, Term(1));
    for n in 0..5_u64 {
        let append = conformance::append(&room, &claimed, Seq(1 + n), &[&format!("m{n}")]);
        assert!(matches!(memory.append(&[append]).await.unwrap()[0], Appended::Stored { .. }));
    }
    let page = memory.read(&room, Range::After(Seq(0)), 100).await.unwrap();
    assert_eq!(page.taken, Seq(3));
    assert_eq!(page.entries.iter().map(|row| row.seq.0).collect::<Vec<_>>(), [4, 5, 6]);
}
