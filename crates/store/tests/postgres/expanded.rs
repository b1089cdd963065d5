//! This release on the schema of the next one, which has only added to it.

use super::*;

/// What the next release does to the tables when it starts, each alone.
const EXPAND: &[&str] = &[
    "alter table shaddock_room add column more int8",
    "alter table shaddock_entry add column more int8",
    "create table shaddock_more (room int8 primary key, more bytea)",
    "create index shaddock_entry_more on shaddock_entry (room, more)",
    "update shaddock_schema set version = 2",
];

pub(crate) fn expand(database: &str) {
    for statement in EXPAND {
        server().sql(database, statement);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms_on_the_schema_that_the_next_release_has_expanded() {
    conformance::check(&Bench { is_expanded: true, ..Bench::default() }).await;
}

/// Appends so many messages, one by one; says where the log is then.
async fn talk(store: &Postgres, name: &str, by: &Claimed, from: u64, count: u64) -> u64 {
    for seq in from..from + count {
        assert_stored(&append(store, message(name, by, seq, &format!("{name} {seq}"))).await);
    }
    from + count
}

/// How the next release appends: it fills its column. Says how many were stored.
fn append_as_next(database: &str, name: &str, by: &Claimed, after: u64) -> String {
    let term = by.term.0;
    let sql = format!(
        "with stored as (
             insert into shaddock_entry (room, seq, term, kind, author, author_name, cmid, dedup,
                 digest, body, at, more)
             select r.id, {after} + 1, {term}, 0, decode(repeat('01', 16), 'hex'), 'ann',
                 'next {after}', {after}, 1, 'next {after}', 0, {after}
             from shaddock_room r join shaddock_entry p on p.room = r.id
             where r.name = '{name}' and p.seq = {after} and p.term = {term}
             on conflict (room, seq) do nothing returning 1
         ) select count(*) from stored"
    );
    server().sql(database, &sql)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_releases_append_while_and_after_the_schema_is_expanded() {
    let database = server().database();
    let store = open(&database, Purpose::Serve).await.unwrap();
    let mine = claim(&store, "mine").await;
    let expanded = {
        let database = database.clone();
        tokio::task::spawn_blocking(move || expand(&database))
    };
    let mut head = 1;
    while !expanded.is_finished() {
        head = talk(&store, "mine", &mine, head, 5).await;
    }
    expanded.await.unwrap();

    // One more process of this release starts only now.
    let late = open(&database, Purpose::Serve).await.unwrap();
    let (theirs, later) = (claim(&store, "next").await, claim(&late, "late").await);
    let next = {
        let (database, theirs) = (database.clone(), theirs.clone());
        tokio::task::spawn_blocking(move || {
            (1..=20).map(|after| append_as_next(&database, "next", &theirs, after)).collect()
        })
    };
    let (head, _) = futures::future::join(
        talk(&store, "mine", &mine, head, 40),
        talk(&late, "late", &later, 1, 40),
    )
    .await;
    let stored: Vec<String> = next.await.unwrap();
    assert_eq!(stored, vec!["1"; 20]);

    // Each reads what the others wrote, supersedes, and is superseded.
    let page = store.read(&room("next"), Range::After(Seq(1)), 100).await.unwrap();
    let contents = page.entries.iter().map(|row| row.said.as_ref().unwrap().body.content.clone());
    let expected = (1..=20).map(|after| format!("next {after}").into());
    assert!(contents.eq(expected), "{page:?}");
    let taken = claim(&late, "next").await;
    assert_eq!(append_as_next(&database, "next", &theirs, 21), "0");
    talk(&late, "next", &taken, taken.term.0, 5).await;
    claim(&late, "mine").await;
    let end = append(&store, message("mine", &mine, head, "too late")).await;
    assert!(matches!(end, Ok(Appended::Superseded)), "{end:?}");
    // The hashes of the next release's cmids, which it wrote long ago, are not ours to know.
    let checked = store::tools::check(&late, store::KNOWN_MS).await.unwrap();
    assert_eq!(checked.complaints, [""; 0]);
}
