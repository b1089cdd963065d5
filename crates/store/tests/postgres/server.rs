//! The PostgreSQL server that all tests of this process share.

use std::{
    fs,
    ops::Deref,
    path::PathBuf,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use postgres_server::{PostgresServer, Setup};

pub(crate) const PASSWORD: &str = "a password";

#[derive(Debug)]
pub(crate) struct Server(PostgresServer);

impl Deref for Server {
    type Target = PostgresServer;

    fn deref(&self) -> &PostgresServer {
        &self.0
    }
}

pub(crate) fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(Server::start)
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("pg").tempdir().unwrap().keep();
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) = (folder.join("server.crt"), folder.join("server.key"));
        fs::write(&certificate, certified.cert.pem()).unwrap();
        fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
        fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let certificate = format!("ssl_cert_file={}", certificate.display());
        let key = format!("ssl_key_file={}", key.display());
        let settings = ["fsync=off", "ssl=on", &certificate, &key];
        // Nobody drops what is shared.
        let setup = Setup { settings: &settings, password: Some(PASSWORD), is_fleeting: true };
        Self(PostgresServer::start_with(folder, free_port(), setup).unwrap())
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
        let folder = self.folder().display().to_string().replace('/', "%2F");
        format!("postgres://chat@{folder}:{}/{database}", self.port())
    }

    pub(crate) fn tcp_url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@localhost:{}/{database}", self.port())
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder().join("server.crt")
    }

    /// Runs statements and says what they print.
    pub(crate) fn sql(&self, database: &str, sql: &str) -> String {
        self.0.sql(database, sql).unwrap()
    }
}

#[allow(clippy::disallowed_methods, reason = "the server has to be told a port")]
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
