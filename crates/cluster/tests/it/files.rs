//! `@FILE`: how it is read, followed and refused. Time is paused, so that the
//! polls come as fast as the file is read.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use cluster::{List, Shard};
use tokio::{sync::watch, time::sleep};

use crate::until;

fn file(name: &str, content: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, content).unwrap();
    path
}

fn parse(path: &std::path::Path) -> Result<List<Shard>, String> {
    format!("@{}", path.display()).parse().map_err(|error: cluster::ListError| error.to_string())
}

fn follow(list: List<Shard>) -> watch::Receiver<Arc<[Shard]>> {
    let (entries, follow) = list.watch();
    tokio::spawn(follow);
    entries
}

#[test]
fn a_file_has_one_entry_a_line_and_comments() {
    let path = file("commented", "# all of them\n\n a=h:1 # the first\r\nb=h:2");
    let entries: Vec<String> =
        parse(&path).unwrap().entries().iter().map(|s| format!("{}={}", s.id, s.addr)).collect();
    assert_eq!(entries, ["a=h:1", "b=h:2"]);
}

#[test]
fn a_wrong_file_is_refused_with_its_name_and_line() {
    let path = file("wrong-line", "a=h:1\n# two\nb=h\n");
    let name = path.display();
    assert_eq!(parse(&path).unwrap_err(), format!("{name}:3: \"b=h\" must be id=host:port"));

    let path = file("empty", "# nobody\n");
    assert_eq!(parse(&path).unwrap_err(), format!("{} lists nobody", path.display()));

    let path = file("huge", &"#".repeat((1 << 20) + 1));
    assert!(parse(&path).unwrap_err().ends_with("it has more than 1048576 bytes"));

    let path = path.with_file_name("does-not-exist");
    let refused = parse(&path).unwrap_err();
    assert!(refused.starts_with(&format!("cannot read {}: ", path.display())), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_file_is_followed_and_a_broken_one_changes_nothing() {
    let path = file("followed", "a=h:1\n");
    let mut entries = follow(parse(&path).unwrap());
    assert_eq!(entries.borrow_and_update().len(), 1);

    fs::write(&path, "a=h:1\nb=h:2\n").unwrap();
    until(&mut entries, |entries| entries.len() == 2).await;

    for broken in ["a=h:1\nb=", "", "\u{0}"] {
        fs::write(&path, broken).unwrap();
        polls().await;
        assert!(!entries.has_changed().unwrap(), "{broken:?}");
    }
    fs::remove_file(&path).unwrap();
    polls().await;
    assert_eq!(entries.borrow().len(), 2);

    // Another spelling of the same list is not a change.
    fs::write(&path, "# again\na=h:1\nb=h:2\n").unwrap();
    polls().await;
    assert!(!entries.has_changed().unwrap());

    fs::write(&path, "c=h:3\n").unwrap();
    until(&mut entries, |entries| entries.len() == 1).await;
}

/// Lets the file be read a few times. Nothing tells when nothing happened, so this
/// is time, and it is virtual.
async fn polls() {
    sleep(Duration::from_secs(5)).await;
}

#[tokio::test(start_paused = true)]
async fn following_ends_when_nobody_listens() {
    let (entries, follow) = List::<Shard>::fixed([]).watch();
    drop(entries);
    follow.await;
}
