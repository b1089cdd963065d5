//! The PostgreSQL store, on a real server.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod expanded;
mod server;

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use model::{Fence, RoomId, Seq};
use server::{PASSWORD, server};
use store::{
    Append, Appended, Claim, Claimed, Keeper, OpenError, Postgres, PostgresOptions, Purpose, Range,
    Store, StoreError,
    conformance::{self, Harness},
};

/// Databases of one server; the statements are of one kind.
#[derive(Default)]
struct Bench {
    two_statements: bool,
    /// The next release has been there before.
    is_expanded: bool,
    /// Database by the address of its store.
    databases: Mutex<HashMap<String, String>>,
}

fn options(url: String) -> PostgresOptions {
    PostgresOptions { url, password: None, ca_file: None }
}

async fn open(database: &str, purpose: Purpose) -> Result<Postgres, OpenError> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let random = || NEXT.fetch_add(1, Ordering::Relaxed);
    Postgres::open(&options(server().url(database)), purpose, random).await
}

impl Harness for Bench {
    type Store = Postgres;

    async fn open(&self) -> Postgres {
        let database = server().database();
        let mut store = open(&database, Purpose::Serve).await.unwrap();
        if self.is_expanded {
            drop(store);
            expanded::expand(&database);
            store = open(&database, Purpose::Serve).await.unwrap();
        }
        // The last one that was opened is the one that is tested.
        self.databases.lock().unwrap().insert("now".to_owned(), database);
        store.with(conformance::weak_dedup, !self.two_statements)
    }

    async fn age(&self, _store: &Postgres, by: Duration) {
        let database = self.databases.lock().unwrap()["now"].clone();
        server().sql(&database, &format!("update shaddock_entry set at = at - {}", by.as_millis()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms() {
    conformance::check(&Bench::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms_where_a_statement_may_not_insert_twice() {
    conformance::check(&Bench { two_statements: true, ..Bench::default() }).await;
}

fn room(name: &str) -> RoomId {
    RoomId::parse(name).unwrap()
}

async fn claim(store: &Postgres, name: &str) -> Claimed {
    let claim = Claim { room: room(name), shard: "s".parse().unwrap(), seen: Fence::default() };
    store.claim(&[claim]).await.unwrap().remove(0)
}

fn message(name: &str, claimed: &Claimed, after: u64, text: &str) -> Append {
    conformance::append(&room(name), claimed, Seq(after), &[text])
}

async fn append(store: &Postgres, append: Append) -> Result<Appended, StoreError> {
    store.append(&[append]).await.map(|mut ends| ends.remove(0))
}

#[track_caller]
fn assert_stored(end: &Result<Appended, StoreError>) {
    assert!(matches!(end, Ok(Appended::Stored { .. })), "{end:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_table_is_read_from_end_to_end_while_rooms_are_served() {
    let database = server().database();
    let store = open(&database, Purpose::Serve).await.unwrap();
    // Also where the engine has just counted that there is next to nothing.
    server().sql(&database, "analyze");
    let claimed = claim(&store, "r").await;
    for seq in 0..40 {
        let text = format!("{seq}");
        assert_stored(&append(&store, message("r", &claimed, 1 + seq, &text)).await);
    }
    // A repeated one.
    let end = append(&store, message("r", &claimed, 41, "7")).await;
    assert!(matches!(end, Ok(Appended::Duplicates(_))), "{end:?}");
    for _ in 0..10 {
        store.heads(&[room("r")]).await.unwrap();
        store.superseded(&"s".parse().unwrap()).await.unwrap();
        store.read(&room("r"), Range::After(Seq(20)), 10).await.unwrap();
        store.read(&room("r"), Range::Before(Seq(20)), 10).await.unwrap();
        let author = message("r", &claimed, 41, "7").entries.remove(0);
        let found = store.find(&room("r"), author.body.author_identity, &author.cmid).await;
        assert!(found.unwrap().is_some());
    }
    drop(store);
    await_counts(&database);
    // Making its indexes was a reason.
    let scans = "select seq_scan < 5, idx_scan > 50 from pg_stat_user_tables
                 where relname = 'shaddock_entry'";
    assert_eq!(server().sql(&database, scans), "t|t");
}

/// What a connection has done is counted when it ends.
fn await_counts(database: &str) {
    let open = "select count(*) from pg_stat_activity where datname = current_database()
                and application_name = 'shaddock'";
    while server().sql(database, open) != "0" {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_room_is_read_to_append_to_it_where_most_are_of_one_claim() {
    let database = server().database();
    let store = open(&database, Purpose::Serve).await.unwrap();
    let names: Vec<String> = (0..64).map(|number| format!("r{number}")).collect();
    for name in &names {
        claim(&store, name).await;
    }
    let claimed = claim(&store, "r").await;
    server().sql(&database, "analyze");
    for seq in 0..100 {
        let text = format!("{seq}");
        assert_stored(&append(&store, message("r", &claimed, 1 + seq, &text)).await);
        let pair = [&*format!("{seq} a"), &*format!("{seq} b")];
        let pair = conformance::append(&room("r"), &claimed, Seq(1 + seq), &pair);
        assert!(!matches!(append(&store, pair).await, Ok(Appended::Stored { .. })));
    }
    drop(store);
    await_counts(&database);
    let read = "select idx_tup_read from pg_stat_user_indexes
                where indexrelname = 'shaddock_entry_dedup'";
    assert_eq!(server().sql(&database, read), "0");
}

#[tokio::test]
async fn many_processes_may_make_the_tables_at_once() {
    let database = server().database();
    let stores = join_all((0..8).map(|_| open(&database, Purpose::Serve))).await;
    for store in stores {
        claim(&store.unwrap(), "r").await;
    }
}

/// Why a store is not to be opened.
async fn refusal(options: &PostgresOptions) -> String {
    let error = Postgres::open(options, Purpose::Serve, || 7).await.expect_err("a refusal");
    let OpenError::Refused(why) = error else { panic!("{error:?}") };
    assert!(!why.contains('\n'), "{why}");
    assert!(!why.contains(PASSWORD) && !why.contains("secret"), "{why}");
    why
}

#[tokio::test]
async fn who_may_not_come_in_is_told_why_on_one_line() {
    let database = server().database();
    let with = |password: Option<&str>, url: String| PostgresOptions {
        password: password.map(str::to_owned),
        ..options(url)
    };
    let tcp = server().tcp_url("chat", &database);
    let wrong = refusal(&with(Some("secret"), tcp.clone())).await;
    assert!(wrong.contains("password authentication failed"), "{wrong}");
    let none = refusal(&with(None, tcp.clone())).await;
    assert!(none.contains("password"), "{none}");
    let nowhere = refusal(&options(server().url("nowhere"))).await;
    assert!(nowhere.contains("does not exist"), "{nowhere}");
    refusal(&options("postgres://:secret@:x/".to_owned())).await;
    Postgres::open(&with(Some(PASSWORD), tcp), Purpose::Serve, || 7).await.unwrap();
    let dead = options("postgres://chat@127.0.0.1:1/chat".to_owned());
    let dead = Postgres::open(&dead, Purpose::Serve, || 7).await.expect_err("nobody is there");
    assert!(matches!(dead, OpenError::Unreachable(_)), "{dead:?}");
}

#[tokio::test]
async fn the_database_is_verified_if_the_url_asks_for_it() {
    let database = server().database();
    let url = format!("{}?sslmode=require", server().tcp_url("chat", &database));
    let password = Some(PASSWORD.to_owned());
    let ca_file = Some(server().certificate());
    let trusted = PostgresOptions { url: url.clone(), password: password.clone(), ca_file };
    let store = Postgres::open(&trusted, Purpose::Serve, || 7).await.unwrap();
    claim(&store, "r").await;
    let encrypted = "select count(*) > 0 from pg_stat_ssl s join pg_stat_activity a using (pid)
        where s.ssl and a.datname = current_database()";
    assert_eq!(server().sql(&database, encrypted), "t");
    let unknown = PostgresOptions { url, password, ca_file: None };
    Postgres::open(&unknown, Purpose::Serve, || 7).await.expect_err("nobody vouches for it");
}

#[tokio::test]
async fn whoever_names_an_authority_gets_no_connection_in_the_clear() {
    let encrypted = "select coalesce(bool_and(s.ssl), false)
        from pg_stat_ssl s join pg_stat_activity a using (pid)
        where a.datname = current_database() and a.application_name = 'shaddock'";
    for mode in ["", "?sslmode=require", "?sslmode=verify-ca", "?sslmode=verify-full"] {
        let database = server().database();
        let url = format!("{}{mode}", server().tcp_url("chat", &database));
        let (password, ca_file) = (Some(PASSWORD.to_owned()), Some(server().certificate()));
        let options = PostgresOptions { url, password, ca_file };
        let store = Postgres::open(&options, Purpose::Serve, || 7).await.unwrap();
        assert_eq!(server().sql(&database, encrypted), "t", "{mode}");
        drop(store);
    }
    for mode in ["disable", "prefer"] {
        let url = format!("{}?sslmode={mode}", server().tcp_url("chat", "postgres"));
        let (password, ca_file) = (Some(PASSWORD.to_owned()), Some(server().certificate()));
        let refused = refusal(&PostgresOptions { url, password, ca_file }).await;
        assert!(refused.contains("may do without TLS"), "{refused}");
    }
}

#[tokio::test]
async fn a_schema_for_newer_readers_is_refused_and_a_newer_one_for_all_is_not() {
    let database = server().database();
    let none = open(&database, Purpose::Inspect).await.expect_err("there is nothing yet");
    assert!(none.to_string().contains("there is none"), "{none}");
    drop(open(&database, Purpose::Serve).await.unwrap());
    server().sql(
        &database,
        "update shaddock_schema set version = 2; alter table shaddock_room add column more int8",
    );
    let store = open(&database, Purpose::Serve).await.unwrap();
    claim(&store, "r").await;
    server().sql(&database, "update shaddock_schema set oldest_reader = 2");
    let newer = refusal(&options(server().url(&database))).await;
    assert!(newer.contains("for readers of version 2 and later"), "{newer}");
}

#[tokio::test]
async fn a_restored_database_serves_nothing_until_it_has_new_epochs() {
    let database = server().database();
    let store = open(&database, Purpose::Serve).await.unwrap();
    let before = claim(&store, "r").await;
    assert_stored(&append(&store, message("r", &before, 1, "a")).await);
    drop(store);
    server().sql(&database, "update shaddock_schema set identity = 'another/1'");
    let store = open(&database, Purpose::Serve).await.unwrap();
    let read = store.read(&room("r"), Range::After(Seq(0)), 10).await;
    assert!(matches!(read, Err(StoreError::Restored(_))), "{read:?}");
    let end = append(&store, message("r", &before, 2, "b")).await;
    assert!(matches!(end, Err(StoreError::Restored(_))), "{end:?}");
    // An operator's tool is let in.
    let tool = open(&database, Purpose::Inspect).await.unwrap();
    let renewed = tool.new_epoch(&room("r")).await.unwrap().unwrap();
    assert_ne!(renewed.epoch, before.epoch);
    tool.adopt().await.unwrap();
    let after = claim(&store, "r").await;
    assert_eq!(after.epoch, renewed.epoch);
    assert_stored(&append(&store, message("r", &after, after.term.0, "b")).await);
}

/// An append that waits for a transaction of somebody else, whose end it does not
/// see; and the means to let it go on.
async fn stuck(end_it: &str) -> (Result<Appended, StoreError>, bool) {
    let database = server().database();
    let store = open(&database, Purpose::Serve).await.unwrap();
    let claimed = claim(&store, "r").await;
    // Somebody has the number, and does not commit for a while.
    let sql = "begin; insert into shaddock_entry (room, seq, term, kind, at)
        select room, 2, 1, 2, 0 from shaddock_entry where seq = 1; select pg_sleep(4); rollback";
    let blocker = database.clone();
    let blocks = tokio::task::spawn_blocking(move || server().sql(&blocker, sql));
    let is_there = "select count(*) from pg_stat_activity where query like '%pg_sleep(4)%'
        and datname = current_database() and pid <> pg_backend_pid() and wait_event = 'PgSleep'";
    while server().sql(&database, is_there) != "1" {}
    let appending = append(&store, message("r", &claimed, 1, "a"));
    let ending = async {
        let waits = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'
            and datname = current_database()";
        while server().sql(&database, waits) != "1" {
            tokio::task::yield_now().await;
        }
        if !end_it.is_empty() {
            server().sql(&database, end_it);
        }
    };
    let (end, ()) = futures::future::join(appending, ending).await;
    blocks.await.unwrap();
    // It is over for good: who comes next is served.
    assert_stored(&append(&store, message("r", &claimed, 1, "b")).await);
    let found = store.find(&room("r"), model::Identity([1; 16]), &"a".into()).await.unwrap();
    (end, found.is_some())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_too_long_for_another_has_written_nothing() {
    let (end, is_there) = stuck("").await;
    assert!(matches!(end, Err(StoreError::Unreachable(_))), "{end:?}");
    assert!(!is_there);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_leaves_the_outcome_unknown() {
    let kill = "select pg_terminate_backend(pid) from pg_stat_activity
        where wait_event_type = 'Lock' and datname = current_database()";
    let (end, is_there) = stuck(kill).await;
    assert!(matches!(end, Err(StoreError::Unknown(_))), "{end:?}");
    assert!(!is_there);
}

#[tokio::test]
async fn a_database_that_takes_nothing_refuses_and_recovers() {
    let database = server().database();
    let store = open(&database, Purpose::Serve).await.unwrap();
    let claimed = claim(&store, "r").await;
    let set = |value: &str| {
        let set = format!("alter database {database} set default_transaction_read_only = {value}");
        server().sql("postgres", &set);
        let cut = format!(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{database}'"
        );
        server().sql("postgres", &cut);
    };
    set("on");
    let mut end = append(&store, message("r", &claimed, 1, "a")).await;
    // The first call may still have had a connection that was cut.
    while matches!(end, Err(StoreError::Unknown(_))) {
        end = append(&store, message("r", &claimed, 1, "a")).await;
    }
    assert!(matches!(end, Err(StoreError::Unreachable(_))), "{end:?}");
    set("off");
    while end.is_err() {
        end = append(&store, message("r", &claimed, 1, "a")).await;
    }
    assert_stored(&end);
}
