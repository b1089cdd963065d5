//! What somebody hung in before users are answered.

use std::{sync::Arc, time::Duration};

use gate::BeforeEntry;
use model::UserName;
use rpc::gate::v1::QueryEntryRequest;
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use crate::{Gate, fake::Fake, pomelo::Client};

/// Writes down who came. Some are kept until they are let go, or have other fates.
#[derive(Debug, Default)]
struct Hook {
    came: watch::Sender<Vec<String>>,
    let_go: Notify,
}

#[tonic::async_trait]
impl BeforeEntry for Hook {
    async fn before_entry(&self, user: &UserName) {
        self.came.send_modify(|came| came.push(user.to_string()));
        match user.as_str() {
            "kept" => self.let_go.notified().await,
            "hangs" => std::future::pending().await,
            "panics" => panic!("as asked"),
            _ => {}
        }
    }
}

impl Hook {
    fn came(&self) -> Vec<String> {
        self.came.borrow().clone()
    }
}

async fn hooked() -> (Arc<Hook>, Fake, Gate) {
    let (hook, a) = (Arc::new(Hook::default()), Fake::start("a").await);
    let hung: Arc<dyn BeforeEntry> = hook.clone();
    let gate = Gate::start_with(&[&format!("--connectors={}", a.addr)], Some(hung)).await;
    gate.until("a:Ready").await;
    (hook, a, gate)
}

const NAMED: &str = r#"{"code":200,"host":"a.test","port":3050}"#;

#[tokio::test]
async fn an_answer_waits_for_it_and_is_the_same() {
    let (hook, _a, gate) = hooked().await;
    let mut client = Client::connect(gate.client_addr).await;
    assert_eq!(client.ask(r#"{"uid":"ann"}"#).await, NAMED);
    assert_eq!(gate.query("bob").await.unwrap().host, "a.test");
    assert_eq!(hook.came(), ["ann", "bob"]);

    let mut came = hook.came.subscribe();
    let let_go = async {
        came.wait_for(|came| came.contains(&"kept".to_owned())).await.unwrap();
        hook.came.send_modify(|came| came.push("let go".to_owned()));
        hook.let_go.notify_one();
    };
    let asked = async {
        let answer = client.ask(r#"{"uid":"kept"}"#).await;
        hook.came.send_modify(|came| came.push("answered".to_owned()));
        answer
    };
    let both = async { tokio::join!(let_go, asked) };
    let ((), answer) = timeout(Duration::from_secs(20), both).await.expect("an answer");
    assert_eq!(answer, NAMED);
    assert_eq!(hook.came(), ["ann", "bob", "kept", "let go", "answered"]);
}

#[tokio::test]
async fn whatever_it_does_the_user_is_answered() {
    let (hook, _a, gate) = hooked().await;
    let mut client = Client::connect(gate.client_addr).await;
    for uid in ["panics", "hangs", "ann"] {
        assert_eq!(client.ask(&format!(r#"{{"uid":"{uid}"}}"#)).await, NAMED, "{uid}");
        assert_eq!(gate.query(uid).await.unwrap().host, "a.test", "{uid}");
    }
    assert_eq!(hook.came().len(), 6);
}

#[tokio::test]
async fn what_no_room_takes_as_a_name_is_answered_without_it() {
    let (hook, _a, gate) = hooked().await;
    let mut client = Client::connect(gate.client_addr).await;
    assert_eq!(client.ask(r#"{"uid":"*"}"#).await, NAMED);
    assert_eq!(client.ask(r#"{"uid":true}"#).await, r#"{"code":500}"#);
    assert_eq!(hook.came(), [""; 0]);
}

#[tokio::test]
async fn shutdown_does_not_wait_for_what_hangs() {
    let (hook, _a, gate) = hooked().await;
    let (mut came, mut grpc) = (hook.came.subscribe(), gate.grpc.clone());
    let asked = async move {
        let _ = grpc.query_entry(QueryEntryRequest { uid: "hangs".to_owned() }).await;
    };
    let ended = async move {
        came.wait_for(|came| came.len() == 1).await.unwrap();
        gate.shutdown.cancel();
        gate.served.await.unwrap().unwrap();
    };
    let both = async { tokio::join!(asked, ended) };
    timeout(Duration::from_secs(20), both).await.expect("the gate ends");
}
