//! Who is in a room, for back ends: the remotes of the original, and `Members`.

use rpc::chat::v1 as pb;

use crate::{Chat, PATIENCE, commands::join, connector::Connector, why};

fn add(room: &str, user: &str) -> pb::AddRequest {
    pb::AddRequest { room: room.into(), user: user.into() }
}

fn kick(room: &str, user: &str, reason: &str) -> pb::KickRequest {
    pb::KickRequest { room: room.into(), user: user.into(), reason: reason.into() }
}

async fn members(chat: &Chat, room: &str) -> String {
    let request = pb::MembersRequest { room: room.into() };
    let answer = chat.rpc().members(request).await.unwrap().into_inner();
    let member = |m: &pb::MemberSummary| {
        let grace = if m.in_grace { " in grace" } else { "" };
        format!("{} {}/{}{grace}", m.user, m.connector_id, m.session_id)
    };
    let members: Vec<String> = answer.members.iter().map(member).collect();
    format!("{}: {}", answer.shard_id, members.join(", "))
}

#[tokio::test]
async fn a_name_is_added_and_kicked() {
    let chat = Chat::start(&["--room-members-max=3"]).await;
    let mut a = Connector::open(&chat, "a").await;
    a.ask(join("r", 1, "ann"), 2).await;
    let mut remote = chat.remote();
    let added = remote.add(add("r", "bot")).await.unwrap().into_inner();
    assert_eq!(added.users, ["ann", "bot"]);
    assert_eq!(a.told().await, "+bot");
    assert_eq!(why(&remote.add(add("r", "bot")).await.unwrap_err()), "AlreadyExists NAME_TAKEN");
    assert_eq!(why(&remote.add(add("r", "ann")).await.unwrap_err()), "AlreadyExists NAME_TAKEN");
    assert_eq!(a.ask(join("r", 2, "bob"), 2).await, ["#2 in @1 [ann bob bot] new", "+bob(2)"]);
    assert_eq!(why(&remote.add(add("r", "eve")).await.unwrap_err()), "ResourceExhausted ROOM_FULL");
    // A room that nobody was in.
    assert_eq!(remote.add(add("new", "bot")).await.unwrap().into_inner().users, ["bot"]);

    let get = pb::GetRequest { room: "r".into() };
    assert_eq!(remote.get(get).await.unwrap().into_inner().users, ["ann", "bob", "bot"]);
    assert!(remote.kick(kick("r", "bot", "")).await.unwrap().into_inner().kicked);
    assert_eq!(a.told().await, "-bot");
    assert!(remote.kick(kick("r", "bob", "")).await.unwrap().into_inner().kicked);
    assert_eq!(a.told_of(2).await, ["close 2: kick", "-bob"]);
    // A reason is cut where a character ends.
    let long = "é".repeat(200);
    assert!(remote.kick(kick("r", "ann", &long)).await.unwrap().into_inner().kicked);
    assert_eq!(a.told().await, format!("close 1: {}", "é".repeat(128)));
    assert!(!remote.kick(kick("r", "ann", "")).await.unwrap().into_inner().kicked);
    assert!(!remote.kick(kick("nowhere", "ann", "")).await.unwrap().into_inner().kicked);
    a.check_digest().await;
}

#[tokio::test]
async fn wrong_names_are_refused() {
    let chat = Chat::start(&[]).await;
    let mut remote = chat.remote();
    let invalid = "InvalidArgument INVALID_ARGUMENT";
    for (room, user) in [("", "ann"), ("a*b", "ann"), ("r", ""), ("r", "a\0"), ("r", "*")] {
        assert_eq!(why(&remote.add(add(room, user)).await.unwrap_err()), invalid);
        assert_eq!(why(&remote.kick(kick(room, user, "")).await.unwrap_err()), invalid);
    }
    let get = pb::GetRequest { room: "*".into() };
    assert_eq!(why(&remote.get(get).await.unwrap_err()), invalid);
    let request = pb::MembersRequest { room: "*".into() };
    assert_eq!(why(&chat.rpc().members(request).await.unwrap_err()), invalid);
}

#[tokio::test]
async fn members_are_listed_with_where_they_are() {
    let chat = Chat::start(&[]).await;
    let mut a = Connector::open(&chat, "a").await;
    let mut b = Connector::open(&chat, "b").await;
    assert_eq!(members(&chat, "r").await, ": ");
    a.ask(join("r", 1, "ann"), 2).await;
    b.ask(join("r", 7, "bob"), 2).await;
    chat.remote().add(add("r", "bot")).await.unwrap();
    assert_eq!(members(&chat, "r").await, "chat-0: ann a/1, bob b/7, bot /0");
    drop(b);
    let in_grace = async {
        while members(&chat, "r").await != "chat-0: ann a/1, bob b/7 in grace, bot /0" {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, in_grace).await.expect("bob is in grace");
}
