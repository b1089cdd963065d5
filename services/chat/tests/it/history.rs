//! What members may read of what was said, and which rooms there are.

use crate::{
    Chat, PATIENCE,
    commands::{history, join, join_proven, join_redirected, leave, list_rooms, say, whisper},
    connector::Connector,
    room_of,
    shared::{Call, Shared},
};

#[tokio::test]
async fn a_member_reads_all_but_the_whispers_of_others() {
    let store = Shared::new();
    let chat = Chat::start_on("chat-0", &[], Some(store.clone())).await;
    let mut a = Connector::open(&chat, "a").await;
    a.ask(join("r", 1, "ann"), 2).await;
    a.ask(join("r", 2, "bob"), 2).await;
    a.ask(join("r", 3, "cat"), 2).await;
    for (session, target) in [(1, "*"), (1, "bob"), (2, "cat"), (3, "*"), (2, "ann")] {
        let content = format!("{session} to {target}");
        a.ask(whisper("r", session, target, &content), 2).await;
    }
    // 2: ann, 3: ann to bob, 4: bob to cat, 5: cat, 6: bob to ann, 7: ann.
    a.ask(say("r", 1, "last"), 2).await;
    for (session, pages, limit, expected) in [
        (1, "", 9, "[2 3 5 6 7] @7"),
        (2, "", 9, "[2 3 4 5 6 7] @7"),
        (3, "", 9, "[2 4 5 7] @7"),
        (1, "", 2, "[6 7] ... @7"),
        (1, "<6", 2, "[3 5] ... @7"),
        (1, "<3", 2, "[2] @7"),
        (1, "<2", 2, "[] @7"),
        (1, ">0", 2, "[2 3] ... @7"),
        (1, ">3", 2, "[5 6] ... @7"),
        (3, ">4", 2, "[5 7] @7"),
        (1, ">7", 2, "[] @7"),
        (1, ">99", 2, "[] @7"),
        // At least one, whatever is asked for.
        (1, "", 0, "[7] ... @7"),
    ] {
        let told = a.ask(history("r", session, pages, limit), 1).await;
        assert!(told[0].ends_with(expected), "{session} {pages} {limit}: {told:?}");
    }
}

#[tokio::test]
async fn what_retention_took_is_told_of() {
    let store = Shared::keeping(3);
    let contents: Vec<String> = (0..9).map(|n| format!("{n}")).collect();
    store.fill("r", &contents.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let chat = Chat::start_on("chat-0", &[], Some(store)).await;
    let mut a = Connector::open(&chat, "a").await;
    a.ask(join("r", 1, "ann"), 2).await;
    // 9, 10 and the claim are left.
    assert_eq!(a.ask(history("r", 1, "", 9), 1).await, ["#2 8<[9 10] @11"]);
    assert_eq!(a.ask(history("r", 1, ">1", 9), 1).await, ["#3 8<[9 10] @11"]);
}

#[tokio::test]
async fn nobody_reads_who_is_not_in() {
    let chat = Chat::start(&[]).await;
    let mut a = Connector::open(&chat, "a").await;
    assert_eq!(a.ask(history("r", 1, "", 9), 1).await, ["#1 Unavailable"]);
    a.ask(join("r", 1, "ann"), 2).await;
    assert_eq!(a.ask(history("r", 2, "", 9), 1).await, ["#3 NotAMember"]);
    a.ask(join("r", 2, "bob"), 2).await;
    a.ask(leave("r", 1), 2).await;
    assert_eq!(a.ask(history("r", 1, "", 9), 1).await, ["#6 NotAMember"]);
    // The new one under the old name is not the old one.
    a.ask(whisper("r", 2, "bob", "to myself"), 2).await;
    a.ask(join_proven("r", 3, "ann"), 2).await;
    assert_eq!(a.ask(history("r", 3, "", 9), 1).await, ["#9 [] @2"]);
    let asked_twice = rpc::chat::v1::ReadHistory {
        room: "r".into(),
        session_id: 2,
        after: Some(1),
        before: Some(2),
        limit: 1,
    };
    a.send([rpc::chat::v1::command::Command::ReadHistory(asked_twice)]).await;
    assert_eq!(crate::why(&a.end().await.unwrap()), "InvalidArgument MALFORMED");
}

#[tokio::test]
async fn nobody_answers_who_has_lost_the_room() {
    let store = Shared::new();
    let (zero, one) = Chat::two_on(&[], Some(&store)).await;
    one.see(&[&one]);
    let room = room_of(&one, &[&zero, &one]);
    let mut a = Connector::open(&zero, "a").await;
    let mut c = Connector::open(&one, "c").await;
    a.ask(join_redirected(&room, 1, "ann"), 2).await;
    c.ask(join(&room, 1, "cat"), 2).await;
    let moved = format!("to chat-1 {}", one.addr);
    let told = a.ask(history(&room, 1, "", 9), 2).await;
    assert_eq!(told, [format!("moved {moved}"), format!("#2 Moved {moved}")]);
}

#[tokio::test]
async fn a_read_holds_nobody_up_and_fails_alone() {
    let store = Shared::new();
    let chat = Chat::start_on("chat-0", &[], Some(store.clone())).await;
    let mut a = Connector::open(&chat, "a").await;
    a.ask(join("r", 1, "ann"), 2).await;
    store.hold_next(Call::Read);
    a.send([history("r", 1, "", 9)]).await;
    store.until(Call::Read, 1).await;
    a.ask(say("r", 1, "hi"), 2).await;
    store.let_go();
    assert_eq!(a.told().await, "#2 [] @1");
    store.fail(Call::Read, Some(store::StoreError::Unreachable("down".into())));
    assert_eq!(a.ask(history("r", 1, "", 9), 1).await, ["#4 Unavailable"]);
}

#[tokio::test]
async fn the_newest_page_is_that_of_the_head_that_it_names() {
    let store = Shared::new();
    let chat = Chat::start_on("chat-0", &[], Some(store.clone())).await;
    let mut a = Connector::open(&chat, "a").await;
    for (session, name) in [(1, "ann"), (2, "bob"), (3, "cat")] {
        a.ask(join("r", session, name), 2).await;
    }
    a.ask(say("r", 1, "hi"), 2).await;
    a.ask(whisper("r", 2, "cat", "psst"), 2).await;
    // The newest entry is for others, so the log is read again; meanwhile more is said.
    store.hold(Call::Read);
    a.send([history("r", 1, "", 1)]).await;
    store.until(Call::Read, 1).await;
    a.ask(say("r", 1, "late"), 2).await;
    store.let_go();
    assert_eq!(a.told().await, "#6 [2] @3");
}

#[tokio::test]
async fn rooms_are_listed_by_how_many_are_in() {
    let chat = Chat::start(&[]).await;
    let mut a = Connector::open(&chat, "a").await;
    assert_eq!(a.ask(list_rooms(9), 1).await, ["#1 rooms: "]);
    for (session, room) in [(1, "b"), (2, "c"), (3, "c"), (4, "a"), (5, "d")] {
        a.ask(join(room, session, &format!("user {session}")), 2).await;
    }
    a.ask(leave("d", 5), 1).await;
    // A list may be a second old.
    let listed = async {
        loop {
            let told = a.ask(list_rooms(9), 1).await.remove(0);
            if told.ends_with("rooms: c 2, a 1, b 1") {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, listed).await.expect("the list");
    assert!(a.ask(list_rooms(1), 1).await[0].ends_with("rooms: c 2"));
}
