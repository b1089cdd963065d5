//! Calls of back ends and people on one shard.

use rpc::chat::v1 as pb;
use tonic::Status;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{
    Chat,
    commands::{join, whisper},
    connector::Connector,
    why,
};

pub(crate) fn publish(room: &str, content: &str) -> pb::PublishRequest {
    pb::PublishRequest {
        room: room.into(),
        author: "bot".into(),
        target: String::new(),
        content: content.into(),
        cmid: content.chars().take(60).collect(),
    }
}

async fn publish_many(chat: &Chat, room: &str, contents: &[&str]) {
    for content in contents {
        chat.rpc().publish(publish(room, content)).await.unwrap();
    }
}

#[tokio::test]
async fn a_back_end_speaks_in_a_room() {
    let chat = Chat::start(&[]).await;
    let mut a = Connector::open(&chat, "a").await;
    a.ask(join("r", 1, "ann"), 2).await;
    let stored = chat.rpc().publish(publish("r", "hi")).await.unwrap().into_inner();
    assert_eq!((stored.epoch, stored.seq), (a.at("r").epoch, 2));
    assert_eq!(a.told().await, "2<1 bot: hi");
    // Repeated, to everybody in other words, and without an id.
    let again = pb::PublishRequest { target: "*".into(), ..publish("r", "hi") };
    assert_eq!(chat.rpc().publish(again).await.unwrap().into_inner(), stored);
    let fresh = pb::PublishRequest { cmid: String::new(), ..publish("r", "hi") };
    assert_eq!(chat.rpc().publish(fresh.clone()).await.unwrap().into_inner().seq, 3);
    assert_eq!(chat.rpc().publish(fresh).await.unwrap().into_inner().seq, 4);
    assert_eq!(a.told_of(2).await, ["3<2 bot: hi", "4<3 bot: hi"]);
    let whispered = pb::PublishRequest { target: "ann".into(), ..publish("r", "psst") };
    assert_eq!(chat.rpc().publish(whispered).await.unwrap().into_inner().seq, 5);
    assert_eq!(a.told().await, "5<4 bot>ann: psst");
    // A room that nobody is in is claimed.
    assert_eq!(chat.rpc().publish(publish("new", "hi")).await.unwrap().into_inner().seq, 2);
}

#[tokio::test]
async fn what_a_back_end_may_not_say_is_refused() {
    let chat = Chat::start(&["--content-max=100"]).await;
    chat.rpc().publish(publish("r", "hi")).await.unwrap();
    let ok = publish("r", "ho");
    let invalid = "InvalidArgument INVALID_ARGUMENT";
    for (request, refusal) in [
        (pb::PublishRequest { room: String::new(), ..ok.clone() }, invalid),
        (pb::PublishRequest { room: "a*b".into(), ..ok.clone() }, invalid),
        (pb::PublishRequest { author: String::new(), ..ok.clone() }, invalid),
        (pb::PublishRequest { author: "a".repeat(65), ..ok.clone() }, invalid),
        (pb::PublishRequest { target: "a*b".into(), ..ok.clone() }, invalid),
        (pb::PublishRequest { content: String::new(), ..ok.clone() }, invalid),
        (pb::PublishRequest { content: "x".repeat(101), ..ok.clone() }, invalid),
        (pb::PublishRequest { cmid: "x".repeat(65), ..ok.clone() }, invalid),
        (pb::PublishRequest { target: "nobody".into(), ..ok.clone() }, "NotFound NO_SUCH_TARGET"),
        (pb::PublishRequest { cmid: "hi".into(), ..ok }, "AlreadyExists CMID_CONFLICT"),
    ] {
        let refused = chat.rpc().publish(request.clone()).await.unwrap_err();
        assert_eq!(why(&refused), refusal, "{request:?}");
    }
    assert_eq!(history(&chat, history_of("r")).await.unwrap(), "head 2: 2 hi");
}

fn history_of(room: &str) -> pb::HistoryRequest {
    pb::HistoryRequest { room: room.into(), ..Default::default() }
}

async fn history(chat: &Chat, request: pb::HistoryRequest) -> Result<String, Status> {
    let page = chat.rpc().history(request).await?.into_inner();
    let entries = page.entries.iter().map(|entry| format!("{} {}", entry.seq, entry.content));
    Ok(format!("head {}: {}", page.head, entries.collect::<Vec<_>>().join(", ")))
}

#[tokio::test]
async fn history_comes_in_pages_and_without_whispers() {
    let chat = Chat::start(&[]).await;
    let mut a = Connector::open(&chat, "a").await;
    a.ask(join("r", 1, "ann"), 2).await;
    publish_many(&chat, "r", &["two", "three"]).await;
    a.ask(whisper("r", 1, "ann", "psst"), 4).await;
    publish_many(&chat, "r", &["five", "six"]).await;
    let all = history_of("r");
    for (request, page) in [
        (all.clone(), "head 6: 2 two, 3 three, 5 five, 6 six"),
        (pb::HistoryRequest { limit: 2, ..all.clone() }, "head 6: 5 five, 6 six"),
        (pb::HistoryRequest { limit: 3, ..all.clone() }, "head 6: 3 three, 5 five, 6 six"),
        (
            pb::HistoryRequest { before: Some(6), limit: 2, ..all.clone() },
            "head 6: 3 three, 5 five",
        ),
        (pb::HistoryRequest { before: Some(3), limit: 2, ..all.clone() }, "head 6: 2 two"),
        (pb::HistoryRequest { before: Some(1), ..all.clone() }, "head 6: "),
        (pb::HistoryRequest { after: Some(0), limit: 2, ..all.clone() }, "head 6: 2 two, 3 three"),
        (pb::HistoryRequest { after: Some(2), limit: 2, ..all.clone() }, "head 6: 3 three, 5 five"),
        (pb::HistoryRequest { after: Some(6), ..all.clone() }, "head 6: "),
        (history_of("nowhere"), "head 0: "),
    ] {
        assert_eq!(history(&chat, request.clone()).await.unwrap(), page, "{request:?}");
    }
    for request in [
        history_of(""),
        pb::HistoryRequest { after: Some(1), before: Some(3), ..all.clone() },
        pb::HistoryRequest { limit: 1001, ..all },
    ] {
        let refused = history(&chat, request).await.unwrap_err();
        assert_eq!(why(&refused), "InvalidArgument INVALID_ARGUMENT");
    }
}

#[tokio::test]
async fn rooms_are_listed_by_name() {
    let chat = Chat::start(&[]).await;
    let mut a = Connector::open(&chat, "a").await;
    a.ask(join("s", 1, "ann"), 2).await;
    publish_many(&chat, "t", &["one", "two"]).await;
    publish_many(&chat, "r", &["one"]).await;
    let listed = |limit| async move {
        let answer = chat.rpc().rooms(pb::RoomsRequest { all: false, limit }).await?.into_inner();
        let room =
            |r: &pb::RoomSummary| format!("{} {} {}@{}", r.room, r.shard_id, r.members, r.head);
        let rooms: Vec<String> = answer.rooms.iter().map(room).collect();
        Ok::<_, Status>((answer.total, rooms.join(", ")))
    };
    let all = "r chat-0 0@2, s chat-0 1@1, t chat-0 0@3";
    assert_eq!(listed(0).await.unwrap(), (3, all.into()));
}

#[tokio::test]
async fn a_list_of_rooms_has_a_limit() {
    let chat = Chat::start(&[]).await;
    publish_many(&chat, "t", &["one"]).await;
    publish_many(&chat, "r", &["one"]).await;
    let request = pb::RoomsRequest { all: true, limit: 1 };
    let answer = chat.rpc().rooms(request).await.unwrap().into_inner();
    assert_eq!((answer.total, answer.rooms.len(), answer.rooms[0].room.as_str()), (2, 1, "r"));
    let request = pb::RoomsRequest { all: false, limit: 10_001 };
    let refused = chat.rpc().rooms(request).await.unwrap_err();
    assert_eq!(why(&refused), "InvalidArgument INVALID_ARGUMENT");
}

#[tokio::test]
async fn stats_say_how_the_process_is_and_what_it_has_counted() {
    let chat = Chat::start(&[]).await;
    let mut a = Connector::open(&chat, "a").await;
    a.ask(join("s", 1, "ann"), 2).await;
    publish_many(&chat, "s", &["one", "two"]).await;
    publish_many(&chat, "r", &["one"]).await;
    a.told_of(2).await;
    let stats = chat.rpc().stats(pb::StatsRequest {}).await.unwrap().into_inner();
    let process = stats.process.clone().unwrap();
    assert_eq!((process.id.as_str(), process.version.as_str()), ("chat-0", chassis::VERSION));
    assert!(process.now_ms > 1_700_000_000_000 && process.uptime_ms < 1_000_000_000);
    assert!(!process.draining);
    // Welcome, the answer to the join, and its onAdd; more heartbeats than are known.
    assert!(stats.pushes >= 5 && stats.outbox_bytes_max > 0, "{stats:?}");
    let expected = pb::StatsResponse {
        process: stats.process.clone(),
        rooms: 2,
        members: 1,
        links: 1,
        entries: 3,
        pushes: stats.pushes,
        pushed_entries: 2,
        outbox_bytes_max: stats.outbox_bytes_max,
        ..Default::default()
    };
    assert_eq!(stats, expected);
}

#[tokio::test]
async fn health_is_told_for_each_service() {
    let chat = Chat::start(&[]).await;
    let mut health = HealthClient::new(chat.channel.clone());
    for service in ["", "chat.v1.ChatService", "chat.v1.ChatRemote", "chat.v1.ChatPeer"] {
        let request = HealthCheckRequest { service: service.into() };
        let status = health.check(request).await.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::Serving, "{service}");
    }
    let request = HealthCheckRequest { service: "chat.v1.Other".into() };
    assert_eq!(health.check(request).await.unwrap_err().code(), tonic::Code::NotFound);

    let request = HealthCheckRequest { service: "chat.v1.ChatService".into() };
    let mut watch = health.watch(request).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    chat.shutdown.cancel();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    // A watch does not hold the end up.
    chat.ended().await;
}

macro_rules! listed {
    ($version:ident, $chat:expr) => {{
        use tonic_reflection::pb::$version::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
        };
        let mut client = ServerReflectionClient::new($chat.channel.clone());
        let message_request = Some(MessageRequest::ListServices(String::new()));
        let request = ServerReflectionRequest { host: String::new(), message_request };
        let answers = client.server_reflection_info(tokio_stream::iter([request])).await;
        let answer = answers.unwrap().into_inner().message().await.unwrap().unwrap();
        let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
            panic!("a list")
        };
        let mut names: Vec<String> = list.service.into_iter().map(|s| s.name).collect();
        names.sort();
        names
    }};
}

#[tokio::test]
async fn reflection_lists_what_there_is_in_both_versions() {
    let chat = Chat::start(&[]).await;
    let services =
        ["chat.v1.ChatPeer", "chat.v1.ChatRemote", "chat.v1.ChatService", "grpc.health.v1.Health"];
    for names in [listed!(v1, chat), listed!(v1alpha, chat)] {
        for service in services {
            assert!(names.iter().any(|name| name == service), "{service} in {names:?}");
        }
    }
}
