//! The API server is away, falls silent or talks nonsense.

use std::time::Duration;

use super::{
    Lab,
    cluster::{Cluster, Size},
    play::{Crowd, Play, Report, limit_ms, moves},
    probes::{self, Readiness},
    view::{Pods, View},
};

/// From when on the alert about an old view fires.
const ALERT_S: f64 = 90.0;
/// A watch that says nothing is begun anew after 30 s and 5 s; then it has to be listed.
const STALE_MS: u128 = 37_000;

fn views(cluster: &mut Cluster) -> impl Iterator<Item = &mut View> {
    let pods = cluster.connectors.iter_mut().chain(cluster.shards.iter_mut());
    [&mut cluster.gate_view].into_iter().chain(pods.map(|pod| &mut pod.view))
}

/// 12: nobody reaches the API server; a shard dies meanwhile, another is added.
pub(crate) async fn api_away(lab: &Lab) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let mut cluster = lab.cluster(12, Size { spare: 1, ..Size::new(2, 3) }).await?;
    let play = Play::start(&cluster, Crowd::USUAL, lab.seed).await?;
    let (net, clock) = (cluster.net.clone(), cluster.clock);
    // The one that is killed is not looked at.
    let shown = cluster.processes();
    let shown = shown.into_iter().filter(|process| process.name != "uid-of-chat-1");
    let readiness = Readiness::watch(&net, clock, &cluster.tasks, shown);
    let outage = if lab.is_full { Duration::from_mins(10) } else { Duration::from_mins(1) };
    let until = clock.now() + outage;
    for view in views(&mut cluster) {
        view.stop().await;
    }
    play.wait(10.0).await;
    let from = play.now();
    let fault = play.breaks("kill-shard", "chat 1, while the API server is away");
    cluster.crash_shard(1, Duration::from_secs(2)).await?;
    cluster.settled(3).await?;
    play.mended(fault);
    let to = play.now() + 3_000_000;
    clock.sleep(until.saturating_duration_since(clock.now())).await;
    let mut ages = Vec::new();
    for pod in &cluster.connectors {
        ages.push(probes::metric(&net, pod.process.admin, "view_age_seconds").await?);
    }
    let age = ages.into_iter().fold(f64::MAX, f64::min);
    // It is listed, and nobody else gets to see it yet.
    cluster.shards[3].view.resume().await?;
    cluster.start_shard(3).await?;
    let scale = play.breaks("scale", "a shard more, as soon as the API server is back");
    for view in views(&mut cluster) {
        view.resume().await?;
    }
    let back = clock.now();
    cluster.settled(4).await?;
    let converged = (clock.now() - back).as_millis();
    play.wait(3.0).await;
    play.mended(scale);
    let (looks, complaints) = readiness.end();
    let lines = play.end(&cluster, lab.quiet()).await?;
    let figures = report.judge(&lines);
    report.nobody_left(&figures);
    report.say(format!("the API server was away for {} s", outage.as_secs()));
    report.must(complaints.is_empty(), format!("{looks} looks, not ready: {complaints:?}"));
    report.pauses(&lines, from, to, limit_ms(2_000));
    let is_told = age > outage.as_secs_f64() - 10.0 && (!lab.is_full || age > ALERT_S);
    report.must(is_told, format!("views say that they are {age:.0} s old"));
    report.must(converged <= 5_000, format!("views agree {converged} ms after it is back"));
    Ok(report)
}

/// 13: one connector's watch is half open while a shard is added.
pub(crate) async fn half_open(lab: &Lab) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let mut cluster = lab.cluster(13, Size { spare: 1, ..Size::new(3, 3) }).await?;
    let play = Play::start(&cluster, Crowd::USUAL, lab.seed).await?;
    play.wait(3.0).await;
    cluster.connectors[0].view.api.freeze_watches();
    let from = play.now();
    let fault = play.breaks("split-views", "connector-0 hears nothing of the fourth shard");
    cluster.start_shard(3).await?;
    for pod in &cluster.connectors[1..] {
        cluster.linked(pod, 4, Duration::from_secs(10)).await?;
    }
    // It may have a link to the new one because it was sent there: the list is what counts.
    let stale = cluster.connectors[0].view.api.clone();
    let (began, watches) = (cluster.clock.now(), stale.seen().watches);
    let again = stale.until(|seen| seen.watches > watches);
    let is_back = tokio::time::timeout(Duration::from_secs(60), again).await.is_ok();
    let stale = (cluster.clock.now() - began).as_millis();
    cluster.linked(&cluster.connectors[0], 4, Duration::from_secs(10)).await?;
    play.wait(2.0).await;
    play.mended(fault);
    let to = play.now();
    let lines = play.end(&cluster, lab.quiet()).await?;
    let figures = report.judge(&lines);
    report.nobody_left(&figures);
    report.must(is_back && stale <= STALE_MS, format!("the view was stale for {stale} ms"));
    report.pauses(&lines, from, to, limit_ms(2_000));
    Ok(report)
}

/// 14: the API server answers 410, 403, 429, 500, and an empty list.
pub(crate) async fn errors(lab: &Lab) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let mut cluster = lab.cluster(14, Size::new(2, 3)).await?;
    let crowd = if lab.is_quick { Crowd::SMALL } else { Crowd::USUAL };
    let play = Play::start(&cluster, crowd, lab.seed).await?;
    let from = play.now();
    for status in [None, Some(403), Some(429), Some(500)] {
        let mut asked = Vec::new();
        for view in views(&mut cluster) {
            asked.push((view.api.clone(), view.api.seen()));
            view.api.fail(status);
            // Who watches is told 410, and lists.
            view.api.compact();
        }
        let mut all_asked = true;
        for (api, before) in asked {
            let again = api.until(|seen| match status {
                None => seen.lists > before.lists,
                Some(_) => seen.failed > before.failed,
            });
            all_asked &= tokio::time::timeout(Duration::from_secs(15), again).await.is_ok();
            api.fail(None);
        }
        let name = status.map_or("410".to_owned(), |status| format!("410, then {status}"));
        report.must(all_asked, format!("{name}: all list again"));
        play.wait(2.0).await;
    }
    for view in views(&mut cluster) {
        view.show(Pods::new());
    }
    play.wait(5.0).await;
    cluster.publish();
    play.wait(2.0).await;
    let to = play.now();
    let log = std::fs::read_to_string(cluster.connectors[0].process.log())?;
    let lines = play.end(&cluster, lab.quiet()).await?;
    let figures = report.judge(&lines);
    report.nobody_left(&figures);
    let moved = moves(&lines, play.shared.rooms);
    report.must(moved == 0, format!("{moved} rooms move"));
    let rule = "a Role that allows get, list and watch of endpointslices";
    report.must(log.contains(rule), "the missing rule is logged".to_owned());
    let held = "most of a list went at once";
    report.must(log.contains(held), "an empty list is held back".to_owned());
    report.pauses(&lines, from, to, lab.limit_ms(2_000));
    Ok(report)
}
