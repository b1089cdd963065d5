//! Who may call what, and what keeps a shard from starting.

use chassis::{App, StartError, World};
use chat::Server;
use rpc::chat::v1 as pb;
use tonic::Request;

use crate::{Chat, commands, config, file, why};

fn bearing<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

#[tokio::test]
async fn with_tokens_each_class_needs_its_own() {
    let (admin, cluster) = (file("admin-token", "of-admins\n"), file("cluster-token", "of-us\n"));
    let admin = format!("--admin-token-file={}", admin.display());
    let cluster = format!("--cluster-token-file={}", cluster.display());
    let (zero, one) = Chat::two(&[&admin, &cluster]).await;
    let rooms = |token: &str| bearing(token, pb::RoomsRequest { all: true, limit: 0 });
    let refused = zero.rpc().rooms(pb::RoomsRequest::default()).await.unwrap_err();
    assert_eq!(why(&refused), "Unauthenticated TOKEN_NEEDED");
    assert!(zero.rpc().rooms(rooms("guess")).await.is_err());
    // This one asks the other shard, too, and shows the cluster's token there.
    assert!(zero.rpc().rooms(rooms("of-admins")).await.is_ok());
    assert!(zero.rpc().rooms(rooms("of-us")).await.is_ok());

    let hello = || tokio_stream::iter([commands::alone(commands::hello("a"))]);
    let refused = one.rpc().link(bearing("of-admins", hello())).await.unwrap_err();
    assert_eq!(why(&refused), "Unauthenticated TOKEN_NEEDED");
    assert!(one.rpc().link(bearing("of-us", hello())).await.is_ok());
    let superseded = || pb::SupersededRequest { room: "r".into(), ..Default::default() };
    assert!(one.peer().superseded(bearing("of-admins", superseded())).await.is_err());
    assert!(one.peer().superseded(bearing("of-us", superseded())).await.is_ok());
}

/// Why a shard does not start.
async fn refusal(args: &[&str]) -> String {
    let mut app = App::detached(World::real());
    let error = Server::bind(&config(args), &mut app).await.expect_err("it started");
    error.downcast_ref::<StartError>().expect("somebody is to blame").to_string()
}

#[tokio::test]
async fn what_keeps_a_shard_from_starting_is_said_in_one_line() {
    let running = Chat::start(&[]).await;
    let taken = format!("--grpc-addr={}", running.addr);
    assert!(refusal(&[&taken]).await.contains(&running.addr.to_string()));
    assert_eq!(
        refusal(&["--shard-id=other", "--shards=chat-0=127.0.0.1:1"]).await,
        "--shard-id other is not in --shards"
    );
    let missing = format!("--admin-token-file={}", file("x", "").with_file_name("none").display());
    assert!(refusal(&[&missing]).await.contains("--admin-token-file"));
    let public = refusal(&["--grpc-addr=0.0.0.0:0"]).await;
    assert!(public.contains("--cluster-token-file or --grpc-tls-cert is needed"), "{public}");
}

#[tokio::test]
async fn a_shard_finds_itself_in_its_static_list() {
    let mut app = App::detached(World::real());
    let server = Server::bind(&config(&["--shards=chat-0=127.0.0.1:1"]), &mut app).await.unwrap();
    let addr = server.grpc_addr();
    app.ready().await.unwrap();
    let served = tokio::spawn(server.serve());
    let channel = World::real().net.channel(&addr.to_string()).await.unwrap();
    let mut rpc = pb::chat_service_client::ChatServiceClient::new(channel);
    assert_eq!(rpc.publish(crate::api::publish("r", "hi")).await.unwrap().into_inner().seq, 2);
    app.shutdown().cancel();
    served.await.unwrap().unwrap();
    app.end().await.unwrap();
}
