//! The connector's own gRPC services, and how it starts and stops.

use rpc::{
    chat::v1::event,
    connector::v1::{
        AnnounceRequest, AnnounceResponse, DrainRequest, KickRequest, Session, SessionsRequest,
        StatsRequest, StatsResponse,
    },
};
use tokio::time::{Duration, Instant};
use tonic::{Code, Status};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::{v1, v1alpha};
use tonic_types::StatusExt;

use crate::{
    client::Client,
    connector::{Connector, bind},
    scene::{Options, Scene},
    soon,
};

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

fn invalid(status: &Status) {
    assert_eq!(
        (status.code(), reason(status).as_str()),
        (Code::InvalidArgument, "INVALID_ARGUMENT")
    );
}

fn describe(session: &Session) -> String {
    assert!(session.id > 0);
    assert!(session.peer_addr.starts_with("127.0.0.1:"), "{}", session.peer_addr);
    format!("{} in {}", session.user, session.room)
}

#[tokio::test]
async fn sessions_are_listed_in_pages() {
    let mut s = Scene::start(&["ann", "bob"]).await;
    let _outside = s.connector.client().await;
    s.connector.until("connector_sessions", 3.0).await;
    let list = async |room: &str, after_session_id, limit| {
        let request = SessionsRequest { room: room.into(), after_session_id, limit };
        s.connector.grpc.clone().sessions(request).await.map(tonic::Response::into_inner)
    };
    let all = list("", 0, 0).await.unwrap();
    let described: Vec<String> = all.sessions.iter().map(describe).collect();
    assert_eq!(
        (all.total, described),
        (3, vec!["ann in r".into(), "bob in r".into(), " in ".into()])
    );
    let first = list("r", 0, 1).await.unwrap();
    assert_eq!((first.total, describe(&first.sessions[0]).as_str()), (3, "ann in r"));
    let second = list("r", first.sessions[0].id, 1000).await.unwrap();
    assert_eq!(second.sessions.iter().map(describe).collect::<Vec<_>>(), ["bob in r"]);
    assert!(list("r", u64::MAX, 1).await.unwrap().sessions.is_empty());
    assert!(list("none", 0, 1).await.unwrap().sessions.is_empty());
    invalid(&list("", 0, 1001).await.unwrap_err());
}

#[tokio::test]
async fn sessions_show_the_address_that_a_trusted_proxy_tells() {
    let args = &["--trusted-proxies=10.0.0.0/8,127.0.0.1", "--address-connections-max=1"];
    let mut s = Scene::start_with(Options { args, ..Options::default() }, &[]).await;
    let addr = s.connector.addr;
    let _one = Client::connect_for(addr, "1.1.1.1, 203.0.113.7, 10.0.0.1").await;
    let _other = Client::connect_for(addr, "2001:db8::7").await;
    s.connector.until("connector_sessions", 2.0).await;
    let listed = s.connector.grpc.clone().sessions(SessionsRequest::default()).await.unwrap();
    let shown: Vec<_> = listed.into_inner().sessions.into_iter().map(|s| s.peer_addr).collect();
    assert_eq!(shown, ["203.0.113.7:0", "[2001:db8::7]:0"]);
    let told = s.connector.metric(r#"connector_proxied_total{address="x_forwarded_for"}"#);
    assert_eq!(told, 2.0);
}

#[tokio::test]
async fn sessions_are_kicked_by_number_or_name() {
    let mut s = Scene::start(&["ann", "bob", "cat"]).await;
    let kick = async |session_id, user: &str, reason: &str| {
        let request = KickRequest { session_id, user: user.into(), reason: reason.into() };
        s.connector.grpc.clone().kick(request).await.map(|answer| answer.into_inner().kicked)
    };
    invalid(&kick(0, "", "").await.unwrap_err());
    invalid(&kick(s.ids[0], "ann", "").await.unwrap_err());
    assert_eq!(kick(999, "", "").await.unwrap(), 0);
    assert_eq!(kick(0, "dan", "").await.unwrap(), 0);
    assert_eq!(kick(s.ids[0], "", "spam").await.unwrap(), 1);
    assert_eq!(kick(0, "bob", "").await.unwrap(), 1);
    assert_eq!(kick(0, "cat", &"é".repeat(300)).await.unwrap(), 1);
    s.clients[0].expect(&[r#"kick {"reason":"spam"}"#, "closed"]).await;
    s.clients[1].expect(&[r#"kick {"reason":"kick"}"#, "closed"]).await;
    let cut = format!(r#"kick {{"reason":"{}"}}"#, "é".repeat(128));
    s.clients[2].expect(&[&cut, "closed"]).await;
    for _ in 0..3 {
        s.link.leave().await;
    }
    assert_eq!(kick(0, "bob", "").await.unwrap(), 0, "it is safe to repeat");
}

#[tokio::test]
async fn stats_say_how_the_process_is_and_what_it_has_counted() {
    let mut s = Scene::start(&["ann", "bob"]).await;
    let _outside = s.connector.client().await;
    s.connector.until("connector_sessions", 3.0).await;
    for content in ["hi", "ho"] {
        let said = event::Event::Entry(s.says("ann", content));
        s.link.send(said).await;
        s.everybody_gets(&[&format!("onChat ann > *: {content}")]).await;
    }
    let ask = async || s.connector.grpc.clone().stats(StatsRequest {}).await.unwrap().into_inner();
    let stats = ask().await;
    let process = stats.process.clone().unwrap();
    assert_eq!((process.id.as_str(), process.version.as_str()), ("connector-1", chassis::VERSION));
    assert!(process.now_ms > 1_700_000_000_000 && process.uptime_ms < 1_000_000_000);
    assert!(!process.draining);
    let expected = StatsResponse {
        process: stats.process.clone(),
        connections: 3,
        sessions: 3,
        rooms: 1,
        members: 2,
        links: 1,
        // onAdd of both, and what was said twice.
        pushes: 4,
        // onAdd of bob to ann, and what was said to both.
        deliveries: 5,
        ..StatsResponse::default()
    };
    assert_eq!(stats, expected);
    s.connector.grpc.clone().drain(DrainRequest::default()).await.unwrap();
    let stats = s.connector.grpc.clone().stats(StatsRequest {}).await.unwrap().into_inner();
    assert!(stats.process.unwrap().draining);
}

async fn announcements(connector: &Connector) -> tonic::Streaming<AnnounceResponse> {
    connector.grpc.clone().announce(AnnounceRequest {}).await.unwrap().into_inner()
}

#[tokio::test]
async fn announcements_come_at_once_twice_a_second_and_on_change() {
    let args = ["--advertise=chat.example:443", "--connections-max=5000"];
    let s = Scene::start_with(Options { args: &args, ..Options::default() }, &["ann"]).await;
    let mut stream = announcements(&s.connector).await;
    let mut next = async || soon("news", stream.message()).await.unwrap().unwrap();
    let first = next().await;
    let expected = AnnounceResponse {
        connector_id: "connector-1".into(),
        host: "chat.example".into(),
        port: 443,
        sessions: 1,
        draining: false,
        sessions_max: 5000,
    };
    assert_eq!(first, expected);
    let started = Instant::now();
    assert_eq!(next().await, expected);
    let took = started.elapsed();
    assert!(took > Duration::from_millis(300) && took < Duration::from_secs(1), "{took:?}");

    let left = s.connector.grpc.clone().drain(DrainRequest::default()).await.unwrap().into_inner();
    assert_eq!(left.sessions, 1);
    assert!(next().await.draining);
    assert!(next().await.draining);
}

#[tokio::test]
async fn shutdown_says_so_to_gates_closes_all_and_ends() {
    let mut s = Scene::start(&["ann"]).await;
    let mut stream = announcements(&s.connector).await;
    assert!(!soon("news", stream.message()).await.unwrap().unwrap().draining);
    let mut health = HealthClient::new(s.connector.channel.clone());
    let request = HealthCheckRequest { service: String::new() };
    let mut watch = health.watch(request).await.unwrap().into_inner();
    s.connector.app.shutdown().cancel();
    while s.clients[0].next().await != "closed" {}
    let mut last = None;
    while let Some(news) = soon("news", stream.message()).await.unwrap_or_default() {
        last = Some(news);
    }
    assert!(last.unwrap().draining);
    let _ = watch.message().await;
    soon("the end", s.connector.served).await.unwrap().unwrap();
    soon("the tasks' end", s.connector.app.tasks().wait()).await;
    assert!(!s.connector.app.tasks().have_failed());
}

#[tokio::test]
async fn health_is_told_per_service() {
    let connector = Connector::start(&[], &[]).await;
    let mut health = HealthClient::new(connector.channel.clone());
    for service in ["", "connector.v1.ConnectorService"] {
        let request = HealthCheckRequest { service: service.into() };
        assert_eq!(health.check(request).await.unwrap().into_inner().status, 1, "{service}");
    }
    let request = HealthCheckRequest { service: "gate.v1.GateService".into() };
    assert_eq!(health.check(request).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn reflection_answers_in_both_versions() {
    let connector = Connector::start(&[], &[]).await;
    let expected =
        ["connector.v1.ConnectorService", "grpc.health.v1.Health"].map(str::to_owned).to_vec();

    let mut client =
        v1::server_reflection_client::ServerReflectionClient::new(connector.channel.clone());
    use v1::{
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let request = v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let answer = client.server_reflection_info(tokio_stream::once(request)).await.unwrap();
    let answer = answer.into_inner().message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!()
    };
    let mut names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    names.retain(|name| !name.starts_with("grpc.reflection"));
    names.sort();
    assert_eq!(names, expected);

    let mut client =
        v1alpha::server_reflection_client::ServerReflectionClient::new(connector.channel.clone());
    use v1alpha::server_reflection_request::MessageRequest as Old;
    let request = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(Old::FileContainingSymbol("connector.v1.ConnectorService".into())),
    };
    let answer = client.server_reflection_info(tokio_stream::once(request)).await.unwrap();
    assert!(answer.into_inner().message().await.unwrap().is_some());
}

#[tokio::test]
async fn what_cannot_start_says_why_in_one_line() {
    let token = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("cluster-token");
    std::fs::write(&token, "of-us\n").unwrap();
    let token = format!("--cluster-token-file={}", token.display());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let _held = std::net::TcpListener::bind(&taken);
    for (args, expected) in [
        (vec!["--listen-addr=0.0.0.0:0".to_owned()], "so --advertise is needed"),
        (
            vec!["--grpc-addr=0.0.0.0:0".into()],
            "so --cluster-token-file or --grpc-tls-cert is needed",
        ),
        (
            vec!["--cluster-token-file=/nowhere".into()],
            "cannot read /nowhere (--cluster-token-file)",
        ),
        (
            vec!["--crypto".into(), "--profile=full".into()],
            "connector.entryHandler.enter is protobuf, which has no place for a signature",
        ),
        (vec![format!("--grpc-addr={taken}")], "(--grpc-addr)"),
        (vec![format!("--listen-addr={taken}")], "(--listen-addr)"),
    ] {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let (_, server) = bind(&args, None).await;
        let error = server.unwrap_err();
        assert!(error.downcast_ref::<chassis::StartError>().is_some());
        let line = error.to_string();
        assert!(line.contains(expected) && !line.contains('\n'), "{line}");
    }
    let public =
        ["--listen-addr=0.0.0.0:0", "--advertise=a.example:1", "--grpc-addr=0.0.0.0:0", &token];
    assert!(bind(&public, None).await.1.is_ok());
}

#[tokio::test]
async fn the_shard_is_shown_the_clusters_token() {
    let file = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("link-token");
    std::fs::write(&file, "of-us\n").unwrap();
    let flag = format!("--cluster-token-file={}", file.display());
    let mut s = Scene::start_with(Options { args: &[&flag], ..Options::default() }, &[]).await;
    assert_eq!(s.link.shown, "Bearer of-us");
    // And gates have to show it, too.
    let refused = s.connector.grpc.clone().announce(AnnounceRequest {}).await.unwrap_err();
    assert_eq!(reason(&refused), "TOKEN_NEEDED");
    s.connector.grpc.drain(DrainRequest::default()).await.unwrap();
}
