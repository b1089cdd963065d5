//! The whole measurement: floor and ours in turns, in one run, as ratios.

use std::{
    net::SocketAddr,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, ensure};
use bytes::BytesMut;
use chassis::{Clock, Net, Stream};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
};

use crate::{
    client::{Counts, frame_lens},
    crowd::{Crowd, Plan, Talk},
    print,
    process::Server,
};

/// Options of `loadgen bench`.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Where the programs chat and connector are
    #[arg(long, value_name = "DIR")]
    bin_dir: PathBuf,

    /// Members of the room
    #[arg(long, value_name = "COUNT", default_value = "1000")]
    members: NonZeroUsize,

    /// Messages per second
    #[arg(long, value_name = "COUNT", default_value_t = 20.0)]
    rate: f64,

    /// Sizes of bursts to measure, separated by commas
    #[arg(long, value_name = "COUNTS", default_value = "1,32", value_delimiter = ',')]
    bursts: Vec<usize>,

    /// Members that send, in turns; each may send 20 messages a second
    #[arg(long, value_name = "COUNT", default_value = "4")]
    senders: NonZeroUsize,

    /// How long each measurement takes
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    time: Duration,

    /// Measurements of each kind, floor and ours in turns
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    rounds: usize,

    /// Sessions for the memory of idle ones; 0 to leave it out
    #[arg(long, value_name = "COUNT", default_value_t = 5_000)]
    idle: usize,

    /// The first of eight ports for the programs that are started
    #[arg(long, value_name = "PORT", default_value_t = 23_050)]
    port: u16,
}

/// With what is around it, a frame is nearly as long as those of the floor.
const CONTENT: usize = 100;

/// Logins at a time.
const CONCURRENCY: usize = 50;

/// How long the heartbeats of a crowd are watched, to be taken off afterwards.
const BASELINE: Duration = Duration::from_secs(6);

/// Runs everything and prints tables.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    print("| k | round | floor µs | ours µs | ratio | ours less heartbeats µs |");
    print("|---|---|---|---|---|---|");
    let system = System::start(&options.bin_dir, options.port, &[]).await?;
    let crowd = Crowd::gather(&Plan {
        connectors: vec![system.clients.clone()],
        sessions: options.members.get(),
        rooms: Some(1),
        senders: options.senders.get(),
        concurrency: CONCURRENCY,
        name: "bench".to_owned(),
    })
    .await?;
    let idle_share = system.idle_share().await?;
    for burst in &options.bursts {
        for round in 1..=options.rounds {
            let floor = floor(&options, *burst).await?;
            let ours = ours(&options, *burst, &system, &crowd, idle_share).await?;
            print(format_args!(
                "| {burst} | {round} | {floor:.3} | {:.3} | {:.2} | {:.3} |",
                ours.gross,
                ours.gross / floor,
                ours.net,
            ));
        }
    }
    expect_no_closes(&crowd)?;
    drop((crowd, system));
    if options.idle > 0 {
        memory(&options).await?;
    }
    Ok(())
}

/// Processor time per delivery, in microseconds.
struct Cost {
    gross: f64,
    /// Less what the heartbeats of the same clients cost.
    net: f64,
}

async fn ours(
    options: &Options,
    burst: usize,
    system: &System,
    crowd: &Crowd,
    idle_share: f64,
) -> anyhow::Result<Cost> {
    let process = system.connector.process();
    let before = Counts::get(&crowd.counts.deliveries);
    let (cpu, begin) = (process.cpu()?, Clock::real().now());
    let talk = Talk { rate: options.rate, burst, content: CONTENT, time: options.time };
    let sent = crowd.talk(talk).await?;
    let deliveries = sent * options.members.get() as u64;
    crowd.wait_for(before, deliveries).await?;
    let cpu = (process.cpu()? - cpu).as_secs_f64();
    let elapsed = (Clock::real().now() - begin).as_secs_f64();
    let per_delivery = |seconds: f64| seconds * 1e6 / deliveries as f64;
    Ok(Cost { gross: per_delivery(cpu), net: per_delivery(cpu - elapsed * idle_share) })
}

async fn floor(options: &Options, burst: usize) -> anyhow::Result<f64> {
    let args = [
        "floor".to_owned(),
        format!("--sessions={}", options.members),
        format!("--rate={}", options.rate),
        format!("--burst={burst}"),
        format!("--time={}", humantime::format_duration(options.time)),
    ];
    let mut server = Server::start(&std::env::current_exe()?, &args)?;
    let port = server.line()?;
    let (net, mut readers) = (Net::real(), JoinSet::new());
    for _ in 0..options.members.get() {
        let stream = net.dial(&format!("127.0.0.1:{port}")).await?;
        readers.spawn(read_frames(stream));
    }
    let mut frames = 0;
    while let Some(read) = readers.join_next().await {
        frames += read?;
    }
    let result: Value = serde_json::from_str(&server.line()?)?;
    ensure!(result["deliveries"] == frames, "{frames} frames arrived: {result}");
    result["cpu_us_per_delivery"].as_f64().context("no figure")
}

/// Counts frames until the end, with the work that a client has.
async fn read_frames(mut stream: Stream) -> u64 {
    let (mut inbox, mut frames) = (BytesMut::new(), 0);
    loop {
        while let Some((header, len)) = frame_lens(&inbox)
            && inbox.len() >= header + len
        {
            let _ = inbox.split_to(header + len);
            frames += 1;
        }
        inbox.reserve(4 * 1024);
        if !matches!(stream.read_buf(&mut inbox).await, Ok(1..)) {
            return frames;
        }
    }
}

async fn memory(options: &Options) -> anyhow::Result<()> {
    print("\n| sessions | state | KiB per session | CPU µs per session and s |");
    print("|---|---|---|---|");
    for (state, rooms) in [("idle", None), ("in rooms of 10", Some(options.idle.div_ceil(10)))] {
        let system = System::start(&options.bin_dir, options.port, &[]).await?;
        let empty = system.connector.process().rss_kib()?;
        let crowd = Crowd::gather(&Plan {
            connectors: vec![system.clients.clone()],
            sessions: options.idle,
            rooms,
            senders: 0,
            concurrency: CONCURRENCY,
            name: "idle".to_owned(),
        })
        .await?;
        let share = system.idle_share().await?;
        let full = system.connector.process().rss_kib()?;
        print(format_args!(
            "| {} | {state} | {:.1} | {:.1} |",
            options.idle,
            (full.saturating_sub(empty)) as f64 / options.idle as f64,
            share * 1e6 / options.idle as f64,
        ));
        expect_no_closes(&crowd)?;
    }
    Ok(())
}

fn expect_no_closes(crowd: &Crowd) -> anyhow::Result<()> {
    let closes = Counts::get(&crowd.counts.closes);
    ensure!(closes == 0, "{closes} clients closed, {:?}", crowd.counts.first_close.get());
    Ok(())
}

/// A shard and a connector.
pub(crate) struct System {
    pub(crate) chat: Server,
    pub(crate) connector: Server,
    /// Where clients connect.
    pub(crate) clients: String,
}

impl System {
    /// Starts both on ports from `port` on; `more` are flags of the shard.
    pub(crate) async fn start(bin_dir: &Path, port: u16, more: &[&str]) -> anyhow::Result<Self> {
        let addr = |n: u16| SocketAddr::from(([127, 0, 0, 1], port + n)).to_string();
        let (clients, link, shard) = (addr(0), addr(1), addr(2));
        let (chat_admin, connector_admin) = (addr(3), addr(4));
        let shards = format!("--shards=chat-0={shard}");
        let grpc_addr = format!("--grpc-addr={shard}");
        let own = ["--shard-id=chat-0", &grpc_addr, &shards];
        let chat = start(&bin_dir.join("chat"), &[&own, more].concat(), &chat_admin).await?;
        let connector = start(
            &bin_dir.join("connector"),
            &[
                "--connector-id=connector-1",
                &format!("--listen-addr={clients}"),
                &format!("--grpc-addr={link}"),
                &shards,
                // One address, and sessions that ask for nothing.
                "--idle-timeout=1h",
                "--address-connections-max=1000000",
                "--accepts-per-second=0",
                "--sends-per-second=0",
                "--address-rooms-per-minute=0",
            ],
            &connector_admin,
        )
        .await?;
        Ok(Self { chat, connector, clients })
    }

    /// The share of one processor that the connector takes while nobody talks.
    async fn idle_share(&self) -> anyhow::Result<f64> {
        let process = self.connector.process();
        let (cpu, begin) = (process.cpu()?, Clock::real().now());
        tokio::time::sleep(BASELINE).await;
        let elapsed = (Clock::real().now() - begin).as_secs_f64();
        Ok((process.cpu()? - cpu).as_secs_f64() / elapsed)
    }
}

/// Starts a program and waits until it says that it is ready.
async fn start(program: &Path, args: &[&str], admin: &str) -> anyhow::Result<Server> {
    let admin_arg = format!("--admin-addr={admin}");
    let args = [args, &[&admin_arg, "--log=warn"]].concat();
    let server = Server::start(program, &args)?;
    let ready = async {
        while !is_ready(admin).await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(10), ready).await;
    waited.with_context(|| format!("{} does not get ready", program.display()))?;
    Ok(server)
}

async fn is_ready(admin: &str) -> bool {
    let ask = async {
        let mut stream = Net::real().dial(admin).await?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer.starts_with(b"HTTP/1.1 200"))
    };
    ask.await.unwrap_or(false)
}
