//! A gate that cannot start says why in one line, and has served nobody.

use chassis::StartError;

use crate::{Gate, bind};

#[track_caller]
fn check(refused: &anyhow::Error, parts: &[&str]) {
    let error = refused.downcast_ref::<StartError>().expect("exit code 2").to_string();
    for part in parts {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
    assert!(!error.contains('\n'), "{error}");
}

#[tokio::test]
async fn a_port_in_use() {
    let running = Gate::start(&[]).await;
    let addr = running.client_addr.to_string();
    let (_, refused) = bind(&[&format!("--grpc-addr={addr}")]).await;
    check(&refused.unwrap_err(), &[&addr, "--grpc-addr", "in use"]);
    let (_, refused) = bind(&[&format!("--listen-addr={addr}")]).await;
    check(&refused.unwrap_err(), &[&addr, "--listen-addr", "in use"]);
}

#[tokio::test]
async fn grpc_beyond_loopback_without_a_cluster_token() {
    let (_, refused) = bind(&["--grpc-addr=0.0.0.0:0"]).await;
    check(&refused.unwrap_err(), &["--cluster-token-file"]);
}

#[tokio::test]
async fn a_token_file_that_is_not_there() {
    let (_, refused) = bind(&["--admin-token-file=/does/not/exist"]).await;
    check(&refused.unwrap_err(), &["/does/not/exist", "--admin-token-file"]);
}
