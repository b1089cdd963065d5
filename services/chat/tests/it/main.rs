//! One shard, or two, over real sockets; connectors, back ends and people are played.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
#![allow(clippy::disallowed_methods, reason = "a test makes its own world")]

mod access;
mod again;
mod api;
mod claims;
mod commands;
mod connector;
mod digest;
mod ends;
mod forward;
mod heads;
mod history;
mod links;
mod moves;
mod owners;
mod redaction;
mod rejoins;
mod remote;
mod resumes;
mod shared;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use chassis::{App, World};
use chat::{Config, Server};
use clap::Parser;
use cluster::View;
use model::RoomId;
use rpc::chat::v1::{
    chat_peer_client::ChatPeerClient, chat_remote_client::ChatRemoteClient,
    chat_service_client::ChatServiceClient,
};
use tokio::{sync::watch, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Status, transport::Channel};

use shared::Shared;

/// Whatever is waited for comes at once, or the test has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// A shard that runs.
struct Chat {
    id: String,
    addr: SocketAddr,
    channel: Channel,
    view: Arc<watch::Sender<View>>,
    shutdown: CancellationToken,
    served: JoinHandle<anyhow::Result<()>>,
    app: App,
    /// True if its log does not outlive it.
    volatile: bool,
}

fn config(args: &[&str]) -> Config {
    let is_given = args.iter().any(|arg| arg.starts_with("--grpc-addr"));
    let anywhere: &[&str] = if is_given { &[] } else { &["--grpc-addr=127.0.0.1:0"] };
    Config::parse_from(["chat"].iter().chain(anywhere).chain(args))
}

impl Chat {
    /// A shard that sees nobody but itself.
    async fn start(args: &[&str]) -> Self {
        Self::start_as("chat-0", args).await
    }

    async fn start_as(id: &str, args: &[&str]) -> Self {
        Self::start_on(id, args, None).await
    }

    async fn start_on(id: &str, args: &[&str], store: Option<Arc<Shared>>) -> Self {
        let volatile = store.is_none();
        let view = Arc::new(watch::Sender::new(View::default()));
        let me = [format!("--shard-id={id}"), format!("--shards={id}=127.0.0.1:1")];
        let args: Vec<&str> = me.iter().map(String::as_str).chain(args.iter().copied()).collect();
        let mut app = App::detached(World::real());
        let (config, discovery) = (config(&args), Arc::clone(&view));
        let store = store.map(|store| store as Arc<dyn store::Store>);
        let server = Server::bind_with(&config, &mut app, Some(discovery), store).await.unwrap();
        let addr = server.grpc_addr();
        app.ready().await.unwrap();
        let served = tokio::spawn(server.serve());
        let channel = World::real().net.channel(&addr.to_string()).await.unwrap();
        let shutdown = app.shutdown();
        let chat = Self { id: id.into(), addr, channel, view, shutdown, served, app, volatile };
        chat.see(&[&chat]);
        chat
    }

    /// Two shards that see each other.
    async fn two(args: &[&str]) -> (Self, Self) {
        Self::two_on(args, None).await
    }

    async fn two_on(args: &[&str], store: Option<&Arc<Shared>>) -> (Self, Self) {
        let zero = Self::start_on("chat-0", args, store.cloned()).await;
        let one = Self::start_on("chat-1", args, store.cloned()).await;
        zero.see(&[&zero, &one]);
        one.see(&[&zero, &one]);
        (zero, one)
    }

    /// Shows it `shards` as ready.
    fn see(&self, shards: &[&Self]) {
        self.view.send_replace(view(shards));
    }

    fn rpc(&self) -> ChatServiceClient<Channel> {
        ChatServiceClient::new(self.channel.clone()).max_decoding_message_size(64 << 20)
    }

    fn remote(&self) -> ChatRemoteClient<Channel> {
        ChatRemoteClient::new(self.channel.clone())
    }

    fn peer(&self) -> ChatPeerClient<Channel> {
        ChatPeerClient::new(self.channel.clone())
    }

    /// The value of a metric, labels included in the name; 0 if there is none.
    fn metric(&mut self, name: &str) -> f64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, self.app.registry()).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Waits until it has ended by itself.
    async fn ended(self) {
        timeout(PATIENCE, self.served).await.expect("the end").unwrap().unwrap();
        assert!(self.app.tasks().len() >= 4, "workers ended before the last room was handed over");
        timeout(PATIENCE, self.app.end()).await.expect("the end of all tasks").unwrap();
    }
}

fn view(shards: &[&Chat]) -> View {
    View::new(
        shards.iter().map(|chat| cluster::Shard {
            id: chat.id.parse().unwrap(),
            addr: chat.addr.to_string(),
        }),
    )
}

/// A room that `chat` should serve when all of `shards` are ready.
fn room_of(chat: &Chat, shards: &[&Chat]) -> String {
    let view = view(shards);
    let owned =
        |room: &String| view.owner(&RoomId::parse(room).unwrap()).unwrap().id.as_str() == chat.id;
    (0..).map(|n| format!("room-{n}")).find(owned).unwrap()
}

fn file(name: &str, content: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, content).unwrap();
    path
}

/// What programs match on: `CODE REASON`.
fn why(status: &Status) -> String {
    use tonic_types::StatusExt;
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.as_str());
    format!("{:?} {}", status.code(), reason.unwrap_or("-"))
}
