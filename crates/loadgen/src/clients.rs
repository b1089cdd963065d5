use std::{num::NonZeroUsize, time::Duration};

use chassis::Clock;
use serde_json::json;

use crate::{
    client::Counts,
    crowd::{Crowd, Plan, Talk},
    print,
};

/// Options of `loadgen clients`.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Address of a connector, host:port; may be repeated
    #[arg(long = "connector", value_name = "ADDR", required = true)]
    connectors: Vec<String>,

    /// Clients
    #[arg(long, value_name = "COUNT", default_value = "1000")]
    sessions: NonZeroUsize,

    /// Rooms that they are spread over
    #[arg(long, value_name = "COUNT", default_value = "1")]
    rooms: NonZeroUsize,

    /// Clients that send
    #[arg(long, value_name = "COUNT", default_value = "1")]
    senders: NonZeroUsize,

    /// Messages per second, of all senders together; 0 to be quiet
    #[arg(long, value_name = "COUNT", default_value_t = 20.0)]
    rate: f64,

    /// Messages that one sender sends in one write
    #[arg(long, value_name = "COUNT", default_value = "1")]
    burst: NonZeroUsize,

    /// Length of a message
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    content: usize,

    /// How long to send, or to be quiet, for example 10s
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    time: Duration,

    /// Logins at a time
    #[arg(long, value_name = "COUNT", default_value = "50")]
    concurrency: NonZeroUsize,

    /// Begins the names of users and rooms; two runs at once need two
    #[arg(long, default_value = "load")]
    name: String,
}

/// Runs the clients and prints what they saw.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let clock = Clock::real();
    let begin = clock.now();
    let sessions = options.sessions.get();
    let plan = Plan {
        connectors: options.connectors,
        sessions,
        rooms: Some(options.rooms.get()),
        senders: options.senders.get(),
        concurrency: options.concurrency.get(),
        name: options.name,
    };
    let crowd = Crowd::gather(&plan).await?;
    let gathered = clock.now() - begin;
    let before = Counts::get(&crowd.counts.deliveries);
    let mut sent = 0;
    let mut complete = true;
    if options.rate > 0.0 {
        let (rate, burst) = (options.rate, options.burst.get());
        let talk = Talk { rate, burst, content: options.content, time: options.time };
        sent = crowd.talk(talk).await?;
        // Rooms differ by one member at most; only even ones can be told in full.
        if sessions.is_multiple_of(options.rooms.get()) {
            let members = (sessions / options.rooms.get()) as u64;
            complete = crowd.wait_for(before, sent * members).await.is_ok();
        }
    } else {
        clock.sleep(options.time).await;
    }
    let counts = &crowd.counts;
    let mut latencies = counts.latencies.lock().expect("nobody panics").clone();
    latencies.sort_unstable();
    print(json!({
        "sessions": sessions,
        "gather_ms": gathered.as_millis() as u64,
        "sent": sent,
        "deliveries": Counts::get(&counts.deliveries) - before,
        "complete": complete,
        "replies": Counts::get(&counts.replies),
        "refusals": Counts::get(&counts.refusals),
        "closes": Counts::get(&counts.closes),
        "first_close": counts.first_close.get(),
        "latency_us": {
            "p50": percentile(&latencies, 50.0),
            "p99": percentile(&latencies, 99.0),
            "max": latencies.last(),
        },
    }));
    Ok(())
}

/// A percentile of sorted figures.
fn percentile(sorted: &[u64], percent: f64) -> Option<u64> {
    let last = sorted.len().checked_sub(1)?;
    Some(sorted[(last as f64 * percent / 100.0).round() as usize])
}
