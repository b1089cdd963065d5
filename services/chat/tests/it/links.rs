//! A link: how it begins, what it carries, in which batches.

use rpc::chat::v1::command::Command as C;

use crate::{
    Chat, PATIENCE,
    commands::{join, leave, say, whisper},
    connector::Connector,
};

#[tokio::test]
async fn members_of_two_connectors_see_each_other_come_talk_and_go() {
    let chat = Chat::start(&[]).await;
    let mut a = Connector::open(&chat, "a").await;
    let mut b = Connector::open(&chat, "b").await;
    assert_eq!(a.ask(join("r", 1, "ann"), 2).await, ["#1 in @1 [ann] new", "+ann(1)"]);
    assert_eq!(b.ask(join("r", 1, "bob"), 2).await, ["#1 in @1 [ann bob] new", "+bob(1)"]);
    assert_eq!(a.told().await, "+bob");
    assert_eq!(b.ask(join("r", 2, "ann"), 1).await, ["#2 NameTaken"]);

    assert_eq!(a.ask(say("r", 1, "hi"), 2).await, ["#2 stored 2", "2<1 ann: hi"]);
    assert_eq!(b.told().await, "2<1 ann: hi");
    assert_eq!(a.ask(whisper("r", 1, "bob", "psst"), 1).await, ["#3 stored 3"]);
    assert_eq!(b.told().await, "3<2 ann>bob: psst");
    assert_eq!(a.ask(whisper("r", 1, "cat", "psst!"), 1).await, ["#4 NoSuchTarget"]);
    // The same again: the answer is the same, and nobody hears it twice.
    assert_eq!(a.ask(say("r", 1, "hi"), 1).await, ["#5 stored 2"]);
    assert_eq!(a.ask(say("elsewhere", 1, "hi"), 1).await, ["#6 Moved"]);
    assert_eq!(b.ask(say("r", 7, "hi"), 1).await, ["#3 NotAMember"]);

    assert_eq!(b.ask(leave("r", 1), 1).await, ["#4 gone"]);
    assert_eq!(a.told().await, "-bob");
    assert_eq!(b.ask(leave("r", 1), 1).await, ["#5 gone"]);
    assert_eq!(b.ask(leave("nowhere", 1), 1).await, ["#6 gone"]);
}

#[tokio::test]
async fn a_batch_is_answered_by_few_messages() {
    let chat = Chat::start(&[]).await;
    let mut a = Connector::open(&chat, "a").await;
    a.ask(join("r", 1, "ann"), 2).await;
    let before = a.batches;
    a.send((0..32).map(|n| say("r", 1, &format!("m{n}")))).await;
    let told = a.told_of(64).await;
    for n in 0..32 {
        let seq = n + 2;
        assert_eq!(told[2 * n], format!("#{} stored {seq}", n + 2));
        assert_eq!(told[2 * n + 1], format!("{seq}<{} ann: m{n}", seq - 1));
    }
    assert!(a.batches - before <= 6, "{} messages", a.batches - before);
}

#[tokio::test]
async fn one_message_may_carry_everything() {
    let chat = Chat::start(&[]).await;
    let mut a = Connector::open(&chat, "a").await;
    // What comes while a room is being claimed waits for it, in order.
    a.send([join("r", 1, "ann"), say("r", 1, "hi"), leave("r", 1), join("s", 2, "bob")]).await;
    let mut told = a.told_of(6).await;
    // Two rooms keep their own order.
    let at = told.iter().position(|told| told.ends_with("[bob] new")).unwrap();
    assert_eq!((told.remove(at), told.remove(at)), ("#4 in @1 [bob] new".into(), "+bob(2)".into()));
    assert_eq!(told, ["#1 in @1 [ann] new", "+ann(1)", "#3 gone", "#2 stored 2"]);
}

#[tokio::test]
async fn commands_may_come_with_the_hello() {
    let chat = Chat::start(&[]).await;
    let mut a = Connector::try_open(&chat, vec![crate::commands::hello("a"), join("r", 1, "ann")])
        .await
        .unwrap();
    assert_eq!(a.told().await, "welcome of chat-0, volatile");
    // Its number was 0: it is not answered.
    assert_eq!(a.told().await, "+ann(1)");
}

#[tokio::test]
async fn content_has_a_limit() {
    let chat = Chat::start(&["--content-max=8"]).await;
    let mut a = Connector::open(&chat, "a").await;
    a.ask(join("r", 1, "ann"), 2).await;
    let empty = crate::commands::saying("r", 1, "*", "x");
    let empty = C::Publish(rpc::chat::v1::Publish { content: String::new(), ..empty });
    assert_eq!(a.ask(empty, 1).await, ["#2 ContentLength"]);
    assert_eq!(a.ask(say("r", 1, "123456789"), 1).await, ["#3 ContentLength"]);
    assert_eq!(a.ask(say("r", 1, "1234567é"), 1).await, ["#4 ContentLength"]);
    assert_eq!(a.ask(say("r", 1, "12345678"), 2).await, ["#5 stored 2", "2<1 ann: 12345678"]);
}

#[tokio::test]
async fn what_waits_to_be_stored_and_who_is_in_have_limits() {
    let chat = Chat::start(&["--room-members-max=1", "--room-pending-max=2"]).await;
    let mut a = Connector::open(&chat, "a").await;
    a.ask(join("r", 1, "ann"), 2).await;
    assert_eq!(a.ask(join("r", 2, "bob"), 1).await, ["#2 RoomFull"]);
    // While the room is claimed nothing is stored, so that all of these meet there.
    a.send(
        std::iter::once(join("s", 3, "cat")).chain((0..3).map(|n| say("s", 3, &format!("{n}")))),
    )
    .await;
    let told = a.told_of(7).await;
    assert_eq!(told[..3], ["#3 in @1 [cat] new", "+cat(3)", "#6 Overloaded"]);
    assert_eq!(told[3..], ["#4 stored 2", "2<1 cat: 0", "#5 stored 3", "3<2 cat: 1"]);
}

#[tokio::test]
async fn a_second_link_of_a_connector_replaces_the_first() {
    let chat = Chat::start(&[]).await;
    let mut a = Connector::open(&chat, "a").await;
    let mut b = Connector::open(&chat, "b").await;
    a.ask(join("r", 1, "ann"), 2).await;
    b.ask(join("r", 1, "bob"), 2).await;
    let at = b.at("r");

    let mut again = Connector::open(&chat, "b").await;
    assert_eq!(crate::why(&b.end().await.unwrap()), "Aborted -");
    assert_eq!(a.ask(say("r", 1, "hi"), 3).await, ["+bob", "#2 stored 2", "2<1 ann: hi"]);
    let rejoin = crate::commands::rejoin("r", at, &[(1, "bob")], None);
    assert_eq!(again.ask(rejoin, 1).await, ["#1 Complete @2 [ann bob] missed 2"]);
    // Nobody noticed.
    assert_eq!(a.ask(say("r", 1, "ho"), 2).await, ["#3 stored 3", "3<2 ann: ho"]);
    assert_eq!(again.told().await, "3<2 ann: ho");
}

#[tokio::test]
async fn a_link_that_ends_leaves_names_in_grace() {
    let chat = Chat::start(&["--grace=100ms"]).await;
    let mut a = Connector::open(&chat, "a").await;
    let mut b = Connector::open(&chat, "b").await;
    a.ask(join("r", 1, "ann"), 2).await;
    b.ask(join("r", 1, "bob"), 2).await;
    drop(b);
    assert_eq!(a.told_of(2).await, ["+bob", "-bob"]);
    // And only once.
    assert_eq!(a.ask(say("r", 1, "hi"), 2).await, ["#2 stored 2", "2<1 ann: hi"]);
}

#[tokio::test]
async fn a_proven_successor_on_another_connector_closes_the_first() {
    let chat = Chat::start(&[]).await;
    let mut a = Connector::open(&chat, "a").await;
    let mut b = Connector::open(&chat, "b").await;
    a.ask(crate::commands::join_proven("r", 1, "ann"), 2).await;
    assert_eq!(b.ask(crate::commands::join_proven("r", 1, "ann"), 1).await, ["#1 in @1 [ann]"]);
    assert_eq!(a.told().await, "close 1: superseded: logged in elsewhere");
}

#[tokio::test]
async fn rooms_that_nobody_is_in_are_unloaded() {
    let chat = Chat::start(&["--room-idle=1ms"]).await;
    let mut a = Connector::open(&chat, "a").await;
    a.ask(join("r", 1, "ann"), 2).await;
    a.ask(leave("r", 1), 1).await;
    let gone = async {
        loop {
            let listed = chat.rpc().rooms(rpc::chat::v1::RoomsRequest::default()).await.unwrap();
            if listed.into_inner().total == 0 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the room is unloaded");
    // Its log went with it: this is another one, from 1.
    assert_eq!(a.ask(join("r", 1, "ann"), 2).await, ["#3 in @1 [ann] new", "+ann(1)"]);
}
