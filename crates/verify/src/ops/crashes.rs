//! Shards die, fall silent or freeze.

use std::time::Duration;

use super::{
    Lab,
    cluster::Size,
    play::{Crowd, Play, Report, limit_ms, moves},
    probes,
};
use crate::{figures::Figures, run::proxy::Mode};

/// A request is answered within this time, whatever happens; its default in the connector.
const ANSWERED_MS: u64 = 8_000;
const FROZEN: f64 = 30.0;
const BLACK: f64 = 25.0;

/// 9: a chat process is killed, and started again in place.
pub(crate) async fn kill_shard(lab: &Lab) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let mut cluster = lab.cluster(9, Size::new(2, 3)).await?;
    let crowd = if lab.is_quick { Crowd::SMALL } else { Crowd::USUAL };
    let play = Play::start(&cluster, crowd, lab.seed).await?;
    play.wait(3.0).await;
    let from = play.now();
    let fault = play.breaks("kill-shard", "chat 1");
    cluster.crash_shard(1, Duration::from_secs(2)).await?;
    cluster.settled(3).await?;
    play.mended(fault);
    play.wait(4.0).await;
    let to = play.now();
    let lines = play.end(&cluster, lab.quiet()).await?;
    let figures = report.judge(&lines);
    report.nobody_left(&figures);
    report.say(format!("{} moves", moves(&lines, play.shared.rooms)));
    report.pauses(&lines, from, to, lab.limit_ms(2_000));
    Ok(report)
}

/// 10: nothing that is sent to a shard arrives, nor what it sends.
pub(crate) async fn black_hole(lab: &Lab) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let cluster = lab.cluster(10, Size::new(2, 3)).await?;
    let play = Play::start(&cluster, Crowd::USUAL, lab.seed).await?;
    play.wait(3.0).await;
    let from = play.now();
    let fault = play.breaks("black-hole", "chat 1");
    cluster.around(1, Mode::Stall);
    play.wait(BLACK).await;
    let to = play.now();
    cluster.around(1, Mode::Cut);
    play.wait(0.2).await;
    cluster.around(1, Mode::Pass);
    cluster.settled(3).await?;
    play.mended(fault);
    let owned = play.owners(&cluster, &[0, 1, 2]).iter().filter(|owner| **owner == 1).count();
    let lines = play.end(&cluster, lab.quiet()).await?;
    let figures = report.judge(&lines);
    report.nobody_left(&figures);
    report.pauses(&lines, from, to, 20_000);
    let moved = moves(&lines, play.shared.rooms);
    report.must(moved >= owned, format!("{moved} claims for the {owned} rooms of the shard"));
    let waits = Figures::between(&lines, from, to).answers;
    let longest = waits.last().copied().unwrap_or_default() / 1000;
    let limit = ANSWERED_MS + limit_ms(250);
    report.must(longest <= limit, format!("an answer took {longest} ms at most (limit {limit})"));
    Ok(report)
}

/// 11: a shard is frozen for half a minute, and goes on.
pub(crate) async fn freeze_shard(lab: &Lab) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let cluster = lab.cluster(11, Size::new(2, 3)).await?;
    let play = Play::start(&cluster, Crowd::USUAL, lab.seed).await?;
    play.wait(3.0).await;
    let frozen = &cluster.shards[1].process;
    let before = probes::metric(&cluster.net, frozen.admin, "chat_rooms").await?;
    let from = play.now();
    let fault = play.breaks("freeze-shard", "chat 1");
    frozen.freeze();
    play.wait(FROZEN).await;
    let to = play.now();
    frozen.thaw();
    cluster.settled(3).await?;
    play.mended(fault);
    play.wait(5.0).await;
    let given_up = probes::metric(&cluster.net, frozen.admin, "chat_rooms_given_up_total")
        .await
        .unwrap_or(0.0);
    let mut late = 0.0;
    for pod in &cluster.connectors {
        let name = "connector_late_events_total";
        late += probes::metric(&cluster.net, pod.process.admin, name).await.unwrap_or(0.0);
    }
    let lines = play.end(&cluster, lab.quiet()).await?;
    let figures = report.judge(&lines);
    report.nobody_left(&figures);
    report.must(given_up > 0.0, format!("{given_up} of its {before} rooms given up by itself"));
    report.say(format!("{late} late events ignored"));
    report.pauses(&lines, from, to, 20_000);
    Ok(report)
}
