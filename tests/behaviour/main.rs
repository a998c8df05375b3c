//! What the contract promises, shown with real sockets. One file for each section, named by its behaviour.

#![expect(clippy::unwrap_used, reason = "a test may")]
#![expect(clippy::format_collect, reason = "short is clearer than fast here")]

mod access_rules;
mod authorization;
mod bad_input;
mod both_protocols;
mod certificates;
mod common;
mod connecting;
mod disconnects;
mod early_failures;
mod early_heads;
mod either;
mod event_mode;
mod forwarded;
mod frames;
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
mod limits;
mod logins;
mod messages;
mod ordinary;
mod probe;
mod proxy_protocol;
mod request_limits;
mod rotation;
mod seams;
mod sni;
mod status;
mod timeouts;
mod tls;
mod upgrades;
mod upstream_faults;
