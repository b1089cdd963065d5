//! Processes under measurement.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use anyhow::Context;

/// What the kernel knows about a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process {
    pid: u32,
}

impl Process {
    pub(crate) fn this() -> Self {
        Self { pid: std::process::id() }
    }

    pub(crate) fn of(pid: u32) -> Self {
        Self { pid }
    }

    /// Processor time of all its threads. Threads that have ended are not in it.
    pub(crate) fn cpu(self) -> anyhow::Result<Duration> {
        self.cpu_of_threads(|_| true)
    }

    /// Processor time of those of its threads whose name is meant. Threads that have
    /// ended are not in it.
    pub(crate) fn cpu_of_threads(
        self,
        is_meant: impl Fn(&str) -> bool,
    ) -> anyhow::Result<Duration> {
        let tasks = format!("/proc/{}/task", self.pid);
        let mut sum = Duration::ZERO;
        for task in fs::read_dir(&tasks).with_context(|| format!("read {tasks}"))? {
            let task = task?.path();
            let Ok(name) = fs::read_to_string(task.join("comm")) else { continue };
            if is_meant(name.trim_end()) {
                sum += cpu_of(&task).unwrap_or_default();
            }
        }
        Ok(sum)
    }

    /// Processor time of the thread that asks.
    pub(crate) fn this_thread_cpu() -> anyhow::Result<Duration> {
        cpu_of(Path::new("/proc/thread-self"))
    }

    /// Resident memory, in KiB.
    pub(crate) fn rss_kib(self) -> anyhow::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let digits = line.context("no VmRSS")?.trim().trim_end_matches(" kB");
        digits.parse().context("VmRSS")
    }
}

/// Of one thread, to the nanosecond, where `stat` counts hundredths of a second.
fn cpu_of(task: &Path) -> anyhow::Result<Duration> {
    let text = fs::read_to_string(task.join("schedstat"))?;
    let running = text.split_ascii_whitespace().next().context("empty schedstat")?;
    Ok(Duration::from_nanos(running.parse().context("schedstat")?))
}

/// A process that ends with this value.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Server {
    pub(crate) fn start<A: AsRef<OsStr>>(program: &Path, args: &[A]) -> anyhow::Result<Self> {
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let stdout = BufReader::new(child.stdout.take().context("no stdout")?);
        Ok(Self { child, stdout })
    }

    pub(crate) fn process(&self) -> Process {
        Process { pid: self.child.id() }
    }

    /// The next line that it prints. Blocks.
    pub(crate) fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        anyhow::ensure!(!line.is_empty(), "the process ended without a word");
        Ok(line.trim().to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
