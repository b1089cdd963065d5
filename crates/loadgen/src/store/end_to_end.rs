//! From client to database and back: senders in rooms of two, through a connector and
//! a shard, each sending again as soon as it was answered.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::ensure;
use chassis::{Clock, Net};
use futures::{StreamExt, TryStreamExt, future::try_join_all, stream};
use postgres_server::PostgresServer;
use serde_json::json;
use tokio::task::JoinSet;

use super::{CONTENT, percentiles, postgres_cpu};
use crate::{
    bench::System,
    client::{Client, Counts},
    print,
};

/// Senders, each in a room with one who listens.
const SENDERS: usize = 64;
/// Logins at a time.
const CONCURRENCY: usize = 16;
/// What the best peer that keeps messages in PostgreSQL did with the same work on a
/// machine of this class: messages per second, CPU µs of all servers per message.
const PEER: (f64, f64) = (1_750.0, 838.0);

/// Measures, and prints a table.
pub(super) async fn run(
    bin_dir: &Path,
    time: Duration,
    port: u16,
    postgres: &PostgresServer,
) -> anyhow::Result<()> {
    print(
        "\n| from client to PostgreSQL | acknowledged/s | p50 / p99 ms | connector µs | shard µs | database µs | all µs |",
    );
    print("|---|---|---|---|---|---|---|");
    postgres.sql("chat", "drop table if exists shaddock_entry, shaddock_room, shaddock_schema")?;
    let store = format!("--store={}", postgres.url());
    let system = System::start(bin_dir, port, &[&store]).await?;
    let mut senders = enter(&system.clients, "ann").await?;
    let counts = Arc::new(Counts::default());
    let mut listeners = JoinSet::new();
    let clock = Clock::real();
    for listener in enter(&system.clients, "bob").await? {
        let (counts, start) = (Arc::clone(&counts), clock.now());
        listeners.spawn(async move { listener.live(&counts, None, start).await });
    }
    talk(&mut senders, super::WARM).await?;
    let cpu = || {
        anyhow::Ok([
            system.connector.process().cpu()?,
            system.chat.process().cpu()?,
            postgres_cpu(postgres)?,
        ])
    };
    let (begin, before) = (clock.now(), cpu()?);
    let latencies = talk(&mut senders, time).await?;
    let (elapsed, after) = ((clock.now() - begin).as_secs_f64(), cpu()?);
    let count = latencies.len() as f64;
    let [connector, shard, database] =
        [0, 1, 2].map(|part| (after[part] - before[part]).as_secs_f64() * 1e6 / count);
    let (p50, p99) = percentiles(latencies);
    let (rate, all) = (count / elapsed, connector + shard + database);
    print(format_args!(
        "| {SENDERS} senders in {SENDERS} rooms of 2 | {rate:.0} | {p50:.1} / {p99:.1} | {connector:.1} | {shard:.1} | {database:.1} | {all:.1} |",
    ));
    print(format_args!("| the best peer | {:.0} | | | | | {:.0} |", PEER.0, PEER.1));
    print(format_args!("| ratio | {:.1} | | | | | {:.1} |", rate / PEER.0, PEER.1 / all));
    Ok(())
}

async fn enter(connector: &str, name: &str) -> anyhow::Result<Vec<Client>> {
    let net = Net::real();
    let enter = async |number: usize| {
        let mut client = Client::connect(&net, connector).await?;
        let body = json!({"username": format!("{name}-{number}"), "rid": format!("room-{number}")});
        let answer = client.call(wire::route::ENTER, &body).await?;
        ensure!(answer["users"].is_array(), "enter refused: {answer}");
        anyhow::Ok(client)
    };
    stream::iter(0..SENDERS).map(enter).buffered(CONCURRENCY).try_collect().await
}

/// Has all talk for a time; how long each message took.
async fn talk(senders: &mut [Client], time: Duration) -> anyhow::Result<Vec<Duration>> {
    let clock = Clock::real();
    let end = clock.now() + time;
    let body = json!({"content": "x".repeat(CONTENT), "target": "*"});
    let each = senders.iter_mut().map(async |sender| {
        let mut latencies = Vec::new();
        while clock.now() < end {
            let sent = clock.now();
            let answer = sender.call(wire::route::SEND, &body).await?;
            ensure!(answer.get("code").is_none_or(|code| code == 200), "refused: {answer}");
            latencies.push(clock.now() - sent);
        }
        anyhow::Ok(latencies)
    });
    Ok(try_join_all(each).await?.concat())
}
