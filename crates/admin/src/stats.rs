//! `shaddock-admin stats`.

use std::{io::Write, num::NonZeroUsize, path::PathBuf, time::Duration};

use chassis::{GrpcTlsOptions, StartError, World};
use cluster::{Connector, List, Shard};
use rpc::Operator;
use serde_json::{Map, Value, json};

use crate::{
    ask::{Asker, Row, Target, Tier},
    table,
};

/// Where the connector of one machine is, if nobody says otherwise.
const CONNECTOR_ADDR: &str = "127.0.0.1:4050";

#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// The gates' gRPC addresses: HOST:PORT,… or ID=HOST:PORT,… or @FILE with one a
    /// line and comments after #; at most 1000. A name that has several addresses, as
    /// that of a headless Service, stands for all of them
    #[arg(long, env = "SHADDOCK_GATES", value_name = "LIST", default_value = "127.0.0.1:4014")]
    gates: List<Connector>,

    /// The connectors' gRPC addresses, written as those of the gates; without it those
    /// that the gates know of are asked, and 127.0.0.1:4050 if no gate answers
    #[arg(long, env = "SHADDOCK_CONNECTORS", value_name = "LIST")]
    connectors: Option<List<Connector>>,

    /// The chat shards: ID=HOST:PORT,… or @FILE with one a line; at most 1000
    #[arg(
        long,
        env = "SHADDOCK_SHARDS",
        value_name = "LIST",
        default_value = "chat-0=127.0.0.1:6050"
    )]
    shards: List<Shard>,

    /// File with the token of operators, if the processes demand one
    #[arg(long, env = "SHADDOCK_ADMIN_TOKEN_FILE", value_name = "FILE")]
    admin_token_file: Option<PathBuf>,

    #[command(flatten)]
    tls: GrpcTlsOptions,

    /// How long one process may take to answer, connecting included
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = humantime::parse_duration)]
    timeout: Duration,

    /// How many processes are asked at once
    #[arg(long, value_name = "COUNT", default_value = "16")]
    parallel: NonZeroUsize,

    /// Print JSON instead of a table: all counts, times in milliseconds
    #[arg(long)]
    json: bool,
}

/// Asks all and prints what they say. True if all have answered.
pub(crate) async fn run(options: &Options) -> anyhow::Result<bool> {
    let operator = Operator::load(options.admin_token_file.as_deref()).map_err(StartError)?;
    let (timeout, parallel) = (options.timeout, options.parallel.get());
    let mut world = World::real();
    world.net = options.tls.secure(world.net)?;
    let asker = Asker { world, operator, timeout, parallel };
    let rows = asker.stats(targets(options, &asker).await).await;
    let text = if options.json { format!("{:#}\n", document(&rows)) } else { table::text(&rows) };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(rows.iter().all(|row| row.answer.is_ok()))
}

/// Everybody there is: gates, connectors, shards.
async fn targets(options: &Options, asker: &Asker) -> Vec<Target> {
    let front = |tier, listed: &[Connector]| -> Vec<Target> {
        let target = |one: &Connector| Target {
            tier,
            id: one.id.as_ref().map(ToString::to_string).unwrap_or_default(),
            addr: one.addr.clone(),
        };
        listed.iter().map(target).collect()
    };
    let gates = asker.at_all_addresses(front(Tier::Gate, options.gates.entries())).await;
    let mut connectors = match &options.connectors {
        Some(listed) => asker.at_all_addresses(front(Tier::Connector, listed.entries())).await,
        None => asker.connectors(&gates).await,
    };
    if connectors.is_empty() {
        let addr = CONNECTOR_ADDR.to_owned();
        connectors.push(Target { tier: Tier::Connector, id: String::new(), addr });
    }
    let shards = options.shards.entries().iter().map(|shard| Target {
        tier: Tier::Chat,
        id: shard.id.to_string(),
        addr: shard.addr.clone(),
    });
    let shards = asker.at_all_addresses(shards.collect()).await;
    gates.into_iter().chain(connectors).chain(shards).collect()
}

/// All that is known, for programs.
fn document(rows: &[Row]) -> Value {
    let answered = rows.iter().filter(|row| row.answer.is_ok()).count();
    let processes: Vec<Value> = rows.iter().map(object).collect();
    json!({ "asked": rows.len(), "answered": answered, "processes": processes })
}

fn object(row: &Row) -> Value {
    let Target { tier, id, addr } = &row.target;
    match &row.answer {
        Err(why) => json!({ "tier": tier.name(), "id": id, "addr": addr, "error": why }),
        Ok(answer) => {
            let process = &answer.process;
            let counts = answer.counts.iter().map(|(name, count)| ((*name).into(), json!(count)));
            json!({
                "tier": tier.name(),
                "id": table::name(row),
                "addr": addr,
                "version": process.version,
                "uptime_ms": process.uptime_ms,
                "now_ms": process.now_ms,
                "skew_ms": answer.skew_ms,
                "draining": process.draining,
                "counts": counts.collect::<Map<_, _>>(),
            })
        }
    }
}
