//! A PostgreSQL server of our own, on loopback, in a folder of its own.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use chassis::Clock;

use super::process::signal;

const DATABASE: &str = "chat";

/// The server. It ends with this value.
#[derive(Debug)]
pub(crate) struct Postgres {
    folder: PathBuf,
    pub(crate) port: u16,
    binaries: PathBuf,
    /// Words before the program's name: a server refuses to be root.
    user: Vec<String>,
    child: Option<Child>,
}

impl Postgres {
    /// Makes a cluster with one database in `folder`, and starts it.
    pub(crate) async fn start(folder: PathBuf, port: u16, clock: Clock) -> anyhow::Result<Self> {
        let user = Vec::new();
        let mut server = Self { folder, port, binaries: binaries()?, user, child: None };
        server.make()?;
        server.run(clock).await?;
        server.sql("postgres", &format!("create database {DATABASE}"))?;
        Ok(server)
    }

    fn make(&mut self) -> anyhow::Result<()> {
        let data = self.folder.join("data");
        fs::create_dir_all(&data)?;
        fs::set_permissions(&self.folder, fs::Permissions::from_mode(0o755))?;
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700))?;
        if id("-u", None)? == 0 {
            let (uid, gid) = (id("-u", Some("nobody"))?, id("-g", Some("nobody"))?);
            chown(&self.folder, Some(uid), Some(gid))?;
            chown(&data, Some(uid), Some(gid))?;
            let words = ["setpriv", "--clear-groups", "--pdeathsig", "INT"];
            self.user = words.map(str::to_owned).to_vec();
            self.user.extend([format!("--reuid={uid}"), format!("--regid={gid}")]);
        }
        let mut initdb = self.program("initdb");
        initdb.arg("-D").arg(&data).args(["-U", "chat", "--no-sync", "--auth=trust"]);
        let made = initdb.args(["--no-locale", "--encoding=UTF8"]).output()?;
        ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        Ok(())
    }

    /// Starts the server on its data, and waits until it answers.
    async fn run(&mut self, clock: Clock) -> anyhow::Result<()> {
        let log = fs::File::options().create(true).append(true).open(self.folder.join("log"))?;
        let mut postgres = self.program("postgres");
        postgres.arg("-D").arg(self.folder.join("data")).arg("-k").arg(&self.folder);
        postgres.args(["-p", &self.port.to_string()]);
        for setting in ["listen_addresses=127.0.0.1", "max_connections=300", "shared_buffers=64MB"]
        {
            postgres.args(["-c", setting]);
        }
        postgres.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(postgres.spawn().context("start postgres")?);
        for _ in 0..1200 {
            let mut ready = Command::new(self.binaries.join("pg_isready"));
            ready.args(["-q", "-h"]).arg(&self.folder).args(["-p", &self.port.to_string()]);
            if ready.status()?.success() {
                return Ok(());
            }
            clock.sleep(Duration::from_millis(50)).await;
        }
        bail!("postgres: {}", fs::read_to_string(self.folder.join("log")).unwrap_or_default())
    }

    /// Ends it without asking anybody, and starts it again.
    pub(crate) async fn restart(&mut self, gap: Duration, clock: Clock) -> anyhow::Result<()> {
        self.end(libc::SIGQUIT);
        clock.sleep(gap).await;
        self.run(clock).await
    }

    fn end(&mut self, how: i32) {
        if let Some(mut child) = self.child.take() {
            signal(child.id(), how);
            // It fails only if it has ended already.
            let _ = child.wait();
        }
    }

    /// Stops or continues the server and all of its back ends.
    pub(crate) fn signal_all(&self, which: i32) -> anyhow::Result<()> {
        let Some(child) = &self.child else { return Ok(()) };
        let mut pids = vec![child.id()];
        for entry in fs::read_dir("/proc")?.flatten() {
            let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
            let Some((pid, rest)) = stat.split_once(' ') else { continue };
            // After the name in brackets: state, parent.
            let parent = rest.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1));
            if parent.and_then(|parent| parent.parse().ok()) == Some(child.id()) {
                pids.extend(pid.parse::<u32>());
            }
        }
        for pid in pids {
            signal(pid, which);
        }
        Ok(())
    }

    /// Ends all back ends that serve the database.
    pub(crate) fn terminate_back_ends(&self) -> anyhow::Result<()> {
        let sql = format!(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{DATABASE}'"
        );
        self.sql("postgres", &sql)
    }

    fn sql(&self, database: &str, sql: &str) -> anyhow::Result<()> {
        let mut psql = Command::new(self.binaries.join("psql"));
        psql.args(["-qAtX", "-v", "ON_ERROR_STOP=1", "-U", "chat", "-h"]).arg(&self.folder);
        psql.args(["-p", &self.port.to_string(), "-d", database, "-c", sql]);
        let done = psql.output()?;
        ensure!(done.status.success(), "{sql}: {}", String::from_utf8_lossy(&done.stderr));
        Ok(())
    }

    /// Where the database is, by way of `port`.
    pub(crate) fn url(port: u16) -> String {
        format!("postgres://chat@127.0.0.1:{port}/{DATABASE}")
    }

    fn program(&self, name: &str) -> Command {
        let path = self.binaries.join(name);
        let Some((first, rest)) = self.user.split_first() else { return Command::new(path) };
        let mut command = Command::new(first);
        command.args(rest).arg(path);
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Frozen, it would not hear.
        let _ = self.signal_all(libc::SIGCONT);
        self.end(libc::SIGQUIT);
    }
}

fn id(what: &str, user: Option<&str>) -> anyhow::Result<u32> {
    let id = Command::new("id").arg(what).args(user).output()?;
    String::from_utf8_lossy(&id.stdout).trim().parse().context("id")
}

/// Where the server's programs are: of the newest version.
fn binaries() -> anyhow::Result<PathBuf> {
    if let Some(folder) = std::env::var_os("SHADDOCK_POSTGRES_BIN") {
        return Ok(folder.into());
    }
    let versions = fs::read_dir(Path::new("/usr/lib/postgresql")).into_iter().flatten().flatten();
    let folders = versions.map(|version| version.path().join("bin"));
    folders.filter(|folder| folder.join("postgres").exists()).max().context(
        "no PostgreSQL: scripts/setup, or name its programs' folder in SHADDOCK_POSTGRES_BIN",
    )
}
