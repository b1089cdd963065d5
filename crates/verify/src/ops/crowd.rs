//! Many clients at once, and some who do not read.

use std::time::Duration;

use anyhow::Context;
use chassis::Policy;
use futures::{SinkExt, StreamExt};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message as Frame;
use wire::{Kind, route};

use super::{
    Lab,
    cluster::{Cluster, Size},
    play::{Crowd, Play, Report, limit_ms},
    probes::{self, Readiness},
};
use crate::{
    figures::{Figures, percentile},
    people::{
        entry::Url,
        socket::{self, Socket},
    },
    run::proxy::Mode,
};

/// Connections that one connector takes per second, here.
const ACCEPTS: usize = 60;
const CONNECTORS: usize = 3;
/// How long nobody gets through, in seconds.
const AWAY: f64 = 3.0;
const BACK_MS: u64 = 120_000;
/// Some always come and go by themselves.
const MOST: f64 = 0.98;
/// Those who do not read, and a room in which much is said.
const SLOW: usize = 3;
const FLOOD: usize = 24 * 1024;
const FLOODED: Duration = Duration::from_secs(55);
const CLOSED_S: f64 = 30.0;
/// Memory that a connector may need for them, beside what it has for each connection.
const MEMORY_MIB: u64 = 64;

/// 18: all connections end at once, for what carried them is gone.
pub(crate) async fn mass_return(lab: &Lab) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let flags = &["--accepts-per-second", "60"];
    let cluster = lab.cluster(18, Size { flags, ..Size::new(CONNECTORS, 3) }).await?;
    let usual = match (lab.is_full, cfg!(debug_assertions)) {
        (true, _) => 5_000,
        (false, false) => 2_000,
        (false, true) => 500,
    };
    let clients = lab.clients.unwrap_or(usual);
    let pace = Duration::from_secs(if lab.is_full { 60 } else { 30 });
    let play = Play::start(&cluster, Crowd { clients, rooms: clients / 8, pace }, lab.seed).await?;
    let readiness =
        Readiness::watch(&cluster.net, cluster.clock, &cluster.tasks, cluster.processes());
    play.wait(3.0).await;
    let from = play.now();
    let fault = play.breaks("cut-clients", "all connectors");
    cluster.connectors.iter().for_each(|pod| pod.way.set(Mode::Cut));
    play.wait(AWAY).await;
    cluster.connectors.iter().for_each(|pod| pod.way.set(Mode::Pass));
    let until = cluster.clock.now() + Duration::from_millis(BACK_MS);
    let mut members = 0.0;
    while members < clients as f64 * MOST && cluster.clock.now() < until {
        play.wait(1.0).await;
        members = 0.0;
        for pod in &cluster.connectors {
            let counted = probes::metric(&cluster.net, pod.process.admin, "connector_members");
            members += counted.await.unwrap_or(0.0);
        }
    }
    let took = (play.now() - from) / 1000;
    play.wait(2.0).await;
    play.mended(fault);
    let (looks, complaints) = readiness.end();
    let lines = play.end(&cluster, lab.quiet()).await?;
    let figures = report.judge(&lines);
    report.must(took <= BACK_MS, format!("{clients} clients, {members} are back after {took} ms"));
    // How many are in within one second is up to how busy the machine is, too.
    let seconds = (took as f64 / 1e3 - AWAY).max(1.0);
    let (rate, limit) = (figures.back as f64 / seconds, ACCEPTS * CONNECTORS);
    // A second's worth may come at once, and another waits.
    let is_capped = figures.back as f64 <= (seconds + 2.0) * limit as f64;
    report.must(is_capped, format!("{rate:.0} reconnects a second (limit {limit})"));
    report.must(complaints.is_empty(), format!("{looks} looks, not ready: {complaints:?}"));
    Ok(report)
}

fn request(number: u32, route: &str, body: &serde_json::Value) -> anyhow::Result<Frame> {
    Ok(Frame::Binary(socket::request(number, route, &serde_json::to_vec(body)?)?))
}

/// Comes into a room of which nobody takes notes.
async fn enter(cluster: &Cluster, at: &Url, name: &str) -> anyhow::Result<Socket> {
    let (mut socket, _) = socket::open(&cluster.net, at, true).await?;
    let body = json!({ "username": name, "rid": "flood" });
    socket.send(request(1, route::ENTER, &body)?).await?;
    // The answer.
    socket.next().await.context("closed")??;
    Ok(socket)
}

/// Says that it is there, and reads nothing; until it is closed.
async fn not_reading(cluster: &Cluster, mut socket: Socket) -> f64 {
    let began = cluster.clock.now();
    while socket::write(&mut socket, Kind::Heartbeat, b"").await.is_ok() {
        cluster.clock.sleep(Duration::from_millis(500)).await;
    }
    (cluster.clock.now() - began).as_secs_f64()
}

/// 19: some clients stop reading, in a room in which much is said.
pub(crate) async fn slow_readers(lab: &Lab) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let cluster = lab.cluster(19, Size::new(1, 2)).await?;
    let play = Play::start(&cluster, Crowd { clients: 297, ..Crowd::USUAL }, lab.seed).await?;
    let connector = &cluster.connectors[0].process;
    // A proxy would read for them.
    let at = Url::root(&cluster.connectors[0].listen.context("a port")?);
    play.wait(10.0).await;
    let (before, memory) = (play.now(), probes::memory(connector)?);
    let mut talker = enter(&cluster, &at, "talker").await?;
    let mut slow = Vec::new();
    for number in 0..SLOW {
        slow.push(enter(&cluster, &at, &format!("slow-{number}")).await?);
    }
    let (clock, words) = (cluster.clock, "x".repeat(FLOOD));
    cluster.tasks.spawn("talker", Policy::Session, async move {
        let until = clock.now() + FLOODED;
        for number in 2.. {
            let body = json!({ "content": words, "target": "*" });
            let Ok(frame) = request(number, route::SEND, &body) else { return };
            // A client that sends no heartbeats is closed, whatever else it says.
            let beat = socket::write(&mut talker, Kind::Heartbeat, b"").await;
            let is_open = beat.is_ok() && talker.send(frame).await.is_ok();
            if !is_open || clock.now() > until {
                return;
            }
            // It reads what it is told, unlike the others.
            let pause = tokio::time::sleep(Duration::from_millis(10));
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    frame = talker.next() => if !matches!(frame, Some(Ok(_))) { return },
                }
            }
        }
    });
    let waits = slow.into_iter().map(|socket| not_reading(&cluster, socket));
    let all = futures::future::join_all(waits);
    let closed = tokio::time::timeout(Duration::from_secs(60), all).await.unwrap_or_default();
    let (after, grown) = (play.now(), probes::memory(connector)?.saturating_sub(memory));
    let reason = "reason=\"slow_consumer\"";
    let (net, admin) = (&cluster.net, connector.admin);
    let slow = probes::metric_of(net, admin, "connector_closes_total", reason).await?;
    let lines = play.end(&cluster, lab.quiet()).await?;
    let figures = report.judge(&lines);
    report.nobody_left(&figures);
    let longest = closed.iter().copied().fold(0.0, f64::max);
    let is_closed = closed.len() == SLOW && longest <= CLOSED_S && slow >= SLOW as f64;
    report
        .must(is_closed, format!("{slow} who do not read are closed after {longest:.1} s at most"));
    let p99 = |from, to| percentile(&Figures::between(&lines, from, to).answers, 99) / 1000;
    let (calm, busy) = (p99(0, before), p99(before, after));
    let limit = calm * 2 + limit_ms(100);
    let text = format!("answers at p99: {calm} ms before, {busy} ms meanwhile (limit {limit})");
    report.must(busy <= limit, text);
    report.must(grown <= MEMORY_MIB, format!("the connector has {grown} MiB more than before"));
    Ok(report)
}
