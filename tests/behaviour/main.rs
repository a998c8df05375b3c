//! What the contract promises, shown with real sockets. One file for each section, named by its behaviour.

#![expect(clippy::unwrap_used, reason = "a test may")]
#![expect(clippy::format_collect, reason = "short is clearer than fast here")]

mod access_log;
mod bad_input;
mod bodiless_responses;
mod both_protocols;
mod certificates;
mod common;
mod connecting;
mod disconnects;
mod early_answers;
mod early_failures;
mod early_heads;
mod either;
mod event_mode;
mod files;
mod forwarded;
mod frames;
mod full_sockets;
mod garbage;
mod grpc;
mod heartbeats;
mod http2_drain;
mod http2_floods;
mod http2_forwarding;
mod http2_stalls;
mod http2_timeouts;
mod http2_tls;
mod http2_upstreams;
mod http2_websockets;
mod ids;
mod leftovers;
mod limits;
mod logins;
mod malformed_chunks;
mod messages;
mod metrics_by_route;
mod ordinary;
mod other_streams;
mod probe;
mod proxy_protocol;
mod request_framing;
mod rewriting;
mod rotation;
mod seams;
mod shapes;
mod slow_readers;
mod status;
mod timeouts;
mod tls;
mod tls_tunnels;
mod unread_uploads;
mod upgrades;
mod upstream_faults;
