//! Processes see different shards, or do not reach each other, or the store.

use std::time::Duration;

use verify::{Event, Line};

use super::{
    Lab,
    cluster::{Cluster, Size},
    play::{Crowd, Play, Report, limit_ms, moves},
    probes::Readiness,
};
use crate::{figures::Figures, run::proxy::Mode};

const SPLIT: f64 = 20.0;
/// A shard has up to so many connections to the database.
const POOL: usize = 8;

/// 15: of three connectors each sees other shards.
pub(crate) async fn split_views(lab: &Lab) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let mut cluster = lab.cluster(15, Size::new(3, 3)).await?;
    let play = Play::start(&cluster, Crowd::USUAL, lab.seed).await?;
    play.wait(3.0).await;
    let from = play.now();
    let fault = play.breaks("split-views", "connectors 0 and 1 do not know of shards 2 and 0");
    for (connector, hidden) in [(0, 2), (1, 0)] {
        let hidden = cluster.shards[hidden].process.name.clone();
        let mut shown = cluster.shown_to(connector);
        shown.remove(&hidden);
        let view = &mut cluster.connectors[connector].view;
        view.show(shown);
        view.is_held = true;
    }
    play.wait(SPLIT).await;
    cluster.connectors.iter_mut().for_each(|pod| pod.view.is_held = false);
    cluster.publish();
    cluster.settled(3).await?;
    play.wait(2.0).await;
    play.mended(fault);
    let to = play.now();
    let lines = play.end(&cluster, lab.quiet()).await?;
    let figures = report.judge(&lines);
    report.nobody_left(&figures);
    let (moved, rooms) = (moves(&lines, play.shared.rooms), play.shared.rooms);
    // Who is asked for a room that another has sends the connector there.
    report.must(moved <= rooms * 2, format!("{moved} moves of {rooms} rooms"));
    report.pauses(&lines, from, to, limit_ms(1_000));
    Ok(report)
}

/// Cuts a connector and a shard off from all others.
fn part(cluster: &Cluster, mode: Mode) {
    let (connector, shard) = (0, 1);
    for (number, pod) in cluster.connectors.iter().enumerate() {
        for (to, way) in pod.to_shards.iter().enumerate() {
            if (number == connector) != (to == shard) {
                way.set(mode);
            }
        }
    }
    for (from, pod) in cluster.shards.iter().enumerate() {
        for (to, way) in pod.to_shards.iter().enumerate() {
            if (from == shard) != (to == shard) {
                way.set(mode);
            }
        }
    }
}

/// Messages acknowledged to clients of one connector between two times, and to others.
fn acked_by(lines: &[Line], at: &str, from: u64, to: u64) -> (usize, usize) {
    let mut there = std::collections::HashSet::new();
    let (mut here, mut elsewhere) = (0, 0);
    for line in lines {
        match &line.event {
            Event::Opened { session, connector, .. } if connector == at => {
                there.insert(*session);
            }
            Event::Sent { session, code: 200, .. } if (from..=to).contains(&line.at) => {
                let count = if there.contains(session) { &mut here } else { &mut elsewhere };
                *count += 1;
            }
            _ => {}
        }
    }
    (here, elsewhere)
}

/// 16: a connector and a shard do not reach the others, nor the others them.
pub(crate) async fn partition(lab: &Lab) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let cluster = lab.cluster(16, Size::new(3, 3)).await?;
    let play = Play::start(&cluster, Crowd::USUAL, lab.seed).await?;
    play.wait(3.0).await;
    let from = play.now();
    let fault = play.breaks("partition", "connector-0 and shard 1 from the others");
    part(&cluster, Mode::Stall);
    play.wait(if lab.is_full { 60.0 } else { 30.0 }).await;
    part(&cluster, Mode::Cut);
    play.wait(0.2).await;
    part(&cluster, Mode::Pass);
    let healed = play.now();
    cluster.settled(3).await?;
    play.wait(5.0).await;
    play.mended(fault);
    let addr = cluster.connectors[0].way.addr.to_string();
    let lines = play.end(&cluster, lab.quiet()).await?;
    report.judge(&lines);
    // It takes 3 s until links count as lost.
    let (here, elsewhere) = acked_by(&lines, &addr, from + 6_000_000, healed);
    let text = format!("{here} acknowledged on the one side meanwhile, {elsewhere} on the other");
    report.must(here > 0 && elsewhere > 0, text);
    let after = Figures::between(&lines, healed + 2_000_000, healed + 5_000_000);
    let refused = after.refused.get(&503).copied().unwrap_or_default();
    report.must(refused == 0, format!("{refused} refused from 2 s after it is healed on"));
    report.say(format!(
        "{} moves of {} rooms",
        moves(&lines, play.shared.rooms),
        play.shared.rooms
    ));
    Ok(report)
}

/// 17: PostgreSQL crashes and comes back, then answers nobody for 5 s.
pub(crate) async fn store_away(lab: &Lab) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let mut cluster = lab.cluster(17, Size::new(2, 3)).await?;
    let play = Play::start(&cluster, Crowd::USUAL, lab.seed).await?;
    let (net, clock) = (cluster.net.clone(), cluster.clock);
    let readiness = Readiness::watch(&net, clock, &cluster.tasks, cluster.processes());
    play.wait(3.0).await;
    let from = play.now();
    let fault = play.breaks("restart-store", "PostgreSQL");
    let mut postgres = cluster.postgres.take().expect("it was started");
    let restart = move || postgres.restart(Duration::from_secs(2)).map(|()| postgres);
    let postgres = tokio::task::spawn_blocking(restart).await??;
    play.mended(fault);
    play.wait(5.0).await;
    let sql = "select count(*) from pg_stat_activity where datname = 'chat' \
               or backend_type = 'client backend'";
    let connections: usize = postgres.sql("postgres", sql)?.parse()?;
    cluster.postgres = Some(postgres);
    play.wait(3.0).await;
    let fault = play.breaks("stall-store", "PostgreSQL answers nobody");
    cluster.shards.iter().for_each(|pod| pod.way.set(Mode::Stall));
    play.wait(5.0).await;
    cluster.shards.iter().for_each(|pod| pod.way.set(Mode::Pass));
    play.mended(fault);
    play.wait(8.0).await;
    let to = play.now();
    let (looks, complaints) = readiness.end();
    let lines = play.end(&cluster, lab.quiet()).await?;
    let figures = report.judge(&lines);
    report.nobody_left(&figures);
    report.must(complaints.is_empty(), format!("{looks} looks, not ready: {complaints:?}"));
    report.pauses(&lines, from, to, 15_000);
    // And the one that asks.
    let limit = POOL * cluster.shards.len() + 1;
    let text = format!("{connections} connections to the database (limit {limit})");
    report.must(connections <= limit, text);
    Ok(report)
}
