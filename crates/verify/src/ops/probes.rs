//! What processes say of themselves.

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use chassis::{Clock, Net, Policy, Tasks};

use crate::run::process::{self, Process, get};

/// Between two looks at whether somebody is ready.
const LOOK: Duration = Duration::from_millis(500);
/// How long an answer may take. That it takes longer is no answer, but no "no" either.
const PATIENCE: Duration = Duration::from_secs(2);
/// Complaints that are kept.
const KEPT_MAX: usize = 8;

/// The sum of a metric over all of its labels.
pub(crate) async fn metric(net: &Net, admin: SocketAddr, name: &str) -> anyhow::Result<f64> {
    metric_of(net, admin, name, "").await
}

/// The same of those whose labels say `part`.
pub(crate) async fn metric_of(
    net: &Net,
    admin: SocketAddr,
    name: &str,
    part: &str,
) -> anyhow::Result<f64> {
    let asked = process::metric(net, admin, name, |labels| labels.contains(part));
    let found = tokio::time::timeout(PATIENCE, asked).await??;
    found.with_context(|| format!("there is no metric {name}"))
}

/// Watches whether processes stay ready.
#[derive(Debug)]
pub(crate) struct Readiness {
    complaints: Arc<Mutex<Vec<String>>>,
    looks: Arc<AtomicU64>,
}

impl Readiness {
    /// Looks at all of these until the run is over.
    pub(crate) fn watch<'a>(
        net: &Net,
        clock: Clock,
        tasks: &Tasks,
        processes: impl IntoIterator<Item = &'a Process>,
    ) -> Self {
        let all: Vec<_> = processes.into_iter().map(|p| (p.name.clone(), p.admin)).collect();
        let (complaints, looks) = (Arc::<Mutex<Vec<String>>>::default(), Arc::default());
        let readiness = Self { complaints: Arc::clone(&complaints), looks: Arc::clone(&looks) };
        let net = net.clone();
        let complaints = Arc::downgrade(&complaints);
        tasks.spawn("readiness", Policy::Session, async move {
            while complaints.strong_count() > 0 {
                for (name, admin) in &all {
                    let asked = tokio::time::timeout(PATIENCE, get(&net, *admin, "/readyz")).await;
                    let problem = match asked {
                        Ok(Ok(answer)) if answer.get(9..12) == Some("200") => None,
                        Ok(Ok(answer)) => Some(answer.lines().next().unwrap_or("?").to_owned()),
                        Ok(Err(error)) => Some(error.to_string()),
                        Err(_) => None,
                    };
                    looks.fetch_add(1, Ordering::Relaxed);
                    let Some(kept) = complaints.upgrade() else { return };
                    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(problem) = problem.filter(|_| kept.len() < KEPT_MAX) {
                        kept.push(format!("{name}: {problem}"));
                    }
                }
                clock.sleep(LOOK).await;
            }
        });
        readiness
    }

    /// How often it has looked, and what was wrong.
    pub(crate) fn end(self) -> (u64, Vec<String>) {
        let complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (self.looks.load(Ordering::Relaxed), complaints)
    }
}

/// Memory that a process has, in MiB.
pub(crate) fn memory(process: &Process) -> anyhow::Result<u64> {
    let pid = process.pid().context("it does not run")?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024)
}

/// How many descriptors a process may have: soft and hard.
pub(crate) fn descriptors(process: &Process) -> anyhow::Result<(u64, u64)> {
    let pid = process.pid().context("it does not run")?;
    let limits = fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let mut numbers = line.context("limits")?.split_whitespace();
    let mut next = || numbers.next().and_then(|number| number.parse().ok()).context("a limit");
    Ok((next()?, next()?))
}
