//! What is left when everybody has gone.

use rpc::chat::v1::{self as pb, command::Command as C, event::Event as E, reply::Result as R};

use crate::{
    scene::{FENCE, Options, Scene, at},
    shard::Link,
};

/// Lets everybody in and out, whatever the room.
async fn serve(mut link: Link) {
    loop {
        let (id, command) = link.next().await;
        let (room, result) = match command {
            C::Join(join) => {
                let joined = pb::Joined {
                    grant: Some(pb::Grant { fence: Some(FENCE), number: 1 }),
                    fence: Some(FENCE),
                    position: Some(at(1)),
                    roster: vec![join.user],
                    announced: true,
                    ..pb::Joined::default()
                };
                (join.room, R::Joined(joined))
            }
            C::Leave(leave) => (leave.room, R::Gone(pb::Gone {})),
            other => panic!("{other:?}"),
        };
        link.send(E::Reply(pb::Reply { request_id: id, room, result: Some(result) })).await;
    }
}

#[tokio::test]
async fn a_thousand_who_come_and_go_leave_nothing_behind() {
    const CLIENTS: usize = 1000;
    // Rooms come and go, too, and all clients have one address.
    let args = &["--address-rooms-per-minute=0"];
    let options = Options { args, ..Options::default() };
    let Scene { mut connector, mut shard, link, .. } = Scene::start_with(options, &[]).await;
    let served = tokio::spawn(serve(link));
    for batch in 0..CLIENTS / 50 {
        let come_and_go = (0..50).map(async |n| {
            let mut client = connector.client().await;
            // Ten rooms; in each people come before the last have gone.
            client.enter(&format!("u{batch}-{n}"), &format!("r{}", n % 10)).await;
            // Every fifth does not wait to be let in.
            if n % 5 > 0 {
                assert!(client.next().await.starts_with("1 {\"users\""));
            }
            client.close().await;
        });
        futures::future::join_all(come_and_go).await;
    }
    for gauge in ["rooms", "members", "sessions", "connections"] {
        connector.until(&format!("connector_{gauge}"), 0.0).await;
    }
    assert_eq!(connector.metric("connector_links"), 1.0);
    assert!(connector.metric(r#"connector_requests_total{route="enter",code="200"}"#) >= 800.0);
    assert!(!served.is_finished());
    served.abort();
    shard.kill();
    connector.until("connector_links", 0.0).await;
}

#[tokio::test]
async fn rooms_of_a_lost_link_that_nobody_is_in_any_more_are_forgotten() {
    let mut s = Scene::start(&["ann", "bob"]).await;
    s.link.cut().await;
    s.shard.kill();
    s.connector.until("connector_links", 0.0).await;
    for client in s.clients.drain(..) {
        client.close().await;
    }
    s.connector.until("connector_rooms", 0.0).await;
    s.connector.until("connector_members", 0.0).await;
}
