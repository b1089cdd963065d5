//! What processes answer, and what they take.

use std::{process::Command, time::Duration};

use anyhow::Context;
use chassis::{Policy, Stream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::spawn_blocking,
};

use super::{
    Lab,
    cluster::{Cluster, Size},
    play::{Crowd, Play, Report},
    probes,
};
use crate::people::{entry::Url, socket};

/// Descriptors that a process may have at first, and connections that it takes.
const SOFT: u64 = 1024;
const CONNECTIONS: usize = 70;
const KNOCKS_MAX: usize = 10;
/// How long a drain may take until it is seen.
const SEEN: Duration = Duration::from_secs(10);

/// Asks gRPC addresses for health and reflection, as an operator does.
async fn health(cluster: &Cluster, addrs: &[String]) -> anyhow::Result<(bool, String)> {
    let program = cluster.bin_dir.join("shaddock-admin");
    let (shown, mut asking) = (program.display().to_string(), Command::new(&program));
    asking.arg("health").args(addrs);
    let done = spawn_blocking(move || asking.output()).await?.context(shown)?;
    Ok((done.status.success(), String::from_utf8_lossy(&done.stdout).into_owned()))
}

/// 3: health and reflection, in service and in a drain.
pub(crate) async fn grpc_answers(lab: &Lab) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let flags = &["--drain-time", "6s", "--accept-grace", "1s"];
    let mut cluster = lab.cluster(3, Size { flags, ..Size::new(2, 2) }).await?;
    let play = Play::start(&cluster, Crowd::SMALL, lab.seed).await?;
    let pods = cluster.connectors.iter().chain(&cluster.shards).map(|pod| pod.grpc);
    let addrs: Vec<_> = [cluster.gate_grpc].into_iter().chain(pods).collect();
    let addrs: Vec<String> = addrs.iter().map(ToString::to_string).collect();
    let (is_well, said) = health(&cluster, &addrs).await?;
    let serving = said.matches(" SERVING").count();
    let text = format!("{serving} of {} serve, with reflection v1 and v1alpha", addrs.len());
    report.must(is_well && serving == addrs.len(), text);

    let drain = play.breaks("drain", "connector-0");
    let (clock, grpc) = (cluster.clock, vec![cluster.connectors[0].grpc.to_string()]);
    let mut ended = std::mem::replace(&mut cluster.connectors[0].process, lab.nobody());
    let ending = cluster.tasks.clone();
    let (told, code) = tokio::sync::oneshot::channel();
    ending.spawn("drain", Policy::Session, async move {
        // Whoever waits for it has given up, else.
        let _ = told.send(ended.terminate(clock).await);
    });
    let (until, mut said) = (clock.now() + SEEN, String::new());
    while !said.contains("NOT_SERVING") && clock.now() < until {
        said = health(&cluster, &grpc).await?.1;
        clock.sleep(Duration::from_millis(100)).await;
    }
    report.must(said.contains("NOT_SERVING"), "NOT_SERVING during the drain".to_owned());
    let code = code.await.context("the drain")??;
    play.mended(drain);
    let lines = play.end(&cluster, lab.quiet()).await?;
    report.judge(&lines);
    report.exited("connector", code);
    Ok(report)
}

/// 23: few descriptors at first, and more clients than are taken.
pub(crate) async fn full_house(lab: &Lab) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let flags = &["--connections-max", "70"];
    let cluster = lab.cluster(23, Size { flags, few_descriptors: true, ..Size::new(1, 1) }).await?;
    let connector = &cluster.connectors[0];
    let (soft, hard) = probes::descriptors(&connector.process)?;
    let is_raised = soft > SOFT && soft == hard;
    report.must(is_raised, format!("descriptors: {SOFT} at first, {soft} of {hard} now"));
    let play = Play::start(&cluster, Crowd { clients: 40, ..Crowd::SMALL }, lab.seed).await?;
    let at = Url::root(&connector.way.addr);
    let fault = play.breaks("full", "no more clients are taken");
    let mut held = Vec::new();
    while held.len() <= CONNECTIONS
        && let Ok(opened) = socket::open(&cluster.net, &at, true).await
    {
        held.push(opened);
    }
    let mut answer = String::new();
    let mut knocking = Vec::new();
    // One of the others may have gone meanwhile.
    while !answer.starts_with("HTTP/1.1 503") && knocking.len() < KNOCKS_MAX {
        let stream;
        (stream, answer) = knock(&cluster, &connector.way.addr.to_string()).await?;
        knocking.push(stream);
    }
    let head = answer.to_ascii_lowercase();
    let is_told = head.starts_with("http/1.1 503") && head.contains("retry-after: ");
    let first = answer.lines().next().unwrap_or("nothing").to_owned();
    report.must(is_told, format!("{} more are taken, then {first} with Retry-After", held.len()));
    let open = probes::metric(&cluster.net, connector.process.admin, "connector_links").await;
    report.must(open.is_ok(), "the admin port answers".to_owned());
    drop((held, knocking));
    play.mended(fault);
    play.wait(2.0).await;
    let lines = play.end(&cluster, lab.quiet()).await?;
    report.judge(&lines);
    Ok(report)
}

/// Asks for an upgrade; returns what is answered, and the connection.
async fn knock(cluster: &Cluster, addr: &str) -> anyhow::Result<(Stream, String)> {
    let mut stream = cluster.net.dial(addr).await?;
    let head = format!(
        "GET / HTTP/1.1\r\nHost: {addr}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let mut answer = vec![0; 1024];
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut answer)).await??;
    Ok((stream, String::from_utf8_lossy(&answer[..read]).into_owned()))
}
