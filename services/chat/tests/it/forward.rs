//! Calls for rooms of another shard.

use rpc::{FORWARDED, chat::v1 as pb};
use tonic::Request;

use crate::{Chat, api::publish, commands::join, connector::Connector, room_of, why};

#[tokio::test]
async fn a_call_is_passed_on_to_whoever_serves_the_room() {
    let (zero, one) = Chat::two(&[]).await;
    let room = room_of(&one, &[&zero, &one]);
    let mut a = Connector::open(&one, "a").await;
    a.ask(join(&room, 1, "ann"), 2).await;

    let stored = zero.rpc().publish(publish(&room, "hi")).await.unwrap().into_inner();
    assert_eq!((stored.epoch, stored.seq), (a.at(&room).epoch, 2));
    assert_eq!(a.told().await, "2<1 bot: hi");
    let request = pb::HistoryRequest { room: room.clone(), ..Default::default() };
    let page = zero.rpc().history(request).await.unwrap().into_inner();
    assert_eq!((page.head, page.entries[0].content.as_str()), (2, "hi"));
    let request = pb::MembersRequest { room: room.clone() };
    let listed = zero.rpc().members(request).await.unwrap().into_inner();
    assert_eq!((listed.shard_id.as_str(), listed.members[0].user.as_str()), ("chat-1", "ann"));

    let user = || "bot".to_owned();
    let add = pb::AddRequest { room: room.clone(), user: user() };
    assert_eq!(zero.remote().add(add).await.unwrap().into_inner().users, ["ann", "bot"]);
    let get = pb::GetRequest { room: room.clone() };
    assert_eq!(zero.remote().get(get).await.unwrap().into_inner().users, ["ann", "bot"]);
    let kick = pb::KickRequest { room: room.clone(), user: user(), reason: String::new() };
    assert!(zero.remote().kick(kick).await.unwrap().into_inner().kicked);
    assert_eq!(a.told_of(2).await, ["+bot", "-bot"]);
    // A refusal comes back as it is.
    let request = pb::PublishRequest { target: user(), ..publish(&room, "psst") };
    let refused = zero.rpc().publish(request).await.unwrap_err();
    assert_eq!(why(&refused), "NotFound NO_SUCH_TARGET");
}

#[tokio::test]
async fn rooms_of_all_shards_are_listed_together() {
    let (zero, one) = Chat::two(&[]).await;
    let (theirs, ours) = (room_of(&one, &[&zero, &one]), room_of(&zero, &[&zero, &one]));
    for room in [&theirs, &ours] {
        zero.rpc().publish(publish(room, "hi")).await.unwrap();
    }
    let rooms = async |all| {
        let request = pb::RoomsRequest { all, limit: 0 };
        let mut answer = zero.rpc().rooms(request).await.unwrap().into_inner();
        assert_eq!(answer.total, answer.rooms.len() as u64);
        assert!(answer.rooms.is_sorted_by(|one, other| one.room <= other.room));
        answer.rooms.sort_by(|one, other| one.shard_id.cmp(&other.shard_id));
        answer.rooms.into_iter().map(|r| format!("{} {}", r.shard_id, r.room)).collect::<Vec<_>>()
    };
    assert_eq!(rooms(false).await, [format!("chat-0 {ours}")]);
    assert_eq!(rooms(true).await, [format!("chat-0 {ours}"), format!("chat-1 {theirs}")]);
}

#[tokio::test]
async fn a_room_that_is_here_is_not_looked_for_elsewhere() {
    let (zero, one) = Chat::two(&[]).await;
    let room = room_of(&one, &[&zero, &one]);
    let mut a = Connector::open(&zero, "a").await;
    a.ask(crate::commands::join_redirected(&room, 1, "ann"), 2).await;
    zero.rpc().publish(publish(&room, "hi")).await.unwrap();
    assert_eq!(a.told().await, "2<1 bot: hi");
}

#[tokio::test]
async fn a_call_that_was_passed_on_is_not_passed_on_again_and_claims_nothing() {
    let (zero, one) = Chat::two(&[]).await;
    let room = room_of(&one, &[&zero, &one]);
    let mut request = Request::new(publish(&room, "hi"));
    request.metadata_mut().insert(FORWARDED, "1".parse().unwrap());
    assert_eq!(why(&zero.rpc().publish(request).await.unwrap_err()), "Unavailable MOVED");
    let mut request = Request::new(pb::AddRequest { room: room.clone(), user: "bot".into() });
    request.metadata_mut().insert(FORWARDED, "1".parse().unwrap());
    assert_eq!(why(&zero.remote().add(request).await.unwrap_err()), "Unavailable MOVED");
    for chat in [&zero, &one] {
        let listed = chat.rpc().rooms(pb::RoomsRequest::default()).await.unwrap().into_inner();
        assert_eq!(listed.total, 0);
    }
}

#[tokio::test]
async fn a_shard_that_is_down_cannot_be_asked_and_one_that_is_back_can() {
    let (zero, one) = Chat::two(&[]).await;
    let room = room_of(&one, &[&zero, &one]);
    zero.rpc().publish(publish(&room, "hi")).await.unwrap();
    let addr = format!("--grpc-addr={}", one.addr);
    one.shutdown.cancel();
    one.ended().await;
    let down = zero.rpc().publish(publish(&room, "ho")).await.unwrap_err();
    assert_eq!(down.code(), tonic::Code::Unavailable, "{down:?}");
    let down = zero.rpc().publish(publish(&room, "ho")).await.unwrap_err();
    assert_eq!(why(&down), "Unavailable SHARD_UNREACHABLE");

    let one = Chat::start_as("chat-1", &[&addr]).await;
    zero.see(&[&zero, &one]);
    assert_eq!(zero.rpc().publish(publish(&room, "he")).await.unwrap().into_inner().seq, 2);
}
