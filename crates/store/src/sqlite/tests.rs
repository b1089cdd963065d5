use std::{
    fs,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tempfile::TempDir;

use super::*;
use crate::conformance::{self, Harness};

/// Files in folders of their own, and a clock that moves when it is told to.
#[derive(Debug, Default)]
struct Bench {
    now_ms: Arc<AtomicU64>,
    folders: Mutex<Vec<TempDir>>,
    /// The next release has been there before.
    is_expanded: bool,
}

impl Bench {
    fn at(&self, path: &Path) -> Result<Sqlite, OpenError> {
        let (now_ms, next) = (Arc::clone(&self.now_ms), AtomicU64::new(1));
        Sqlite::open_with(
            path.to_owned(),
            Purpose::Serve,
            Arc::new(move || now_ms.load(Ordering::Relaxed)),
            Arc::new(move || next.fetch_add(1, Ordering::Relaxed)),
            conformance::weak_dedup,
        )
    }
}

impl Harness for Bench {
    type Store = Sqlite;

    async fn open(&self) -> Sqlite {
        self.now_ms.store(1_000_000_000_000, Ordering::Relaxed);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in/a/folder/chat.db");
        let mut store = self.at(&path).unwrap();
        if self.is_expanded {
            drop(store);
            rusqlite::Connection::open(&path).unwrap().execute_batch(EXPAND).unwrap();
            store = self.at(&path).unwrap();
        }
        self.folders.lock().unwrap().push(folder);
        store
    }

    async fn age(&self, _store: &Sqlite, by: Duration) {
        let by = u64::try_from(by.as_millis()).unwrap();
        self.now_ms.fetch_add(by, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn conforms() {
    conformance::check(&Bench::default()).await;
}

/// What the next release does to the tables when it starts: it only adds.
const EXPAND: &str = "begin;
    alter table room add column more integer;
    alter table entry add column more integer;
    create table more (room integer primary key, more blob);
    create index entry_more on entry (author, at) where more is not null;
    insert into meta (key, value) values ('more', 1);
    pragma user_version = 2;
    commit";

#[tokio::test]
async fn conforms_on_the_schema_that_the_next_release_has_expanded() {
    conformance::check(&Bench { is_expanded: true, ..Bench::default() }).await;
}

/// A store in a file, a room of it, and its owner.
struct Stage {
    bench: Bench,
    folder: TempDir,
    store: Option<Sqlite>,
    claimed: Claimed,
    head: u64,
}

impl Stage {
    async fn new() -> Self {
        let (bench, folder) = (Bench::default(), tempfile::tempdir().unwrap());
        bench.now_ms.store(1_000_000_000_000, Ordering::Relaxed);
        let store = bench.at(&folder.path().join("chat.db")).unwrap();
        let claimed = store.claim(&[claim()]).await.unwrap().remove(0);
        let head = claimed.term.0;
        Self { bench, folder, store: Some(store), claimed, head }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("chat.db")
    }

    fn store(&self) -> &Sqlite {
        self.store.as_ref().unwrap()
    }

    async fn say(&mut self, contents: &[&str]) -> Result<Appended, StoreError> {
        let append = conformance::append(&room(), &self.claimed, Seq(self.head), contents);
        let end = self.store().append(&[append]).await?.remove(0);
        if matches!(end, Appended::Stored { .. }) {
            self.head += contents.len() as u64;
        }
        Ok(end)
    }

    async fn must_say(&mut self, contents: &[&str]) {
        let end = self.say(contents).await;
        assert!(matches!(end, Ok(Appended::Stored { .. })), "{end:?}");
    }

    async fn must_fail(&mut self) {
        let end = self.say(&["lost"]).await;
        assert!(matches!(end, Err(StoreError::Unreachable(_))), "{end:?}");
    }

    fn restart(&mut self) {
        self.store = None;
        self.store = Some(self.bench.at(&self.path()).unwrap());
    }

    async fn contents(&self) -> Vec<String> {
        let page = self.store().read(&room(), Range::After(Seq(0)), 1000).await.unwrap();
        let said = page.entries.into_iter().filter_map(|row| row.said);
        said.map(|said| said.body.content.to_string()).collect()
    }
}

fn room() -> RoomId {
    RoomId::parse("r").unwrap()
}

fn claim() -> Claim {
    Claim { room: room(), shard: "s".parse().unwrap(), seen: model::Fence::default() }
}

#[tokio::test]
async fn what_was_stored_is_there_after_a_restart_with_its_cmids() {
    let mut stage = Stage::new().await;
    stage.must_say(&["a", "b"]).await;
    stage.restart();
    assert_eq!(stage.contents().await, ["a", "b"]);
    let end = stage.say(&["c", "a"]).await.unwrap();
    assert!(matches!(&end, Appended::Duplicates(found) if found[0].1.seq == Seq(2)), "{end:?}");
    stage.must_say(&["c"]).await;
    let next = stage.store().claim(&[claim()]).await.unwrap().remove(0);
    assert_eq!((next.epoch, next.term.0), (stage.claimed.epoch, stage.head + 1));
}

#[tokio::test]
async fn cmids_are_known_while_the_index_is_written_behind() {
    let mut stage = Stage::new().await;
    // Longer than the tail, so that it is written in between, and in both generations.
    for hour in 0..40_u64 {
        let texts: Vec<String> = (0..50).map(|n| format!("{hour} {n}")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        stage.must_say(&texts).await;
        if hour == 21 {
            // The next time it is written, it is to the other generation.
            stage.bench.age(stage.store(), Duration::from_secs(25 * 3600)).await;
        }
    }
    for _ in 0..2 {
        for text in ["0 0", "20 49", "21 0", "34 49", "39 49"] {
            let end = stage.say(&[text]).await.unwrap();
            assert!(matches!(&end, Appended::Duplicates(found) if found.len() == 1), "{end:?}");
        }
        stage.restart();
    }
}

#[tokio::test]
async fn a_full_disk_refuses_and_recovers() {
    let mut stage = Stage::new().await;
    stage.must_say(&["a"]).await;
    let limit = async |pages: i64| {
        let limited = stage.store().writer.call(move |writer| {
            writer.connection().pragma_query_value(None, "page_count", |row| row.get(0)).and_then(
                |count: i64| {
                    writer.connection().pragma_update(None, "max_page_count", count + pages)
                },
            )
        });
        limited.await.unwrap();
    };
    limit(0).await;
    let long = "x".repeat(100_000);
    let end = stage.say(&[&long]).await;
    assert!(matches!(end, Err(StoreError::Unreachable(_))), "{end:?}");
    assert_eq!(stage.contents().await, ["a"]);
    let limit = stage
        .store()
        .writer
        .call(|writer| writer.connection().pragma_update(None, "max_page_count", 1_000_000));
    limit.await.unwrap();
    // The cmid of what was refused is free.
    stage.must_say(&[&long]).await;
}

#[tokio::test]
async fn a_file_that_has_gone_refuses_and_is_taken_up_again() {
    let mut stage = Stage::new().await;
    stage.must_say(&["a"]).await;
    let (path, aside) = (stage.path(), stage.folder.path().join("aside"));
    fs::rename(&path, &aside).unwrap();
    stage.must_fail().await;
    assert!(stage.store().read(&room(), Range::After(Seq(0)), 1).await.is_err());
    assert!(!path.exists(), "no new file in the place of the old one");
    fs::rename(&aside, &path).unwrap();
    stage.must_say(&["b"]).await;
    assert_eq!(stage.contents().await, ["a", "b"]);

    // Something else in its place is left alone.
    fs::rename(&path, &aside).unwrap();
    fs::write(&path, "precious").unwrap();
    stage.must_fail().await;
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    fs::rename(&aside, &path).unwrap();
    stage.must_say(&["c"]).await;
}

/// Makes a file of another kind, and says why it cannot be opened.
fn refusal(make: impl Fn(&Path)) -> String {
    let (bench, folder) = (Bench::default(), tempfile::tempdir().unwrap());
    let path = folder.path().join("chat.db");
    make(&path);
    let before = fs::read(&path).unwrap();
    let error = bench.at(&path).expect_err("a file that cannot be used");
    assert_eq!(fs::read(&path).unwrap(), before, "it was written to");
    let OpenError::Refused(why) = error else { panic!("{error:?}") };
    assert!(!why.contains('\n'), "{why}");
    why
}

#[test]
fn foreign_files_are_refused_and_left_alone() {
    let other = refusal(|path| {
        let db = rusqlite::Connection::open(path).unwrap();
        db.execute_batch("create table t (x); pragma user_version = 1").unwrap();
    });
    assert!(other.ends_with("it is a file of another application"), "{other}");
    let theirs = refusal(|path| {
        let db = rusqlite::Connection::open(path).unwrap();
        db.execute_batch("pragma application_id = 5; create table t (x)").unwrap();
    });
    assert!(theirs.ends_with("it is a file of another application"), "{theirs}");
    let text = refusal(|path| fs::write(path, "not a database at all".repeat(100)).unwrap());
    assert!(text.ends_with("it is not a database"), "{text}");
}

#[test]
fn a_schema_for_newer_readers_is_refused_and_a_newer_one_for_all_is_not() {
    let change = |sql: &'static str| {
        move |path: &Path| {
            drop(Bench::default().at(path).unwrap());
            rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
        }
    };
    let newer = refusal(change("update meta set value = 2 where key = 'oldest_reader'"));
    assert!(newer.contains("for readers of version 2 and later"), "{newer}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chat.db");
    change("pragma user_version = 2; alter table room add column more integer")(&path);
    drop(Bench::default().at(&path).unwrap());
}

#[test]
fn two_processes_do_not_serve_from_one_file() {
    let (bench, folder) = (Bench::default(), tempfile::tempdir().unwrap());
    let path = folder.path().join("chat.db");
    let first = bench.at(&path).unwrap();
    let second = bench.at(&path).expect_err("it is open");
    assert!(second.to_string().ends_with("another process has it open"), "{second}");
    // An operator may look all the same.
    Sqlite::open(&path, Purpose::Inspect, || 5, || 7).unwrap();
    drop(first);
    bench.at(&path).unwrap();
    let nothing = Sqlite::open(folder.path().join("none"), Purpose::Inspect, || 5, || 7);
    nothing.expect_err("there is no such file");
}
