//! Timeouts, cancellation and endings while the upstream thinks, and after.

use std::time::Duration;

use sse_sidecar::exchange::{end_stream, snapshots};
use sse_sidecar::metrics::Phase;
use tokio::time::{Instant, sleep};

use super::{BEAT, EARLY, PROMPTLY, assert_is, early, seconds, slow};
use crate::both_protocols::{assert_at, each_way};
use crate::common::{Sidecar, moment, run, unanswering};
use crate::either;
use crate::either::{Asker, Connection, End};

#[test]
fn a_client_that_leaves_cancels_its_request_at_once() {
    for body in ["", "the first part"] {
        each_way(move |client, upstream| async move {
            let (gone, mut seen) = moment();
            let url = either::backend(upstream, move |teller| {
                let gone = gone.clone();
                async move { gone(teller.cancelled().await) }
            })
            .await;
            let sidecar = Sidecar::in_front_of(&url, EARLY).await;
            let mut asker = Asker::upload(&sidecar, client, body).await;
            early(&mut asker).await;
            sleep(seconds(20)).await;
            let left = Instant::now();
            let _connection = asker.leave();
            let (at, how) = seen.recv().await.unwrap();
            assert!(at - left < PROMPTLY && how.is_proper(), "{how:?}");
            assert_is(sidecar.ends("client_gone", "client"), 1.0);
            let cancels = "sse_sidecar_upstream_cancels_total{phase=\"waiting_for_head\"}";
            assert_is(sidecar.metric(cancels), 1.0);
            assert_is(sidecar.metric("sse_sidecar_streams_active"), 0.0);
        });
    }
}

#[test]
fn a_client_that_leaves_while_connecting_is_noticed_too() {
    for client in [either::Http::One, either::Http::Two] {
        run(move || async move {
            let (address, _queue) = unanswering();
            let toml = "heartbeat.before_head = \"10s\"\ntimeouts.connect = \"60s\"";
            let sidecar = Sidecar::start(address, toml).await;
            let mut asker = Asker::ask(&sidecar, client).await;
            early(&mut asker).await;
            let _connection = asker.leave();
            sleep(Duration::from_millis(1)).await;
            assert_is(sidecar.metric("sse_sidecar_requests_active"), 0.0);
            let cancels = "sse_sidecar_upstream_cancels_total{phase=\"connecting\"}";
            assert_is(sidecar.metric(cancels), 1.0);
        });
    }
}

#[test]
fn a_client_that_takes_nothing_is_dropped() {
    each_way(|client, upstream| async move {
        let (gone, mut seen) = moment();
        let url = either::backend(upstream, move |teller| {
            let gone = gone.clone();
            async move { gone(teller.cancelled().await) }
        })
        .await;
        let toml = format!(
            "{EARLY}heartbeat.interval = \"10ms\"\nheartbeat.text = \"{}\"\ntimeouts.response_head = \"off\"",
            "x".repeat(256)
        );
        let sidecar = Sidecar::in_front_of(&url, &toml).await;
        let _asker = match client {
            either::Http::One => Asker::ask(&sidecar, client).await,
            either::Http::Two => {
                let little = |builder: &mut h2::client::Builder| {
                    builder.initial_window_size(1000);
                };
                Connection::with(&sidecar, little).await.ask("").await
            }
        };
        let (_, how) = seen.recv().await.unwrap();
        assert!(how.is_proper(), "{how:?}");
        assert_is(sidecar.ends("client_stalled", "client"), 1.0);
        let skipped = sidecar.metric("sse_sidecar_heartbeats_skipped_total");
        // 30 s, less what the kernel took while the clock advanced, or twice that if the client acknowledged its last bytes late.
        assert!((2000.0..6100.0).contains(&skipped), "{skipped}");
    });
}

#[test]
fn the_upstreams_timeouts_begin_with_its_head() {
    for (clock, reason) in [
        ("first_event", "upstream_first_event_timeout"),
        ("read", "upstream_read_timeout"),
    ] {
        each_way(move |client, upstream| async move {
            let url = either::backend(upstream, |mut teller| async move {
                sleep(seconds(50)).await;
                teller.open_events().await;
                sleep(seconds(1000)).await;
            })
            .await;
            let toml = format!("{EARLY}timeouts.{clock} = \"20s\"");
            let sidecar = Sidecar::in_front_of(&url, &toml).await;
            let start = Instant::now();
            let mut asker = Asker::ask(&sidecar, client).await;
            early(&mut asker).await;
            assert_eq!(asker.rest().await.1, End::Cut);
            assert_at(start, seconds(70));
            assert_is(sidecar.ends(reason, "upstream"), 1.0);
        });
    }
}

#[test]
fn the_life_of_a_stream_begins_with_the_clients_head() {
    each_way(|client, upstream| async move {
        let (gone, mut seen) = moment();
        let url = either::backend(upstream, move |teller| {
            let gone = gone.clone();
            async move { gone(teller.cancelled().await) }
        })
        .await;
        let toml = format!("{EARLY}timeouts.total = \"60s\"");
        let sidecar = Sidecar::in_front_of(&url, &toml).await;
        let start = Instant::now();
        let mut asker = Asker::ask(&sidecar, client).await;
        early(&mut asker).await;
        assert_eq!(asker.rest().await.1, End::Clean);
        assert!((64..=70).contains(&start.elapsed().as_secs()));
        assert!(seen.recv().await.unwrap().1.is_proper());
        assert_is(sidecar.ends("total", "proxy"), 1.0);
    });
}

#[test]
fn an_operator_sees_what_is_waited_for_and_can_end_it() {
    each_way(|client, upstream| async move {
        let url = either::backend(upstream, |teller| slow(teller, seconds(1000))).await;
        let sidecar = Sidecar::in_front_of(&url, EARLY).await;
        let mut asker = Asker::ask(&sidecar, client).await;
        early(&mut asker).await;
        let (open, _) = snapshots(10);
        assert_eq!(open[0].phase, Phase::WaitingForHead);
        assert_eq!(open[0].counts.heartbeats, 1);
        assert_eq!(open[0].silence.unwrap().as_secs(), 10);
        assert!(end_stream(open[0].number));
        sidecar.wake().await;
        assert_eq!(asker.rest().await, (String::new(), End::Clean));
        assert_is(sidecar.ends("ended_by_operator", "proxy"), 1.0);
    });
}

#[test]
fn a_drain_waits_for_the_upstream_and_a_cut_is_clean() {
    for thinks in [20, 1000] {
        each_way(move |client, upstream| async move {
            let url = either::backend(upstream, move |teller| slow(teller, seconds(thinks))).await;
            let sidecar = Sidecar::in_front_of(&url, EARLY).await;
            let mut asker = Asker::ask(&sidecar, client).await;
            early(&mut asker).await;
            sidecar.drain(seconds(30));
            sleep(seconds(25)).await;
            sidecar.cut();
            let (seen, end) = asker.rest().await;
            assert_eq!(end, End::Clean);
            if thinks == 20 {
                assert_eq!(seen, "data: x\n\n");
            } else {
                assert_eq!(seen, BEAT);
                assert_is(sidecar.ends("shutdown", "proxy"), 1.0);
            }
        });
    }
}

#[test]
fn an_upstream_that_breaks_off_after_its_late_head_is_an_abort() {
    each_way(|client, upstream| async move {
        let url = either::backend(upstream, |mut teller| async move {
            sleep(seconds(20)).await;
            teller.open_events().await;
            teller.say("data: x\n\n").await;
            sleep(seconds(1)).await;
            teller.cut();
        })
        .await;
        let toml = format!("{EARLY}events.on_upstream_failure = \"event\"");
        let sidecar = Sidecar::in_front_of(&url, &toml).await;
        let mut asker = Asker::ask(&sidecar, client).await;
        early(&mut asker).await;
        let (seen, end) = asker.rest().await;
        assert!(
            seen.contains("event: error\ndata: {\"reason\":\"upstream_closed\""),
            "{seen}"
        );
        assert_eq!(
            end,
            End::Cut,
            "what the upstream has begun is never a clean end"
        );
    });
}
