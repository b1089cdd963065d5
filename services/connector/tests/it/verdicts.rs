//! What extended sessions are told that stay while their room changes.

use rpc::chat::v1::{self as pb, Verdict, event::Event as E, reply::Result as R};

use crate::{
    extended::chat,
    scene::{EPOCH, FENCE, Options, Scene, entry},
    shard::reply,
};

const KICK: &str = r#"kick {"reason":"reconnect: messages may have been lost"}"#;

/// Plain bob and extended ann, and the re-join of both after the link was lost.
async fn relinked(volatile: bool) -> (Scene, u64) {
    let options = Options { volatile, ..Options::default() };
    let mut s = Scene::start_with(options, &["bob"]).await;
    s.enter_extended("ann", "").await;
    s.head = 9;
    let (id, _) = s.relink(volatile).await;
    (s, id)
}

fn verdict(rest: &str) -> String {
    format!(r#"onVerdict {{"kind":{rest}}}"#)
}

#[tokio::test]
async fn a_hole_that_nobody_can_fill_is_told_and_closes_plain_sessions() {
    for volatile in [false, true] {
        let (mut s, id) = relinked(volatile).await;
        let verdict_of = Verdict::Truncated.into();
        let answer = pb::Rejoined { verdict: verdict_of, first: 5, ..s.rejoined(&[]) };
        let live = s.says("bob", "hi");
        s.link.send_all([reply(id, R::Rejoined(answer)), E::Entry(live)]).await;
        let place = r#""position":{"epoch":"0000000000000007","seq":9}"#;
        let truncated = verdict(&format!(r#""truncated","first":5,{place}"#));
        s.clients[1].expect(&[&truncated, &chat(10, "bob", "*", "hi")]).await;
        s.clients[0].expect(&[KICK, "closed"]).await;
        s.clients[1].expect_nothing().await;
    }
}

#[tokio::test]
async fn another_log_is_told_before_what_is_in_it() {
    for volatile in [false, true] {
        let (mut s, id) = relinked(volatile).await;
        let position = Some(pb::Position { epoch: 0xab, seq: 3 });
        let fence = Some(pb::Fence { r#gen: 2, term: 1 });
        let answer = pb::Rejoined {
            verdict: Verdict::Reset.into(),
            position,
            fence,
            ..s.rejoined(&[entry(2, "bot", "*", "one"), entry(3, "bot", "*", "two")])
        };
        let live = pb::Entry { fence, ..entry(4, "bot", "*", "three") };
        s.link.send_all([reply(id, R::Rejoined(answer)), E::Entry(live)]).await;
        let place = r#""position":{"epoch":"00000000000000ab","seq":1}"#;
        s.clients[1].expect(&[&verdict(&format!(r#""reset",{place}"#))]).await;
        for (seq, msg) in [(2, "one"), (3, "two"), (4, "three")] {
            let line = chat(seq, "bot", "*", msg).replace("0000000000000007", "00000000000000ab");
            s.clients[1].expect(&[&line]).await;
        }
        let all = ["onChat bot > *: one", "onChat bot > *: two", "onChat bot > *: three"];
        if volatile {
            s.clients[0].expect(&all).await;
            s.silence().await;
        } else {
            s.clients[0].expect(&[all[0], all[1], KICK, "closed"]).await;
        }
    }
}

#[tokio::test]
async fn a_log_that_was_set_back_goes_on_for_everybody() {
    let mut s = Scene::start(&["bob"]).await;
    s.head = 8;
    s.enter_extended("ann", "").await;
    let (id, _) = s.relink(true).await;
    // Ahead of the log: what comes now has numbers that were seen before.
    let ahead = s.says("bot", "x");
    s.head = 1;
    let answer = pb::Rejoined { verdict: Verdict::Reset.into(), ..s.rejoined(&[]) };
    s.link.reply(id, R::Rejoined(answer)).await;
    let place = r#""position":{"epoch":"0000000000000007","seq":1}"#;
    s.clients[1].expect(&[&verdict(&format!(r#""reset",{place}"#))]).await;
    let (two, three) = (s.says("bot", "again"), s.whispers("bot", "ann", "psst"));
    assert!(three.seq < ahead.seq);
    s.link.send_all([E::Entry(two), E::Entry(three)]).await;
    s.clients[0].expect(&["onChat bot > *: again"]).await;
    s.clients[1].expect(&[&chat(2, "bot", "*", "again"), &chat(3, "bot", "ann", "psst")]).await;
}

#[tokio::test]
async fn nobody_is_told_of_what_went_well() {
    let (mut s, id) = relinked(false).await;
    s.head = 2;
    s.link.reply(id, R::Rejoined(s.rejoined(&[entry(2, "bot", "*", "x")]))).await;
    s.clients[1].expect(&[&chat(2, "bot", "*", "x")]).await;
    s.clients[0].expect(&["onChat bot > *: x"]).await;
    s.silence().await;
}

fn redacted(seq: u64, fence: pb::Fence) -> E {
    E::Redacted(pb::Redacted { room: "r".into(), fence: Some(fence), seq })
}

#[tokio::test]
async fn what_was_taken_away_is_told_to_those_who_can_forget_it() {
    let mut s = Scene::start(&["bob"]).await;
    s.enter_extended("ann", "").await;
    let (one, two) = (s.says("bot", "1"), s.says("bot", "2"));
    let old = pb::Fence { r#gen: 0, term: 9 };
    s.link.send_all([E::Entry(one), redacted(2, FENCE), redacted(2, old), E::Entry(two)]).await;
    let gone = r#"onRedact {"epoch":"0000000000000007","seq":2}"#;
    s.clients[1].expect(&[&chat(2, "bot", "*", "1"), gone, &chat(3, "bot", "*", "2")]).await;
    s.clients[0].expect(&["onChat bot > *: 1", "onChat bot > *: 2"]).await;
    s.silence().await;
}

#[tokio::test]
async fn what_was_taken_away_while_it_waited_is_shown_to_nobody() {
    let mut s = Scene::start(&["bob"]).await;
    s.enter_extended("ann", "").await;
    let (one, two) = (s.says("bot", "1"), s.says("bot", "secret"));
    s.link.send_all([E::Entry(two), redacted(3, FENCE)]).await;
    let (id, _) = s.link.fetch().await;
    let fetched = pb::Fetched { epoch: EPOCH, entries: vec![one], complete: true };
    s.link.reply(id, R::Fetched(fetched)).await;
    let gone = r#"onRedact {"epoch":"0000000000000007","seq":3}"#;
    s.clients[1].expect(&[gone, &chat(2, "bot", "*", "1")]).await;
    let line = s.clients[1].next().await;
    assert!(line.contains(r#""msg":"","#) && line.ends_with(r#""redacted":true}"#), "{line}");
    s.clients[0].expect(&["onChat bot > *: 1"]).await;
    s.silence().await;
}
