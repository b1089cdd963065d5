//! `GateService` and what every gRPC server of ours has.

use chassis::World;
use rpc::gate::v1::{StatsRequest, StatsResponse, gate_service_server::SERVICE_NAME};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::{Gate, fake::Fake, reason};

#[tokio::test]
async fn a_uid_has_1_to_64_bytes() {
    let a = Fake::start("a").await;
    let gate = Gate::listing([a.addr]).await;
    gate.until("a:Ready").await;
    for (uid, accepted) in [
        ("", false),
        ("a", true),
        (&"a".repeat(64), true),
        (&"a".repeat(65), false),
        (&"张".repeat(21), true),
        (&"张".repeat(22), false),
    ] {
        match gate.query(uid).await {
            Ok(_) => assert!(accepted, "{uid}"),
            Err(refused) => {
                assert!(!accepted, "{uid}");
                assert_eq!(refused.code(), tonic::Code::InvalidArgument);
                assert_eq!(reason(&refused), "INVALID_UID");
            }
        }
    }
}

#[tokio::test]
async fn a_wrong_uid_is_refused_even_if_nobody_could_be_named() {
    let gate = Gate::start(&["--connectors=127.0.0.1:1"]).await;
    assert_eq!(reason(&gate.query("").await.unwrap_err()), "INVALID_UID");
    assert_eq!(reason(&gate.query("a").await.unwrap_err()), "NO_CONNECTOR");
}

#[tokio::test]
async fn stats_say_how_the_process_is_and_what_it_has_counted() {
    let (a, b) = (Fake::start("a").await, Fake::start("b").await);
    let gate = Gate::start(&[&format!("--connectors={},{},127.0.0.1:1", a.addr, b.addr)]).await;
    b.say(|says| says.draining = true);
    gate.until("127.0.0.1:1:Down a:Ready b:Draining").await;
    gate.query("ann").await.unwrap();
    gate.query("bob").await.unwrap();
    gate.query("").await.unwrap_err();
    let asked = async || gate.grpc.clone().stats(StatsRequest {}).await.unwrap().into_inner();
    let (first, before) = (asked().await, World::real().clock.unix_ms());
    let stats = asked().await;
    let (process, earlier) = (stats.process.clone().unwrap(), first.process.unwrap());
    assert_eq!((process.id.as_str(), process.version.as_str()), ("", chassis::VERSION));
    assert!(process.now_ms >= before && process.now_ms <= World::real().clock.unix_ms());
    assert!(process.uptime_ms >= earlier.uptime_ms && process.uptime_ms < process.now_ms / 2);
    assert!(!process.draining);
    assert!(stats.announcements >= 2, "{stats:?}");
    let expected = StatsResponse {
        process: stats.process.clone(),
        connectors_ready: 1,
        connectors_draining: 1,
        connectors_down: 1,
        assignments: 2,
        refusals: 1,
        announcements: stats.announcements,
        ..StatsResponse::default()
    };
    assert_eq!(stats, expected);
}

#[tokio::test]
async fn reflection_lists_what_there_is() {
    let gate = Gate::start(&[]).await;
    let mut client = ServerReflectionClient::new(gate.channel.clone());
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers =
        client.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = answer else { panic!("{answer:?}") };
    let mut names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    names.sort();
    assert!(names.contains(&SERVICE_NAME.to_owned()), "{names:?}");
    assert!(names.contains(&"grpc.health.v1.Health".to_owned()), "{names:?}");
}

#[tokio::test]
async fn health_says_serving_until_shutdown_and_a_watch_does_not_hold_it_up() {
    let gate = Gate::start(&[]).await;
    let mut health = HealthClient::new(gate.channel.clone());
    let request = HealthCheckRequest { service: SERVICE_NAME.into() };
    let mut watch = health.watch(request).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);

    gate.shutdown.cancel();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    gate.served.await.unwrap().unwrap();
}
