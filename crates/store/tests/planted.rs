//! Bugs of a store are found by the suite that every store passes.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use model::planted::{Bug, plant};
use store::{
    Memory, MemoryLimits, Purpose, Sqlite,
    conformance::{self, Harness},
};
use tempfile::TempDir;

/// A clock that moves when it is told to.
#[derive(Clone, Debug)]
struct Time(Arc<AtomicU64>);

impl Time {
    fn new() -> Self {
        Self(Arc::new(AtomicU64::new(1_000_000_000_000)))
    }

    fn clock(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let now = Arc::clone(&self.0);
        move || now.load(Ordering::Relaxed)
    }

    fn pass(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::Relaxed);
    }
}

fn counter() -> impl Fn() -> u64 + Send + Sync + 'static {
    let next = AtomicU64::new(1);
    move || next.fetch_add(1, Ordering::Relaxed)
}

struct InMemory(Time);

impl Harness for InMemory {
    type Store = Memory;

    async fn open(&self) -> Memory {
        Memory::new(MemoryLimits { entries_max: 1000 }, self.0.clock(), counter())
    }

    async fn age(&self, _: &Memory, by: Duration) {
        self.0.pass(by);
    }
}

struct InFile(Time, Mutex<Vec<TempDir>>);

impl Harness for InFile {
    type Store = Sqlite;

    async fn open(&self) -> Sqlite {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chat.db");
        self.1.lock().unwrap().push(folder);
        Sqlite::open(path, Purpose::Serve, self.0.clock(), counter()).unwrap()
    }

    async fn age(&self, _: &Sqlite, by: Duration) {
        self.0.pass(by);
    }
}

/// True if the suite passes.
fn conforms<H: Harness + Send + 'static>(harness: H) -> bool {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(conformance::check(&harness));
    };
    std::thread::spawn(run).join().is_ok()
}

// One test: what is planted is planted in the whole process.
#[test]
fn each_bug_of_a_store_is_found_by_its_suite() {
    for (bug, is_found) in [
        (None, false),
        (Some(Bug::ConflictOverwritten), true),
        (Some(Bug::CmidsForgotten), true),
        (Some(Bug::DuplicatesNotSought), true),
    ] {
        plant(bug);
        assert_eq!(conforms(InFile(Time::new(), Mutex::default())), !is_found, "{bug:?}");
        // It hashes no cmids.
        if bug != Some(Bug::DuplicatesNotSought) {
            assert_eq!(conforms(InMemory(Time::new())), !is_found, "{bug:?}");
        }
    }
}
