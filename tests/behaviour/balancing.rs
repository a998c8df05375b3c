//! Several backends behind one route: who is asked, and who else when that one dies, hangs, comes back or flaps.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::backends::{Backend, Mode, balanced, in_front_of};
use crate::common::{Sidecar, run, unanswering};

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello";

/// Status and body of the answer to `request`.
async fn answer(sidecar: &Sidecar, request: &str) -> (String, String) {
    let mut client = sidecar.request(request).await;
    let head = client.head().await;
    let length = head.to_lowercase();
    let length = length.split("content-length: ").nth(1);
    let length = length.and_then(|rest| rest.lines().next()?.parse().ok());
    let body = client.bytes(length.unwrap_or(0)).await;
    (head[9..12].to_owned(), String::from_utf8(body).unwrap())
}

/// How many of so many requests each backend answered, by its name; none may fail.
async fn shares(sidecar: &Sidecar, request: &str, count: usize) -> HashMap<String, usize> {
    let mut shares = HashMap::new();
    for _ in 0..count {
        let (status, name) = answer(sidecar, request).await;
        assert_eq!(status, "200");
        *shares.entry(name).or_default() += 1;
    }
    shares
}

fn expected(shares: &[(&str, usize)]) -> HashMap<String, usize> {
    let shares = shares.iter().filter(|(_, count)| *count > 0);
    shares
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect()
}

#[test]
fn turns_follow_the_weights() {
    run(|| async {
        let [a, b, c] = Backend::three();
        let urls = format!(
            "[{{ url = '{}', weight = 4 }}, '{}', {{ url = '{}', weight = 1 }}]",
            a.url, b.url, c.url
        );
        let toml = format!("upstream = {{ urls = {urls}, balance = 'round_robin' }}");
        let sidecar = balanced(&toml).await;
        let shares = shares(&sidecar, GET, 120).await;
        assert_eq!(shares, expected(&[("a", 80), ("b", 20), ("c", 20)]));
    });
}

#[test]
fn open_streams_count() {
    run(|| async {
        let backends = Backend::three();
        let sidecar = in_front_of(&backends, "").await;
        for backend in &backends {
            backend.set(Mode::Stream);
        }
        let mut clients = Vec::new();
        for _ in 0..30 {
            let mut client = sidecar.get_events().await;
            client.head().await;
            clients.push(client);
        }
        for backend in &backends {
            let asked = backend.requests();
            assert!((8..=12).contains(&asked), "{asked} of 30");
        }
    });
}

#[test]
fn one_that_is_not_there_costs_no_request_and_comes_back() {
    run(|| async {
        let [a, b, c] = Backend::three();
        b.stop();
        let sidecar = in_front_of(&[&a, &b, &c], "upstream.balance = 'round_robin'").await;
        let post = shares(&sidecar, POST, 30).await;
        assert!(!post.contains_key("b") && post.len() == 2, "{post:?}");
        let failovers = sidecar.metric("sse_sidecar_upstream_failovers_total");
        assert!((failovers - 1.0).abs() < 0.1, "{failovers}");
        b.start();
        sleep(Duration::from_millis(1_000)).await;
        let after = shares(&sidecar, POST, 30).await;
        assert_eq!(after, expected(&[("a", 10), ("b", 10), ("c", 10)]));
    });
}

#[test]
fn one_that_stays_away_is_asked_less_and_less() {
    run(|| async {
        let [a, b, c] = Backend::three();
        b.stop();
        let sidecar = in_front_of(&[&a, &b, &c], "upstream.balance = 'round_robin'").await;
        let begin = Instant::now();
        let mut failovers = Vec::new();
        while begin.elapsed() < Duration::from_secs(64) {
            shares(&sidecar, GET, 3).await;
            failovers.push(sidecar.metric("sse_sidecar_upstream_failovers_total"));
            sleep(Duration::from_millis(500)).await;
        }
        // After 0, 1, 3, 7, 15, 31 and 63 s.
        let all = failovers.last().unwrap();
        assert!((all - 7.0).abs() < 0.1, "{failovers:?}");
    });
}

#[test]
fn streams_of_the_others_continue_while_one_flaps() {
    run(|| async {
        let [a, b, c] = Backend::three();
        let sidecar = in_front_of(&[&a, &b, &c], "heartbeat.interval = 'off'").await;
        a.set(Mode::Stream);
        b.set(Mode::Stream);
        c.stop();
        let mut clients = Vec::new();
        for _ in 0..8 {
            let mut client = sidecar.get_events().await;
            assert!(client.head().await.starts_with("HTTP/1.1 200"));
            clients.push(client);
        }
        for _ in 0..20 {
            c.start();
            sleep(Duration::from_millis(700)).await;
            shares(&sidecar, GET, 2).await;
            c.stop();
            shares(&sidecar, GET, 2).await;
            sleep(Duration::from_millis(700)).await;
            a.say("data: x\n\n");
            b.say("data: x\n\n");
            for client in &mut clients {
                assert_eq!(client.chunk().await, "data: x\n\n");
            }
        }
    });
}

#[test]
fn what_was_sent_goes_to_another_one_only_if_it_can_be_repeated() {
    const DELETE_WITH_BODY: &str =
        "DELETE / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello";
    for (mode, request, status) in [
        (Mode::Close, GET, "200"),
        (Mode::Close, POST, "502"),
        (Mode::Close, DELETE_WITH_BODY, "502"),
        (Mode::Hang, GET, "200"),
        (Mode::Hang, POST, "504"),
        (Mode::Begin, GET, "502"),
        (Mode::Interim, GET, "103"),
    ] {
        run(move || async move {
            let [a, b, _] = Backend::three();
            a.set(mode);
            let toml = "timeouts.response_head = '2s'\nupstream.balance = 'round_robin'";
            let sidecar = in_front_of(&[&a, &b], toml).await;
            let mut statuses = Vec::new();
            while a.requests() == 0 {
                statuses.push(answer(&sidecar, request).await.0);
            }
            let (last, others) = statuses.split_last().unwrap();
            assert_eq!(last, status, "{mode:?} {request}");
            assert!(others.iter().all(|status| status == "200"));
            let asked = a.requests() + b.requests();
            assert_eq!(asked, statuses.len() + usize::from(status == "200"));
        });
    }
}

#[test]
fn a_request_is_repeated_once() {
    run(|| async {
        let backends = Backend::three();
        for backend in &backends {
            backend.set(Mode::Close);
        }
        let sidecar = in_front_of(&backends, "").await;
        assert_eq!(answer(&sidecar, GET).await.0, "502");
        let asked: usize = backends.iter().map(Backend::requests).sum();
        assert_eq!(asked, 2);
    });
}

#[test]
fn statuses_that_a_route_names_count_and_pass() {
    run(|| async {
        let [a, b, _] = Backend::three();
        a.set(Mode::Status(503));
        let toml = "upstream.balance = 'round_robin'\nupstream.unhealthy_status = [503]";
        let sidecar = in_front_of(&[&a, &b], toml).await;
        let mut statuses = HashMap::new();
        for _ in 0..40 {
            let (status, _) = answer(&sidecar, GET).await;
            *statuses.entry(status).or_insert(0) += 1;
        }
        assert_eq!((statuses["503"], statuses["200"]), (3, 37));

        // Others are the request's fault.
        let [a, b, _] = Backend::three();
        a.set(Mode::Status(500));
        let sidecar = in_front_of(&[&a, &b], toml).await;
        for _ in 0..40 {
            answer(&sidecar, GET).await;
        }
        assert_eq!(a.requests(), 20);
    });
}

#[test]
fn a_backup_is_used_while_no_other_is_available() {
    run(|| async {
        let [a, b, c] = Backend::three();
        let toml = format!(
            "upstream.urls = ['{}', '{}', {{ url = '{}', backup = true }}]",
            a.url, b.url, c.url
        );
        let sidecar = balanced(&toml).await;
        assert!(!shares(&sidecar, GET, 40).await.contains_key("c"));
        a.stop();
        assert_eq!(
            shares(&sidecar, GET, 20).await.keys().collect::<Vec<_>>(),
            ["b"]
        );
        b.stop();
        assert_eq!(shares(&sidecar, GET, 20).await, expected(&[("c", 20)]));
        a.start();
        b.start();
        sleep(Duration::from_secs(1)).await;
        assert!(!shares(&sidecar, GET, 40).await.contains_key("c"));
    });
}

#[test]
fn the_last_one_is_never_ejected() {
    run(|| async {
        let [a, b, _] = Backend::three();
        let toml = "upstream.balance = 'round_robin'\nupstream.unhealthy_status = [503]";
        let sidecar = in_front_of(&[&a, &b], toml).await;
        a.stop();
        shares(&sidecar, GET, 4).await;
        b.set(Mode::Status(503));
        for _ in 0..10 {
            assert_eq!(answer(&sidecar, GET).await.0, "503");
        }
        b.set(Mode::Answer);
        assert_eq!(answer(&sidecar, GET).await.1, "b");
        // An ejected one that is back is tried before a request is lost.
        b.stop();
        a.start();
        assert_eq!(answer(&sidecar, POST).await.1, "a");
    });
}

#[test]
fn all_of_them_may_restart_at_once() {
    run(|| async {
        let [a, b, _] = Backend::three();
        let sidecar = in_front_of(&[&a, &b], "").await;
        shares(&sidecar, GET, 4).await;
        a.stop();
        b.stop();
        let mut client = sidecar.request(POST).await;
        sleep(Duration::from_millis(600)).await;
        a.start();
        assert!(client.head().await.starts_with("HTTP/1.1 200"));
        a.stop();
        let begin = Instant::now();
        assert_eq!(answer(&sidecar, POST).await.0, "502");
        let took = begin.elapsed();
        assert!((900..1_100).contains(&took.as_millis()), "{took:?}");
    });
}

#[test]
fn one_that_does_not_answer_leaves_time_for_the_others() {
    run(|| async {
        let (silent, _full) = unanswering();
        let [a, _, _] = Backend::three();
        let toml = format!("upstream.urls = ['http://{silent}', '{}']", a.url);
        let sidecar = balanced(&format!("{toml}\nupstream.balance = 'round_robin'")).await;
        let begin = Instant::now();
        shares(&sidecar, POST, 10).await;
        let took = begin.elapsed();
        // Half of `connect`, once.
        assert!((2_500..2_600).contains(&took.as_millis()), "{took:?}");
    });
}

#[test]
fn a_hash_keeps_sessions_together() {
    for (key, field) in [
        ("hash:header:X-Session", "X-Session: "),
        ("hash:cookie:sid", "Cookie: a=b; sid="),
    ] {
        run(move || async move {
            let [a, b, c] = Backend::three();
            let toml = format!("upstream.balance = '{key}'");
            let sidecar = in_front_of(&[&a, &b, &c], &toml).await;
            let ask =
                |session: usize| format!("GET / HTTP/1.1\r\nHost: t\r\n{field}{session}\r\n\r\n");
            let mut homes = Vec::new();
            for session in 0..60 {
                let home = answer(&sidecar, &ask(session)).await.1;
                assert_eq!(
                    shares(&sidecar, &ask(session), 3).await,
                    expected(&[(&home, 3)])
                );
                homes.push(home);
            }
            let of_b = homes.iter().filter(|home| *home == "b").count();
            assert!((8..32).contains(&of_b), "{of_b} of 60");
            b.stop();
            for (session, home) in homes.iter().enumerate() {
                let now = answer(&sidecar, &ask(session)).await.1;
                assert!(now == *home || home == "b", "{session}: {home} {now}");
            }
            b.start();
            sleep(Duration::from_secs(1)).await;
            for (session, home) in homes.iter().enumerate() {
                assert_eq!(answer(&sidecar, &ask(session)).await.1, *home);
            }
        });
    }
}

#[test]
fn http2_backends_share_and_fail_over() {
    run(|| async {
        let [a, b, c] = Backend::three_with_http2();
        let sidecar = in_front_of(&[&a, &b, &c], "upstream.balance = 'round_robin'").await;
        let all = shares(&sidecar, POST, 30).await;
        assert_eq!(all, expected(&[("a", 10), ("b", 10), ("c", 10)]));
        b.stop();
        let without = shares(&sidecar, POST, 30).await;
        assert!(!without.contains_key("b"), "{without:?}");
        // What is refused unseen goes to another one whatever it is.
        c.set(Mode::Refuse);
        assert_eq!(shares(&sidecar, POST, 10).await, expected(&[("a", 10)]));
        b.start();
        c.set(Mode::Answer);
        sleep(Duration::from_secs(2)).await;
        let all = shares(&sidecar, POST, 30).await;
        assert_eq!(all, expected(&[("a", 10), ("b", 10), ("c", 10)]));
    });
}

#[test]
fn a_stream_that_has_begun_goes_nowhere_else() {
    run(|| async {
        let [a, b, _] = Backend::three();
        let sidecar = in_front_of(&[&a, &b], "").await;
        a.set(Mode::Stream);
        b.set(Mode::Stream);
        let mut client = sidecar.get_events().await;
        client.head().await;
        a.stop();
        b.stop();
        assert_eq!(client.try_chunk().await, None);
        assert_eq!(a.requests() + b.requests(), 1);
        let ends = sidecar.ends("upstream_closed", "upstream");
        assert!((ends - 1.0).abs() < 0.1);
    });
}

#[test]
fn an_early_head_survives_a_failover() {
    run(|| async {
        let [a, b, _] = Backend::three();
        a.set(Mode::Hang);
        b.set(Mode::Stream);
        let toml = "heartbeat.before_head = '1s'\ntimeouts.response_head = '3s'\n\
                    upstream.balance = 'round_robin'";
        let sidecar = in_front_of(&[&a, &b], toml).await;
        let mut client = sidecar.get_events().await;
        while a.requests() == 0 {
            client = sidecar.get_events().await;
            client.head().await;
        }
        sleep(Duration::from_secs(4)).await;
        b.say("data: x\n\n");
        while !client.chunk().await.contains("data: x") {}
    });
}
