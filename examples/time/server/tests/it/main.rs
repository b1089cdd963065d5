//! The time server over real sockets.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
#![allow(clippy::disallowed_methods, reason = "a test makes its own world")]

use std::time::Duration;

use chassis::{App, Clock, Rng, World};
use clap::Parser;
use time_rpc::time::v1::{
    GetCurrentTimeRequest, time_service_client::TimeServiceClient,
    time_service_server::SERVICE_NAME,
};
use time_server::{Config, Server};
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};
use tonic::{Code, Status, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_types::StatusExt;

const BEGIN_MS: u64 = 1_800_000_000_000;

async fn start() -> (App, Channel, JoinHandle<anyhow::Result<()>>) {
    let config = Config::parse_from(["time", "--server-id=t", "--grpc-addr=127.0.0.1:0"]);
    let clock = Clock::starting_at(BEGIN_MS);
    let net = chassis::Net::real();
    let mut app = App::detached(World { net: net.clone(), clock, rng: Rng::real() });
    let server = Server::bind(&config, &mut app).await.unwrap();
    let addr = server.grpc_addr().to_string();
    let served = tokio::spawn(server.serve());
    (app, net.channel(&addr).await.unwrap(), served)
}

async fn ask(channel: &Channel, key: &str) -> Result<(u64, String), Status> {
    let request = GetCurrentTimeRequest { key: key.to_owned() };
    let answer = TimeServiceClient::new(channel.clone()).get_current_time(request).await?;
    let answer = answer.into_inner();
    Ok((answer.unix_ms, answer.server_id))
}

#[tokio::test]
async fn it_tells_the_time_and_its_name() {
    let (_app, channel, _served) = start().await;
    let (first, id) = ask(&channel, "ann").await.unwrap();
    let (second, _) = ask(&channel, &"a".repeat(64)).await.unwrap();
    assert_eq!(id, "t");
    assert!(BEGIN_MS <= first && first <= second, "{first} {second}");
    assert!(second < BEGIN_MS + 60_000, "{second}");
}

#[tokio::test]
async fn a_key_has_1_to_64_bytes() {
    let (_app, channel, _served) = start().await;
    for key in ["", &"a".repeat(65)] {
        let refused = ask(&channel, key).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert_eq!(refused.get_details_error_info().unwrap().reason, "INVALID_KEY");
    }
}

#[tokio::test]
async fn it_says_that_it_ends_before_it_ends() {
    let (app, channel, served) = start().await;
    let request = HealthCheckRequest { service: SERVICE_NAME.into() };
    let watch = HealthClient::new(channel.clone()).watch(request).await;
    let mut watch = watch.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);

    let told_at = Instant::now();
    app.shutdown().cancel();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    // Who has not heard yet is still answered, unless this test itself was too slow.
    let answer = ask(&channel, "ann").await;
    let took = Instant::now() - told_at;
    assert!(answer.is_ok() || took >= Duration::from_millis(200), "{answer:?} after {took:?}");
    timeout(Duration::from_secs(20), served).await.expect("it ends").unwrap().unwrap();
}
