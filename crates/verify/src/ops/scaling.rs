//! Shards come and go as planned.

use verify::Line;

use super::{
    Lab,
    cluster::Size,
    play::{Crowd, Play, Report, limit_ms, moves},
};

/// How many rooms have another owner in the next of these views.
fn expected(owners: &[Vec<usize>]) -> usize {
    let changes = owners
        .windows(2)
        .map(|pair| pair[0].iter().zip(&pair[1]).filter(|(before, after)| before != after).count());
    changes.sum()
}

fn compare(report: &mut Report, lines: &[Line], rooms: usize, expected: usize) {
    let moved = moves(lines, rooms);
    // One that is claimed twice, for a link was late, is no mass move.
    let is_kept = moved <= expected + 1 + expected / 10;
    report.must(is_kept, format!("{moved} moves of {rooms} rooms, {expected} by placement"));
}

/// 6: three shards, four, three.
pub(crate) async fn grow_and_shrink(lab: &Lab) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let mut cluster = lab.cluster(6, Size { spare: 1, ..Size::new(3, 3) }).await?;
    let play = Play::start(&cluster, Crowd::USUAL, lab.seed).await?;
    play.wait(4.0).await;
    let from = play.now();
    let up = play.breaks("scale", "to 4 shards");
    cluster.start_shard(3).await?;
    cluster.settled(4).await?;
    play.wait(3.0).await;
    play.mended(up);
    play.wait(4.0).await;
    let down = play.breaks("scale", "to 3 shards");
    let code = cluster.end_shard(3).await?;
    play.wait(3.0).await;
    play.mended(down);
    let to = play.now();
    play.wait(4.0).await;
    let (three, four) = (&[0, 1, 2][..], &[0, 1, 2, 3][..]);
    let owners = [three, four, three].map(|shards| play.owners(&cluster, shards));
    let lines = play.end(&cluster, lab.quiet()).await?;
    let figures = report.judge(&lines);
    report.nobody_left(&figures);
    compare(&mut report, &lines, play.shared.rooms, expected(&owners));
    report.pauses(&lines, from, to, limit_ms(250));
    report.exited("chat", code);
    Ok(report)
}

/// 7: five shards are replaced, one after the other.
pub(crate) async fn roll_shards(lab: &Lab) -> anyhow::Result<Report> {
    const SHARDS: usize = 5;
    let mut report = Report::default();
    let mut cluster = lab.cluster(7, Size { spare: SHARDS, ..Size::new(3, SHARDS) }).await?;
    let play = Play::start(&cluster, Crowd::USUAL, lab.seed).await?;
    play.wait(4.0).await;
    let from = play.now();
    let roll = play.breaks("scale", "all shards are replaced");
    let mut running: Vec<usize> = (0..SHARDS).collect();
    let mut owners = vec![play.owners(&cluster, &running)];
    for old in 0..SHARDS {
        cluster.start_shard(SHARDS + old).await?;
        running.push(SHARDS + old);
        owners.push(play.owners(&cluster, &running));
        cluster.settled(SHARDS + 1).await?;
        play.wait(2.0).await;
        running.retain(|shard| *shard != old);
        owners.push(play.owners(&cluster, &running));
        let code = cluster.end_shard(old).await?;
        if code != Some(0) {
            report.exited(&format!("chat {old}"), code);
        }
        play.wait(2.0).await;
    }
    play.mended(roll);
    let to = play.now();
    report.say("all exit with 0, unless said".to_owned());
    let lines = play.end(&cluster, lab.quiet()).await?;
    let figures = report.judge(&lines);
    report.nobody_left(&figures);
    let rooms = play.shared.rooms;
    compare(&mut report, &lines, rooms, expected(&owners));
    report.say(format!("{:.2} moves a room", moves(&lines, rooms) as f64 / rooms as f64));
    report.pauses(&lines, from, to, limit_ms(200));
    Ok(report)
}
