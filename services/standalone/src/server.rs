use std::net::SocketAddr;

use chassis::{App, StartError};
use cluster::{Connector, Shard};

use crate::Config;

/// All four services, built, but not serving yet.
#[derive(Debug)]
pub struct Server {
    chat: chat::Server,
    connector: connector::Server,
    gate: gate::Server,
    web: web_server::Server,
    web_addr: SocketAddr,
}

impl Server {
    /// Takes all ports and builds everything; nothing is served yet.
    ///
    /// # Errors
    ///
    /// [`chassis::StartError`] for a port in use or an unreadable token.
    pub async fn bind(config: &Config, app: &mut App) -> anyhow::Result<Self> {
        let chat_config = config.chat();
        let chat = chat::Server::bind(&chat_config, app);
        let chat =
            chat.await.map_err(|e| in_our_words(e, &[("--grpc-addr", "--chat-grpc-addr")]))?;
        let shard = Shard { id: chat_config.shard_id, addr: chat.grpc_addr().to_string() };
        let connector_config = config.connector(shard);
        let connector = connector::Server::bind(&connector_config, app);
        let flags = [
            ("--listen-addr", "--connector-client-addr"),
            ("--grpc-addr", "--connector-grpc-addr"),
        ];
        let connector = connector.await.map_err(|e| in_our_words(e, &flags))?;
        let listed = Connector { id: None, addr: connector.grpc_addr().to_string() };
        let gate_config = config.gate(listed);
        let gate = gate::Server::bind(&gate_config, app);
        let flags = [
            ("--listen-addr", "--gate-client-addr"),
            ("--grpc-addr", "--gate-grpc-addr"),
            ("--advertise", "--gate-advertise"),
        ];
        let gate = gate.await.map_err(|e| in_our_words(e, &flags))?;
        let web_config = config.web_server(gate.client_addr(), connector.client_addr());
        let web = web_server::Server::bind(&web_config, app);
        let web =
            web.await.map_err(|e| in_our_words(e.into(), &[("--listen-addr", "--web-addr")]))?;
        let web_addr = web.local_addr()?;
        Ok(Self { chat, connector, gate, web, web_addr })
    }

    /// The page's address.
    #[must_use]
    pub fn url(&self) -> String {
        match self.web_addr.ip().is_unspecified() {
            true => format!("http://localhost:{}/", self.web_addr.port()),
            false => format!("http://{}/", self.web_addr),
        }
    }

    /// Where Pomelo clients find the gate.
    #[must_use]
    pub fn gate_addr(&self) -> SocketAddr {
        self.gate.client_addr()
    }

    /// Where Pomelo clients find the connector.
    #[must_use]
    pub fn connector_addr(&self) -> SocketAddr {
        self.connector.client_addr()
    }

    /// Serves until shutdown is asked for and every part has ended.
    ///
    /// # Errors
    ///
    /// One part breaks; the others are ended with it.
    pub async fn serve(self) -> anyhow::Result<()> {
        let web = async {
            self.web.serve().await;
            anyhow::Ok(())
        };
        // Boxed, because together they are large for a future.
        let all = Box::pin(async {
            tokio::try_join!(self.chat.serve(), self.connector.serve(), self.gate.serve(), web)
        });
        all.await.map(|_| ())
    }
}

/// What a part says when it cannot start, with this program's names of its flags.
fn in_our_words(error: anyhow::Error, flags: &[(&str, &str)]) -> anyhow::Error {
    let Some(StartError(text)) = error.downcast_ref() else { return error };
    // Whole words only: one flag's name may be the end of another's.
    let word = |word: &str| {
        let bare = word.trim_matches(['(', ')', ':', ',']);
        let ours = flags.iter().find(|(theirs, _)| *theirs == bare);
        ours.map_or_else(|| word.to_owned(), |(theirs, ours)| word.replace(theirs, ours))
    };
    StartError(text.split(' ').map(word).collect::<Vec<_>>().join(" ")).into()
}
