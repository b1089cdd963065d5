//! A PostgreSQL server of one's own: on loopback, in a folder of its own, ended with
//! the value that stands for it. For tests and measurements.
//!
//! # Invariants
//!
//! * It never touches a server that it did not start.
//! * The server ends with the process that started it, however that ends.
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
/// Who may do everything in it.
const USER: &str = "chat";
/// Between two looks whether it is up.
const LOOK: Duration = Duration::from_millis(50);
/// Looks until it should be up, also on a busy machine.
const LOOKS_MAX: usize = 1200;

/// Ends the server, if it runs, and removes its folder, if it is to, when its standard
/// input ends.
const KEEPER: &str = r#"read -r _; pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null) &&
    kill -QUIT "$pid"; [ "$2" = false ] || rm -rf "$1""#;

/// What is to be different about a server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setup<'a> {
    /// More settings, of the form `name=value`.
    pub settings: &'a [&'a str],
    /// Asked for over TCP, not over its socket; none: nobody needs one.
    pub password: Option<&'a str>,
    /// True if its folder goes with it.
    pub is_fleeting: bool,
}

/// The server. It ends with this value, and with this process.
#[derive(Debug)]
pub struct PostgresServer {
    folder: PathBuf,
    port: u16,
    binaries: PathBuf,
    settings: Vec<String>,
    /// Words before a program's name: a server refuses to be root.
    user: Vec<String>,
    child: Option<Child>,
    keeper: Child,
}

impl PostgresServer {
    /// Makes a cluster with one database in `folder`, and starts it on `port` of
    /// loopback, with more `settings` of the form `name=value`.
    ///
    /// # Errors
    ///
    /// PostgreSQL is not installed, the port is in use, the folder cannot be written.
    pub fn start(folder: PathBuf, port: u16, settings: &[&str]) -> anyhow::Result<Self> {
        Self::start_with(folder, port, Setup { settings, ..Setup::default() })
    }

    /// As [`PostgresServer::start`]. Files that are in the folder already, such as a
    /// certificate, are given to the server's user.
    ///
    /// # Errors
    ///
    /// As [`PostgresServer::start`].
    pub fn start_with(folder: PathBuf, port: u16, setup: Setup<'_>) -> anyhow::Result<Self> {
        let own = ["listen_addresses=127.0.0.1", "max_connections=300", "shared_buffers=64MB"];
        let settings = own.iter().chain(setup.settings);
        let settings = settings.map(|setting| (*setting).to_owned()).collect();
        let (binaries, user) = (binaries()?, Vec::new());
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "sh"]).arg(&folder).arg(setup.is_fleeting.to_string());
        let keeper = keeper.stdin(Stdio::piped()).spawn().context("start sh")?;
        let mut server = Self { folder, port, binaries, settings, user, child: None, keeper };
        server.make(setup.password)?;
        server.run()?;
        server.sql("postgres", &format!("create database {DATABASE}"))?;
        Ok(server)
    }

    fn make(&mut self, password: Option<&str>) -> anyhow::Result<()> {
        let (data, pwfile) = (self.folder.join("data"), self.folder.join("password"));
        fs::create_dir_all(&data)?;
        fs::set_permissions(&self.folder, fs::Permissions::from_mode(0o755))?;
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700))?;
        if let Some(password) = password {
            fs::write(&pwfile, password)?;
            fs::set_permissions(&pwfile, fs::Permissions::from_mode(0o600))?;
        }
        if id("-u", None)? == 0 {
            let (uid, gid) = (id("-u", Some("nobody"))?, id("-g", Some("nobody"))?);
            chown(&self.folder, Some(uid), Some(gid))?;
            for entry in fs::read_dir(&self.folder)? {
                chown(entry?.path(), Some(uid), Some(gid))?;
            }
            self.user = ["setpriv", "--clear-groups"].map(str::to_owned).to_vec();
            self.user.extend([format!("--reuid={uid}"), format!("--regid={gid}")]);
        }
        let mut initdb = self.program("initdb");
        initdb.arg("-D").arg(&data).args(["-U", USER, "--no-sync", "--auth-local=trust"]);
        match password {
            None => initdb.arg("--auth-host=trust"),
            Some(_) => initdb.arg("--auth-host=scram-sha-256").arg("--pwfile").arg(&pwfile),
        };
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

    /// Ends all back ends that serve the database.
    ///
    /// # Errors
    ///
    /// As [`PostgresServer::sql`].
    pub fn terminate_back_ends(&self) -> anyhow::Result<()> {
        let sql = format!(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{DATABASE}'"
        );
        self.sql("postgres", &sql).map(|_| ())
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

    /// Where it listens on loopback.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it has its files; its socket is there, too.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
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
        drop(self.keeper.stdin.take());
        // It fails only if it has ended already.
        let _ = self.keeper.wait();
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
