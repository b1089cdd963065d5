use std::net::SocketAddr;

use chassis::App;
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
        let chat = chat::Server::bind(&chat_config, app).await?;
        let shard = Shard { id: chat_config.shard_id, addr: chat.grpc_addr().to_string() };
        let connector = connector::Server::bind(&config.connector(shard), app).await?;
        let listed = Connector { id: None, addr: connector.grpc_addr().to_string() };
        let gate = gate::Server::bind(&config.gate(listed), app).await?;
        let metrics = web_server::Metrics::register(app.registry());
        let web_config = config.web_server(gate.client_addr(), connector.client_addr());
        let (net, tasks) = (app.net().clone(), app.tasks().clone());
        let web =
            web_server::Server::bind(&web_config, net, metrics, tasks, app.shutdown()).await?;
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
