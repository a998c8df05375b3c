//! Metrics by route and by upstream: everything is counted where it belongs, at a name of the configuration's, once.

use std::time::Duration;

use sse_sidecar::config::{self, Config, Overrides};
use sse_sidecar::proxy::Guards;
use sse_sidecar::tls::ClientConfigs;
use tokio::time::sleep;

use crate::common::{
    EVENTS, LAST_CHUNK, Peer, Sidecar, backend, backend_that_says, chunk, run, unanswering,
};

fn assert_is(sidecar: &Sidecar, series: &str, expected: f64) {
    let seen = sidecar.metric(&format!("sse_sidecar_{series}"));
    assert!((seen - expected).abs() < 0.1, "{series} is {seen}");
}

async fn get(sidecar: &Sidecar, path: &str) -> Peer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: t\r\nAccept: text/event-stream\r\n\r\n");
    sidecar.request(&request).await
}

fn text(sidecar: &Sidecar) -> String {
    String::from_utf8(sidecar.metrics.text()).unwrap()
}

#[test]
fn a_stream_is_counted_for_its_route_alone() {
    run(|| async {
        let url = backend(|mut peer| async move {
            peer.head().await;
            peer.send(EVENTS).await;
            for gap in [2, 1, 1] {
                sleep(Duration::from_secs(gap)).await;
                peer.send(chunk("data: x\n\ndata: y\n\n")).await;
            }
            peer.send(LAST_CHUNK).await;
        })
        .await;
        let routes = "[[route]]\nname = 'chat'\npath = '/chat'\n[[route]]\npath = '/feed'\n";
        let sidecar = Sidecar::start(url, routes).await;
        let mut client = get(&sidecar, "/chat").await;
        client.head().await;
        sleep(Duration::from_secs(1)).await;
        assert_is(&sidecar, "streams_active{route=\"chat\"}", 1.0);
        assert_is(&sidecar, "requests_active{route=\"chat\"}", 1.0);
        assert!(client.chunks().await.1);
        for (series, expected) in [
            ("streams_total", 1.0),
            ("streams_active", 0.0),
            ("requests_active", 0.0),
            ("events_total", 6.0),
            ("time_to_first_event_seconds_sum", 2.0),
            ("time_to_first_event_seconds_count", 1.0),
            ("stream_age_seconds_sum", 4.0),
            // Four events in the two seconds after the first two.
            ("stream_events_per_second_sum", 2.0),
            ("stream_events_per_second_count", 1.0),
        ] {
            assert_is(&sidecar, &format!("{series}{{route=\"chat\"}}"), expected);
            for other in ["/feed", "any"] {
                assert_is(&sidecar, &format!("{series}{{route=\"{other}\"}}"), 0.0);
            }
        }
        assert_is(
            &sidecar,
            "requests_total{route=\"chat\",status=\"2xx\"}",
            1.0,
        );
        assert_is(&sidecar, "requests_total", 1.0);
        let ends = "stream_ends_total{reason=\"complete\",route=\"chat\",side=\"none\"}";
        assert_is(&sidecar, ends, 1.0);
    });
}

#[test]
fn a_failure_is_that_of_its_upstream_and_counted_for_the_route() {
    run(|| async {
        let good = backend_that_says("HTTP/1.1 204 No Content\r\n\r\n").await;
        let bad = backend_that_says("").await;
        let toml = format!(
            "timeouts.response_head = '3s'\n[[route]]\nname = 'bad'\npath = '/bad'\nupstream.url = 'http://{bad}'\n"
        );
        let sidecar = Sidecar::start(good, &toml).await;
        assert!(get(&sidecar, "/").await.head().await.contains(" 204 "));
        assert!(get(&sidecar, "/bad").await.head().await.contains(" 504 "));
        let reason = "reason=\"upstream_head_timeout\"";
        let failures = |upstream| {
            format!("upstream_failures_total{{{reason},upstream=\"http://{upstream}\"}}")
        };
        assert_is(&sidecar, &failures(bad), 1.0);
        assert_is(&sidecar, &failures(good), 0.0);
        assert_is(&sidecar, "upstream_failures_total", 1.0);
        assert_is(
            &sidecar,
            &format!("refused_total{{{reason},route=\"bad\"}}"),
            1.0,
        );
        assert_is(&sidecar, "refused_total", 1.0);
        assert_is(
            &sidecar,
            "requests_total{route=\"bad\",status=\"5xx\"}",
            1.0,
        );
        assert_is(
            &sidecar,
            "requests_total{route=\"any\",status=\"2xx\"}",
            1.0,
        );
        for upstream in [good, bad] {
            let connects = format!("upstream_connects_total{{upstream=\"http://{upstream}\"}}");
            assert_is(&sidecar, &connects, 1.0);
        }
        let cancels =
            "upstream_cancels_total{cause=\"upstream_timeout\",phase=\"waiting_for_head\"}";
        assert_is(&sidecar, cancels, 1.0);
    });
}

#[test]
fn a_request_without_a_route_has_no_such_label() {
    run(|| async {
        let backend = backend_that_says("").await;
        let toml =
            format!("[[route]]\nname = 'a'\npath = '/a'\nupstream.url = 'http://{backend}'\n");
        let (config, _) = config::parse(&toml, "", &Overrides::default()).unwrap();
        let sidecar = Sidecar::with_config(&config).await;
        assert!(get(&sidecar, "/b").await.head().await.contains(" 404 "));
        let text = text(&sidecar);
        for line in [
            "sse_sidecar_refused_total{reason=\"no_route\",side=\"proxy\"} 1",
            "sse_sidecar_requests_total{status=\"4xx\"} 1",
            "sse_sidecar_requests_active{route=\"a\"} 0",
        ] {
            assert!(
                text.lines().any(|seen| seen == line),
                "{line} is not in\n{text}"
            );
        }
        assert_is(&sidecar, "requests_total", 1.0);
    });
}

#[test]
fn who_caused_a_cancellation_is_told_apart() {
    run(|| async {
        let (nobody, _queue) = unanswering();
        let toml = format!("[[route]]\npath = '/nobody'\nupstream.url = 'http://{nobody}'\n");
        let toml = format!("timeouts.read = '3s'\n{toml}");
        let sidecar = Sidecar::start(backend_that_says(EVENTS).await, &toml).await;
        let cancels = |cause: &str, phase: &str| {
            format!("upstream_cancels_total{{cause=\"{cause}\",phase=\"{phase}\"}}")
        };
        let client = get(&sidecar, "/nobody").await;
        sleep(Duration::from_secs(1)).await;
        drop(client);
        let mut client = get(&sidecar, "/").await;
        client.head().await;
        drop(client);
        get(&sidecar, "/").await.closed().await;
        let mut client = get(&sidecar, "/").await;
        client.head().await;
        sidecar.cut();
        client.closed().await;
        sleep(Duration::from_secs(1)).await;
        assert_is(&sidecar, &cancels("client_gone", "connecting"), 1.0);
        assert_is(&sidecar, &cancels("client_gone", "streaming"), 1.0);
        assert_is(&sidecar, &cancels("upstream_timeout", "streaming"), 1.0);
        assert_is(&sidecar, &cancels("shutdown", "streaming"), 1.0);
        assert_is(&sidecar, "upstream_cancels_total", 4.0);
    });
}

#[test]
fn a_reload_keeps_the_numbers_of_what_stays_and_the_series_of_nothing_else() {
    run(|| async {
        let backend = backend_that_says(EVENTS).await;
        let other = backend_that_says(EVENTS).await;
        let config = |names: &[&str]| -> Config {
            let route = |name: &&str| {
                let upstream = if *name == "stays" { backend } else { other };
                format!(
                    "[[route]]\nname = '{name}'\npath = '/{name}'\nupstream.url = 'http://{upstream}'\n"
                )
            };
            let toml: String = names.iter().map(route).collect();
            config::parse(&toml, "", &Overrides::default()).unwrap().0
        };
        let sidecar = Sidecar::with_config(&config(&["stays", "goes"])).await;
        let mut stays = get(&sidecar, "/stays").await;
        stays.head().await;
        let mut goes = get(&sidecar, "/goes").await;
        goes.head().await;

        let adopt = |config: &Config| {
            let tls = ClientConfigs::new();
            sidecar.proxy.adopt(config, &tls, &Guards::default());
        };
        for number in 0..100 {
            let passing = format!("route-{number}");
            adopt(&config(&["stays", &passing]));
        }
        adopt(&config(&["stays"]));
        assert_is(&sidecar, "streams_active{route=\"stays\"}", 1.0);
        assert_is(&sidecar, "streams_total{route=\"stays\"}", 1.0);
        assert_is(&sidecar, "streams_active{route=\"goes\"}", 1.0); // as long as it is open
        assert!(!text(&sidecar).contains("route-"), "a series is left over");

        drop(goes);
        sleep(Duration::from_secs(1)).await;
        let text = text(&sidecar);
        assert!(!text.contains("goes"));
        let mut again = get(&sidecar, "/stays").await;
        again.head().await;
        assert_is(&sidecar, "streams_total{route=\"stays\"}", 2.0);
        let total = sidecar.metrics.total();
        assert_eq!(
            total.streams.get(),
            3,
            "the status page counts what is gone"
        );
    });
}
