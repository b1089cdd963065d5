use super::*;

#[tokio::test]
async fn every_file_of_the_page_is_served_with_its_type() {
    let web = Web::start(&[]).await;
    for (path, content_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/main.js", "text/javascript; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
        ("/logo.svg", "image/svg+xml"),
    ] {
        let answer = web.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-type"), content_type);
        assert_eq!(answer.header("cache-control"), "no-cache");
        assert!(!answer.body.is_empty());
    }
    let page = web.get("/").await;
    let refers_to = |file: &str| page.text().contains(&format!("\"{file}\""));
    assert!(refers_to("main.js") && refers_to("style.css"));
    web.stop().await;
}

#[tokio::test]
async fn every_answer_carries_the_security_headers() {
    let web = Web::start(&["--proxy"]).await;
    let post = web.ask("POST / HTTP/1.1\nHost: x\nConnection: close\nContent-Length: 0").await;
    assert_eq!((post.status, post.header("allow")), (405, "GET, HEAD"));
    let mut answers = vec![post];
    for (path, status) in
        [("/", 200), ("/config.json", 200), ("/nothing", 404), ("/gate", 426), ("/ws/x", 404)]
    {
        let answer = web.get(path).await;
        assert_eq!(answer.status, status, "{path}");
        answers.push(answer);
    }
    for answer in answers {
        let policy = answer.header("content-security-policy");
        for part in
            ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"]
        {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(policy.contains("connect-src 'self';"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert_eq!(answer.header("cross-origin-opener-policy"), "same-origin");
        assert!(answer.header("permissions-policy").contains("camera=()"));
    }
    web.stop().await;
}

#[tokio::test]
async fn a_page_that_is_current_is_not_sent_again() {
    let web = Web::start(&[]).await;
    let first = web.get("/chat.js").await;
    let tag = first.header("etag");
    let head = "GET /chat.js HTTP/1.1\nHost: x\nConnection: close";
    let again = web.ask(&format!("{head}\nIf-None-Match: {tag}")).await;
    assert_eq!((again.status, again.body.len()), (304, 0));
    assert_eq!(again.header("etag"), tag);
    assert_eq!(again.header("x-content-type-options"), "nosniff");
    let changed = web.ask(&format!("{head}\nIf-None-Match: \"other\"")).await;
    assert_eq!((changed.status, changed.body), (200, first.body));
    web.stop().await;
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let web = Web::start(&[]).await;
    for path in ["/", "/config.json"] {
        let get = web.get(path).await;
        let head = web.ask(&format!("HEAD {path} HTTP/1.1\nHost: x\nConnection: close")).await;
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.header("content-length"), get.header("content-length"));
        assert_eq!(head.header("content-type"), get.header("content-type"));
    }
    web.stop().await;
}

#[tokio::test]
async fn what_does_not_exist_is_a_line_for_programs_and_a_page_for_people() {
    let web = Web::start(&[]).await;
    for path in ["/nothing", "/../Cargo.toml", "/%2e%2e/Cargo.toml", "/gate", "/ws/connector-1"] {
        let answer = web.get(path).await;
        assert_eq!((answer.status, answer.text()), (404, "not found\n"), "{path}");
    }
    let page =
        web.ask("GET /nothing HTTP/1.1\nHost: x\nAccept: text/html\nConnection: close").await;
    assert_eq!((page.status, page.header("content-type")), (404, "text/html; charset=utf-8"));
    web.stop().await;
}

#[tokio::test]
async fn the_configuration_is_for_now_only() {
    let web = Web::start(&["--public-gate=wss://gate.example"]).await;
    let answer = web.get("/config.json").await;
    assert_eq!(answer.text(), r#"{"gate":"wss://gate.example","connectors":{}}"#);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(answer.header("content-security-policy").contains("connect-src 'self' ws: wss:;"));
    web.stop().await;
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let web = Web::start(&[]).await;
    let long = "x".repeat(20_000);
    let answer = web.ask(&format!("GET / HTTP/1.1\nHost: x\nX-Long: {long}")).await;
    assert_eq!(answer.status, 431);
    let many = "X-A: b\n".repeat(80);
    let answer = web.ask(&format!("GET / HTTP/1.1\n{many}Host: x")).await;
    assert_eq!(answer.status, 431);
    web.stop().await;
}

#[tokio::test]
async fn a_client_that_sends_nothing_is_let_go() {
    let web = Web::start(&[]).await;
    let mut slow = TcpStream::connect(web.addr).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
    let mut idle = TcpStream::connect(web.addr).await.unwrap();
    idle.write_all(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    for stream in [&mut slow, &mut idle] {
        let mut rest = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap().unwrap();
    }
    web.stop().await;
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_for_their_turn() {
    let web = Web::start(&["--connections-max=1"]).await;
    let first = TcpStream::connect(web.addr).await.unwrap();
    {
        let second = web.get("/config.json");
        tokio::pin!(second);
        // The first sends nothing, so the second cannot have its turn yet.
        assert!(timeout(Duration::from_millis(300), &mut second).await.is_err());
        drop(first);
        assert_eq!(second.await.status, 200);
    }
    web.stop().await;
}
