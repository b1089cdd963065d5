//! Many who come back into a large room: who is in is not said to each over the link.

use rpc::chat::v1::{self as pb, Verdict, reply::Result as R};

use crate::{
    client::{Client, EXTENDED},
    scene::{FENCE, Scene, at, presence},
    shard::reply,
};

/// Asks to come in from entry 1 on.
async fn asks(s: &mut Scene, name: &str) -> (Client, u64, pb::Join) {
    let mut client = Client::connect_as(s.connector.addr, EXTENDED).await;
    let resume = r#""resume":{"epoch":"0000000000000007","seq":1}"#;
    let body = format!(r#"{{"username":"{name}","rid":"r",{resume}}}"#);
    client.ask(wire::route::ENTER, &body).await;
    let (id, join) = s.link.join().await;
    (client, id, join)
}

/// Lets one in without a word of the others, and gives the names in the answer.
async fn let_in(s: &mut Scene, name: &str, announced: bool) -> Vec<String> {
    let (mut client, id, join) = asks(s, name).await;
    assert!(join.knows_roster);
    let joined = pb::Joined {
        grant: Some(s.grant(9)),
        fence: Some(FENCE),
        position: Some(at(1)),
        announced,
        verdict: Verdict::Complete.into(),
        ..pb::Joined::default()
    };
    s.link.send(reply(id, R::Joined(joined))).await;
    if announced {
        s.link.send(presence(name, true, join.session_id)).await;
    }
    let line = client.next().await;
    let body: serde_json::Value = serde_json::from_str(line.split_once(' ').unwrap().1).unwrap();
    assert_eq!((&body["code"], &body["verdict"]["kind"]), (&200.into(), &"complete".into()));
    s.clients.push(client);
    body["users"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().into()).collect()
}

#[tokio::test]
async fn who_comes_back_is_told_who_is_in_though_the_shard_does_not_say_it() {
    let mut s = Scene::start(&["cat", "bob"]).await;
    s.link.send(presence("ann", true, 0)).await;
    // In grace, so that nobody is told: twice, by what was made once.
    assert_eq!(let_in(&mut s, "ann", false).await, ["ann", "bob", "cat"]);
    assert_eq!(let_in(&mut s, "ann", false).await, ["ann", "bob", "cat"]);
    assert_eq!(let_in(&mut s, "dan", true).await, ["ann", "bob", "cat", "dan"]);
    s.link.send(presence("cat", false, 0)).await;
    assert_eq!(let_in(&mut s, "ann", false).await, ["ann", "bob", "dan"]);
    assert_eq!(let_in(&mut s, "\u{1f600}", true).await, ["ann", "bob", "dan", "\u{1f600}"]);
    // Others are shown them in the order of the original, which the shard knows.
    let mut plain = s.connector.client().await;
    plain.enter("eve", "r").await;
    assert!(!s.link.join().await.1.knows_roster);
}

#[tokio::test]
async fn without_a_member_the_roster_is_asked_for() {
    let mut s = Scene::start(&[]).await;
    let (_, _, join) = asks(&mut s, "ann").await;
    assert!(!join.knows_roster);
}
