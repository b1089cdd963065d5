//! A PostgreSQL server of one's own: on loopback, in a folder of its own, ended with
//! the value that stands for it. For tests and measurements.
//!
//! # Invariants
//!
//! * It never touches a server that it did not start.
//! * Everything here blocks, for seconds at most.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail, ensure};

/// The database that [`PostgresServer::start`] makes.
const DATABASE: &str = "chat";
/// Who may do everything in it, and needs no password.
const USER: &str = "chat";
/// Between two looks whether it is up.
const LOOK: Duration = Duration::from_millis(50);
/// Looks until it should be up, also on a busy machine.
const LOOKS_MAX: usize = 1200;

/// The server. It ends with this value.
#[derive(Debug)]
pub struct PostgresServer {
    folder: PathBuf,
    port: u16,
    binaries: PathBuf,
    settings: Vec<String>,
    /// Words before a program's name: a server refuses to be root.
    user: Vec<String>,
    child: Option<Child>,
}

impl PostgresServer {
    /// Makes a cluster with one database in `folder`, and starts it on `port` of
    /// loopback, with more `settings` of the form `name=value`.
    ///
    /// # Errors
    ///
    /// PostgreSQL is not installed, the port is in use, the folder cannot be written.
    pub fn start(folder: PathBuf, port: u16, settings: &[&str]) -> anyhow::Result<Self> {
        let own = ["listen_addresses=127.0.0.1", "max_connections=300", "shared_buffers=64MB"];
        let settings = own.iter().chain(settings).map(|setting| (*setting).to_owned()).collect();
        let (binaries, user) = (binaries()?, Vec::new());
        let mut server = Self { folder, port, binaries, settings, user, child: None };
        server.make()?;
        server.run()?;
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
            // It ends, too, if this process is killed.
            let words = ["setpriv", "--clear-groups", "--pdeathsig", "INT"];
            self.user = words.map(str::to_owned).to_vec();
            self.user.extend([format!("--reuid={uid}"), format!("--regid={gid}")]);
        }
        let mut initdb = self.program("initdb");
        initdb.arg("-D").arg(&data).args(["-U", USER, "--no-sync", "--auth=trust"]);
        let made = initdb.args(["--no-locale", "--encoding=UTF8"]).output().context("initdb")?;
        ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        Ok(())
    }

    /// Starts the server on its data, and waits until it answers.
    fn run(&mut self) -> anyhow::Result<()> {
        let log = fs::File::options().create(true).append(true).open(self.folder.join("log"))?;
        let mut postgres = self.program("postgres");
        postgres.arg("-D").arg(self.folder.join("data")).arg("-k").arg(&self.folder);
        postgres.args(["-p", &self.port.to_string()]);
        for setting in &self.settings {
            postgres.args(["-c", setting]);
        }
        postgres.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(postgres.spawn().context("start postgres")?);
        for _ in 0..LOOKS_MAX {
            let mut ready = Command::new(self.binaries.join("pg_isready"));
            ready.args(["-q", "-h"]).arg(&self.folder).args(["-p", &self.port.to_string()]);
            if ready.status()?.success() {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
        bail!("postgres: {}", fs::read_to_string(self.folder.join("log")).unwrap_or_default())
    }

    /// Ends it as a crash would, and starts it again after `gap`.
    ///
    /// # Errors
    ///
    /// It does not come up again.
    pub fn restart(&mut self, gap: Duration) -> anyhow::Result<()> {
        self.end();
        std::thread::sleep(gap);
        self.run()
    }

    fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal(child.id(), libc::SIGQUIT);
            // It fails only if it has ended already.
            let _ = child.wait();
        }
    }

    /// Its processes: the server and its back ends, as they are now.
    ///
    /// # Errors
    ///
    /// The list of processes cannot be read.
    pub fn processes(&self) -> anyhow::Result<Vec<u32>> {
        let Some(child) = &self.child else { return Ok(Vec::new()) };
        let mut processes = vec![child.id()];
        for entry in fs::read_dir("/proc")?.flatten() {
            let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
            let Some((process, rest)) = stat.split_once(' ') else { continue };
            // After the name in brackets: state, parent.
            let parent = rest.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1));
            if parent.and_then(|parent| parent.parse().ok()) == Some(child.id()) {
                processes.extend(process.parse::<u32>());
            }
        }
        Ok(processes)
    }

    /// Sends a signal to all of its processes, such as SIGSTOP and SIGCONT.
    ///
    /// # Errors
    ///
    /// As [`PostgresServer::processes`].
    pub fn signal_all(&self, which: i32) -> anyhow::Result<()> {
        self.processes()?.into_iter().for_each(|process| signal(process, which));
        Ok(())
    }

    /// Runs statements, and says what they print.
    ///
    /// # Errors
    ///
    /// What the database says of them.
    pub fn sql(&self, database: &str, sql: &str) -> anyhow::Result<String> {
        let mut psql = Command::new(self.binaries.join("psql"));
        psql.args(["-qAtX", "-v", "ON_ERROR_STOP=1", "-U", USER, "-h"]).arg(&self.folder);
        psql.args(["-p", &self.port.to_string(), "-d", database, "-c", sql]);
        let done = psql.output().context("psql")?;
        ensure!(done.status.success(), "{sql}: {}", String::from_utf8_lossy(&done.stderr));
        Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
    }

    /// Where the database is.
    #[must_use]
    pub fn url(&self) -> String {
        Self::url_by(self.port)
    }

    /// Where the database is, by way of another port of loopback.
    #[must_use]
    pub fn url_by(port: u16) -> String {
        format!("postgres://{USER}@127.0.0.1:{port}/{DATABASE}")
    }

    fn program(&self, name: &str) -> Command {
        let path = self.binaries.join(name);
        let Some((first, rest)) = self.user.split_first() else { return Command::new(path) };
        let mut command = Command::new(first);
        command.args(rest).arg(path);
        command
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // Frozen, it would not hear. That fails only where there are no processes.
        let _ = self.signal_all(libc::SIGCONT);
        self.end();
    }
}

#[allow(unsafe_code, reason = "there is no safe call")]
fn signal(process: u32, which: i32) {
    // SAFETY: kill accesses no memory; the number is of a process that was started here.
    unsafe {
        libc::kill(process.cast_signed(), which);
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
