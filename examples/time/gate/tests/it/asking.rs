//! Whom the gate asks, and what users notice of it: nothing.

use model::UserName;
use time_gate::Unanswered;

use crate::scene::{Gate, Hangs, TimeServer, until};

fn user(name: &str) -> UserName {
    UserName::parse(name).unwrap()
}

/// Waits until `name` is answered by a server, and says by which.
async fn server_of(gate: &Gate, name: &str) -> String {
    until(name, async || gate.asker.ask(&user(name)).await.ok()).await.server_id
}

/// Waits until both servers are in the view: each is asked.
async fn both(gate: &Gate) {
    for (name, server) in [("ann", "time-0"), ("gus", "time-1")] {
        until(name, async || Some(server_of(gate, name).await).filter(|id| id == server)).await;
    }
}

#[tokio::test]
async fn a_user_is_always_asked_for_at_the_same_server_and_both_get_some() {
    let (mut zero, mut one) =
        (TimeServer::start("time-0").await, TimeServer::start("time-1").await);
    // The order of the list does not matter.
    let gate = Gate::start(&format!("{},{}", one.listed, zero.listed), &[]).await;
    both(&gate).await;
    let before = (zero.calls(), one.calls());
    for _ in 0..3 {
        for name in ["ann", "eve", "hal", "gus", "ivy"] {
            gate.enter(name).await;
        }
    }
    assert_eq!((zero.calls() - before.0, one.calls() - before.1), (9, 6));
}

#[tokio::test]
async fn when_a_server_goes_the_other_takes_its_users_and_all_are_answered_throughout() {
    let (mut zero, mut one) =
        (TimeServer::start("time-0").await, TimeServer::start("time-1").await);
    let mut gate = Gate::start(&format!("{},{}", zero.listed, one.listed), &[]).await;
    both(&gate).await;

    one.stop().await;
    gate.enter("gus").await;
    assert_eq!(server_of(&gate, "gus").await, "time-0");

    zero.stop().await;
    until("nobody is left", async || {
        gate.enter("ann").await;
        matches!(gate.asker.ask(&user("ann")).await, Err(Unanswered::NoServer)).then_some(())
    })
    .await;
    let before = gate.calls("no_server");
    gate.enter("ann").await;
    assert_eq!(gate.calls("no_server"), before + 1);
}

#[tokio::test]
async fn without_any_time_server_users_are_answered() {
    let mut gate = Gate::start("time-0=127.0.0.1:1", &[]).await;
    gate.enter("ann").await;
    assert!(gate.calls("no_server") >= 1);
    assert_eq!(gate.calls("ok"), 0);
}

#[tokio::test]
async fn a_server_that_hangs_holds_users_up_no_longer_than_the_deadline() {
    let mut gate = Gate::start(&Hangs::start("time-0").await, &[]).await;
    until("the server is in the view", async || {
        matches!(gate.asker.ask(&user("ann")).await, Err(Unanswered::Late(_))).then_some(())
    })
    .await;
    let before = gate.calls("late");
    gate.enter("ann").await;
    assert_eq!(gate.calls("late"), before + 1);
}

#[tokio::test]
async fn with_tokens_the_gate_shows_that_of_the_cluster() {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("cluster-token");
    std::fs::write(&path, "of-us").unwrap();
    let flag = format!("--cluster-token-file={}", path.display());
    let admin = format!("--admin-token-file={}", path.display());
    let server = TimeServer::start_with("time-0", &[&flag, &admin]).await;
    let signed = Gate::start(&server.listed, &[&flag]).await;
    assert_eq!(server_of(&signed, "ann").await, "time-0");

    let stranger = Gate::start(&server.listed, &[]).await;
    let refused = until("a refusal", async || match stranger.asker.ask(&user("ann")).await {
        Err(Unanswered::Call(_, status)) => Some(status),
        _ => None,
    });
    assert_eq!(refused.await.code(), tonic::Code::Unauthenticated);
    stranger.enter("ann").await;
}
