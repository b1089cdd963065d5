//! Processes that are started, killed and frozen.

use std::{
    collections::BTreeSet,
    fs::File,
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, bail};
use chassis::{Clock, Net, Rng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long a process may take until it is ready.
const READY: Duration = Duration::from_secs(60);

/// A program that can be started again and again. It ends with this value.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) name: String,
    program: PathBuf,
    args: Vec<String>,
    pub(crate) admin: SocketAddr,
    log: PathBuf,
    /// The bug that is planted in it; none if there is no name.
    pub(crate) planted: String,
    child: Option<Child>,
}

impl Process {
    /// Nothing is started yet.
    pub(crate) fn new(
        name: &str,
        program: PathBuf,
        args: Vec<String>,
        admin: SocketAddr,
        log: PathBuf,
    ) -> Self {
        Self {
            name: name.to_owned(),
            program,
            args,
            admin,
            log,
            planted: String::new(),
            child: None,
        }
    }

    /// Has it started by another program, with these words before its own name.
    pub(crate) fn wrap(&mut self, by: PathBuf, words: &[&str]) {
        let program = std::mem::replace(&mut self.program, by);
        let words = words.iter().map(|word| (*word).to_owned());
        let words: Vec<_> = words.chain([program.display().to_string()]).collect();
        self.args.splice(0..0, words);
    }

    /// The number at the end of its name.
    pub(crate) fn number(&self) -> usize {
        self.name.rsplit('-').next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
    }

    /// Its number for the kernel, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    pub(crate) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.program);
        command.args(&self.args).arg("--admin-addr").arg(self.admin.to_string());
        command.env("SHADDOCK_PLANTED", &self.planted);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        end_with_us(&mut command);
        let child = command.spawn();
        self.child = Some(child.with_context(|| format!("start {}", self.program.display()))?);
        Ok(())
    }

    /// Waits until it says that it is ready.
    pub(crate) async fn ready(&mut self, net: &Net, clock: Clock) -> anyhow::Result<()> {
        let until = clock.now() + READY;
        while clock.now() < until {
            if is_ready(net, self.admin).await.unwrap_or(false) {
                return Ok(());
            }
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait()?
            {
                bail!("{} ended, {status}: see {}", self.name, self.log.display());
            }
            clock.sleep(Duration::from_millis(50)).await;
        }
        bail!("{} is not ready: see {}", self.name, self.log.display())
    }

    /// Ends it as a power failure would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only if it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to end, and waits until it has; returns its exit code.
    pub(crate) async fn terminate(&mut self, clock: Clock) -> anyhow::Result<Option<i32>> {
        self.signal(libc::SIGTERM);
        let Some(mut child) = self.child.take() else { return Ok(None) };
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status.code());
            }
            clock.sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) fn freeze(&self) {
        self.signal(libc::SIGSTOP);
    }

    pub(crate) fn thaw(&self) {
        self.signal(libc::SIGCONT);
    }

    fn signal(&self, which: i32) {
        if let Some(child) = &self.child {
            signal(child.id(), which);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a signal to a process of ours.
#[allow(unsafe_code, reason = "there is no safe call")]
fn signal(pid: u32, which: i32) {
    let Ok(pid) = i32::try_from(pid) else { return };
    // SAFETY: the call takes two numbers and touches no memory of ours.
    unsafe {
        libc::kill(pid, which);
    }
}

/// Has the kernel kill what is started when this process ends, however it does.
#[allow(unsafe_code, reason = "there is no safe call")]
fn end_with_us(command: &mut Command) {
    // SAFETY: prctl may be called between fork and exec, and touches no memory.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
}

async fn is_ready(net: &Net, admin: SocketAddr) -> std::io::Result<bool> {
    Ok(get(net, admin, "/readyz").await?.get(9..12) == Some("200"))
}

/// How often a connector took a room to a shard again because it had lost its link. That
/// the two differ about a room, or that shards send it to and fro, is no excuse for anybody.
pub(crate) async fn repairs(net: &Net, admin: SocketAddr) -> std::io::Result<f64> {
    let is_meant = |labels: &str| labels.contains(r#"cause="link_lost""#);
    Ok(metric(net, admin, "connector_rejoins_total", is_meant).await?.unwrap_or_default())
}

/// The sum of a metric over all of its labels that are meant; none if there are none.
pub(crate) async fn metric(
    net: &Net,
    admin: SocketAddr,
    name: &str,
    is_meant: impl Fn(&str) -> bool,
) -> std::io::Result<Option<f64>> {
    let metrics = get(net, admin, "/metrics").await?;
    let values = metrics.lines().filter_map(|line| {
        let (labels, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
        let is_it = labels.is_empty() || labels.starts_with('{');
        if is_it && is_meant(labels) { value.parse::<f64>().ok() } else { None }
    });
    Ok(values.fold(None, |sum, value| Some(sum.unwrap_or_default() + value)))
}

pub(crate) async fn get(net: &Net, admin: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = net.dial(&admin.to_string()).await?;
    let request = format!("GET {path} HTTP/1.0\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// Draws a port that nobody listens on, and that no connection is given before its
/// process has it.
pub(crate) async fn free_port(net: &Net) -> anyhow::Result<SocketAddr> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let rng = Rng::real();
    for _ in 0..1000 {
        let port = 10_000 + (rng.u64() % 20_000) as u16;
        let addr = ([127, 0, 0, 1], port).into();
        if net.listen(addr, "a port").await.is_ok() {
            // Whoever was given it may not listen yet.
            let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
            if given.insert(port) {
                return Ok(addr);
            }
        }
    }
    bail!("no port is free")
}
