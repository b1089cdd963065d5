//! Who may call what.

use rpc::gate::v1::{ConnectorsRequest, QueryEntryRequest, StatsRequest};
use tonic::{Code, Request};

use crate::{Gate, fake::Fake, file, reason};

fn bearing<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

#[tokio::test]
async fn without_tokens_a_peer_on_loopback_may_call_everything() {
    let gate = Gate::start(&[]).await;
    assert!(gate.grpc.clone().connectors(ConnectorsRequest {}).await.is_ok());
    assert_eq!(reason(&gate.query("a").await.unwrap_err()), "NO_CONNECTOR");
}

#[tokio::test]
async fn with_tokens_only_the_public_call_is_free() {
    let (admin, cluster) = (file("admin-token", "of-admins\n"), file("cluster-token", "of-us\n"));
    let a = Fake::start("a").await;
    let gate = Gate::start(&[
        &format!("--admin-token-file={}", admin.display()),
        &format!("--cluster-token-file={}", cluster.display()),
        &format!("--connectors={}", a.addr),
    ])
    .await;
    assert_eq!(a.stream(1).await, "Bearer of-us", "a gate shows who it is");

    let mut grpc = gate.grpc.clone();
    let refused = grpc.connectors(ConnectorsRequest {}).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::Unauthenticated, "TOKEN_NEEDED")
    );
    assert!(grpc.connectors(bearing("of-others", ConnectorsRequest {})).await.is_err());
    assert!(grpc.connectors(bearing("of-admins", ConnectorsRequest {})).await.is_ok());
    assert!(grpc.connectors(bearing("of-us", ConnectorsRequest {})).await.is_ok());
    assert_eq!(reason(&grpc.stats(StatsRequest {}).await.unwrap_err()), "TOKEN_NEEDED");
    assert!(grpc.stats(bearing("of-admins", StatsRequest {})).await.is_ok());
    let invalid = grpc.query_entry(QueryEntryRequest::default()).await.unwrap_err();
    assert_eq!(reason(&invalid), "INVALID_UID", "the call itself is let in");
}
