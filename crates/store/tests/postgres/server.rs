//! A PostgreSQL server of the tests' own, in a folder of its own, which ends with
//! the process that started it.

use std::{
    fs,
    io::Write,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

pub(crate) const PASSWORD: &str = "a password";

#[derive(Debug)]
pub(crate) struct Server {
    folder: PathBuf,
    port: u16,
    /// Ends the server when its standard input ends, however this process does.
    keeper: Option<Child>,
}

/// The server that all tests of this process share.
pub(crate) fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(Server::start)
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("pg").tempdir().unwrap().keep();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let mut server = Self { port: free_port(), folder, keeper: None };
        let data = server.folder.join("data");
        fs::create_dir(&data).unwrap();
        server.write("password", PASSWORD);
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        server.write("server.crt", &certified.cert.pem());
        server.write("server.key", &certified.signing_key.serialize_pem());
        // A server refuses to be root.
        let mut user = Vec::new();
        if id("-u", None) == 0 {
            let (uid, gid) = (id("-u", Some("nobody")), id("-g", Some("nobody")));
            for path in ["", "data", "password", "server.crt", "server.key"] {
                chown(server.folder.join(path), Some(uid), Some(gid)).unwrap();
            }
            user = vec![
                "setpriv".to_owned(),
                format!("--reuid={uid}"),
                format!("--regid={gid}"),
                "--clear-groups".to_owned(),
            ];
        }
        let program = |name: &str| {
            let mut words = user.clone();
            words.push(binaries().join(name).display().to_string());
            words
        };
        let folder = server.folder.clone();
        let at = |name: &str| folder.join(name).display().to_string();
        let mut initdb = program("initdb");
        initdb.extend(["-D", &at("data"), "-U", "chat", "--no-sync"].map(str::to_owned));
        initdb.extend(["--auth-local=trust", "--auth-host=scram-sha-256"].map(str::to_owned));
        initdb.extend(["--no-locale".to_owned(), "--encoding=UTF8".to_owned()]);
        initdb.push(format!("--pwfile={}", at("password")));
        let made = Command::new(&initdb[0]).args(&initdb[1..]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

        let mut postgres = program("postgres");
        postgres.extend(["-D", &at("data"), "-k", &at(""), "-p"].map(str::to_owned));
        postgres.push(server.port.to_string());
        let settings = [
            "listen_addresses=127.0.0.1".to_owned(),
            "fsync=off".to_owned(),
            "max_connections=200".to_owned(),
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", at("server.crt")),
            format!("ssl_key_file={}", at("server.key")),
        ];
        postgres.extend(settings.into_iter().flat_map(|setting| ["-c".to_owned(), setting]));
        let script = r#"folder=$1; shift; "$@" >"$folder/log" 2>&1 & read -r _
                        kill -INT $!; wait; rm -rf "$folder""#;
        let keeper = Command::new("sh")
            .args(["-c", script, "sh", &at("")])
            .args(postgres)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        server.keeper = Some(keeper);
        server.wait();
        server
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.folder.join(name);
        fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn wait(&self) {
        for _ in 0..600 {
            let mut ready = Command::new(binaries().join("pg_isready"));
            ready.args(["-q", "-h"]).arg(&self.folder).args(["-p", &self.port.to_string()]);
            if ready.status().unwrap().success() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{}", fs::read_to_string(self.folder.join("log")).unwrap_or_default());
    }

    /// Makes a database and says its name.
    pub(crate) fn database(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("create database {name}"));
        name
    }

    /// The URL of a database, over the socket that asks for no password.
    pub(crate) fn url(&self, database: &str) -> String {
        let folder = self.folder.display().to_string().replace('/', "%2F");
        format!("postgres://chat@{folder}:{}/{database}", self.port)
    }

    pub(crate) fn tcp_url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@localhost:{}/{database}", self.port)
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.join("server.crt")
    }

    /// Runs statements and says what they print.
    pub(crate) fn sql(&self, database: &str, sql: &str) -> String {
        let mut psql = Command::new(binaries().join("psql"));
        psql.args(["-qAtX", "-v", "ON_ERROR_STOP=1", "-U", "chat", "-h"]).arg(&self.folder);
        psql.args(["-p", &self.port.to_string(), "-d", database, "-c", sql]);
        let done = psql.output().unwrap();
        assert!(done.status.success(), "{sql}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    }
}

fn id(what: &str, user: Option<&str>) -> u32 {
    let id = Command::new("id").arg(what).args(user).output().unwrap();
    String::from_utf8_lossy(&id.stdout).trim().parse().unwrap()
}

/// Where the server's programs are: of the newest version.
fn binaries() -> &'static Path {
    static BINARIES: OnceLock<PathBuf> = OnceLock::new();
    BINARIES.get_or_init(|| {
        if let Some(folder) = std::env::var_os("SHADDOCK_POSTGRES_BIN") {
            return folder.into();
        }
        let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let folders = versions.map(|version| version.path().join("bin"));
        let newest = folders.filter(|folder| folder.join("postgres").exists()).max();
        newest.expect(
            "no PostgreSQL: scripts/setup, or name its programs' folder in SHADDOCK_POSTGRES_BIN",
        )
    })
}

#[allow(clippy::disallowed_methods, reason = "the server has to be told a port")]
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
