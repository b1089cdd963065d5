//! Who is called by which bytes: routes of all shapes, as names and as codes, in all
//! kinds of messages. Nothing here gets as far as a shard.

use wire::Kind;

use crate::{client::Client, scene::Scene};

/// A client's message: flag, id where the kind has one, route, body.
fn message(flag: u8, id: &[u8], route: &[u8], body: &str) -> Vec<u8> {
    [&[flag], id, route, body.as_bytes()].concat()
}

fn named(route: &str) -> Vec<u8> {
    [&[u8::try_from(route.len()).unwrap()], route.as_bytes()].concat()
}

/// Sends `message` and expects `answer`, or none; the session goes on.
async fn check(client: &mut Client, message: &[u8], answer: Option<(&[u8], &str)>) {
    client.send_package(Kind::Data, message).await;
    if let Some((id, body)) = answer {
        let (kind, data) = client.package().await.unwrap();
        let expected = [&[4], id, body.as_bytes()].concat();
        assert_eq!((kind, &data[..]), (Kind::Data, &expected[..]), "to {message:02x?}");
    }
    client.expect_nothing().await;
}

const FAILED: &str = r#"{"code":500}"#;

#[tokio::test]
async fn routes_without_a_handler_are_answered_500_under_the_ids_own_bytes() {
    let s = Scene::start(&[]).await;
    let mut client = s.connector.client().await;
    let long = format!("a.b.{}", "c".repeat(251));
    // Of 128 and 300, most and least significant group first; the largest; not minimal.
    let ids: [&[u8]; 6] = [
        &[1],
        &[0x81, 0],
        &[0x82, 0x2c],
        &[0xac, 2],
        &[0xff, 0xff, 0xff, 0xff, 7],
        &[0x81, 0x80, 0],
    ];
    for (route, id) in [
        "a.b",
        "a.b.c.d",
        "connector.x.y",
        "connector.entryHandler.leave",
        "connector.entryHandler.constructor.x",
        "Connector.entryHandler.enter",
        "connector.entryHandler.toString",
        "connector.entryHandler.__defineGetter__",
        "chat.chatHandler.hasOwnProperty",
        "gate.gateHandler.queryEntry",
        "a..",
        "é.😀.x",
        &long,
    ]
    .into_iter()
    .zip(ids.into_iter().cycle())
    {
        check(&mut client, &message(0, id, &named(route), "{}"), Some((id, FAILED))).await;
        // Flag bits that mean nothing.
        check(&mut client, &message(0xe0, id, &named(route), "{}"), Some((id, FAILED))).await;
        // Nobody waits for an answer to a notify, a push, or a request with id 0.
        check(&mut client, &message(2, &[], &named(route), "{}"), None).await;
        check(&mut client, &message(6, &[], &named(route), "{}"), None).await;
        check(&mut client, &message(0, &[0], &named(route), "{}"), None).await;
    }
    // The gate's route by its code.
    check(&mut client, &message(1, &[9], &[0, 3], "{}"), Some((&[9], FAILED))).await;
}

#[tokio::test]
async fn what_is_no_route_and_what_is_no_call_is_passed_over() {
    let s = Scene::start(&[]).await;
    let mut client = s.connector.client().await;
    for route in ["", ".", "..", ".b.c", "abc", "onChat", "constructor"] {
        check(&mut client, &message(0, &[1], &named(route), "{}"), None).await;
    }
    for code in [[0, 0], [0, 4], [1, 0], [0xff, 0xff]] {
        check(&mut client, &message(1, &[1], &code, "{}"), None).await;
        check(&mut client, &message(3, &[], &code, "{}"), None).await;
    }
    // Responses, with and without the bit that means nothing; kinds that do not exist.
    for message in [&b"\x04\x01{}"[..], b"\x05\x01{}", b"\x08", b"\x0e\x01\x02", b"\x0f"] {
        check(&mut client, message, None).await;
    }
}

#[tokio::test]
async fn bodies_of_any_shape_get_one_answer_by_name_and_by_code() {
    let s = Scene::start(&[]).await;
    let mut client = s.connector.client().await;
    let missing = r#"{"code":400,"error":"username: is missing"}"#;
    for body in ["null", "7", "1e999", "\"x\"", "[]", "[1]", "true", "", "{", "{}", "\u{feff}{}"] {
        for (route, code, answer) in
            [(wire::route::SEND, 1, FAILED), (wire::route::ENTER, 2, missing)]
        {
            let by_name = message(0, &[7], &named(route), body);
            check(&mut client, &by_name, Some((&[7], answer))).await;
            check(&mut client, &message(1, &[8], &[0, code], body), Some((&[8], answer))).await;
            check(&mut client, &message(3, &[], &[0, code], body), None).await;
        }
    }
}

#[tokio::test]
async fn malformed_messages_and_attacks_end_the_session() {
    let s = Scene::start(&[]).await;
    for (bytes, end) in [
        (&b""[..], "closed"),
        // Cut in the id, the code, the route.
        (b"\x00\x81", "closed"),
        (b"\x01\x01\x00", "closed"),
        (b"\x00\x01\x09a.b", "closed"),
        // An id of 2^31, and one without an end.
        (b"\x00\x80\x80\x80\x80\x08\x03a.b{}", "closed"),
        (b"\x00\x80\x80\x80\x80\x80\x80\x01\x03a.b{}", "closed"),
        // A route that is no UTF-8, and a body that is compressed.
        (b"\x02\x03a.\xff{}", "closed"),
        (b"\x10\x01\x05a.b.c{}", "closed"),
        (b"\x02\x0fx.y.constructor", r#"kick {"reason":"attack"}"#),
    ] {
        let mut client = s.connector.client().await;
        client.expect_nothing().await;
        client.send_package(Kind::Data, bytes).await;
        client.expect(&[end]).await;
    }
}
