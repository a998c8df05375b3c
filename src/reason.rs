//! Why a request or a stream ended: one table, from which come the status, the log's reason and the metric's labels.

use http::StatusCode;

use crate::sse;

/// The side that an ending is attributed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// None: the response was complete.
    None,
    /// The client.
    Client,
    /// The backend.
    Upstream,
    /// The sidecar itself.
    Proxy,
}

/// Defines the enum, [`Reason::ALL`] and the table of all reasons from one list.
macro_rules! reasons {
    (@status none) => { None };
    (@status $status:ident) => { Some(StatusCode::$status) };
    ($($reason:ident: $side:ident, $status:ident, $name:literal, $title:literal;)*) => {
        /// Why a request or a stream ended.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason {
            $(#[doc = $title] $reason,)*
        }

        impl Reason {
            /// Every reason, in the order of the table.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$reason),*];

            fn row(self) -> Row {
                match self {
                    $(Self::$reason => Row {
                        side: Side::$side,
                        status: reasons!(@status $status),
                        name: $name,
                        title: $title,
                    },)*
                }
            }
        }
    };
}

// The reason, its side, the status of a response that carries it, its name, and a sentence for a person without its period.
reasons! {
    Complete: None, none, "complete", "The response is complete";
    Total: Proxy, none, "total", "The stream reached its maximum age";
    EndedByOperator: Proxy, none, "ended_by_operator", "An operator ended the stream";
    Rotated: Proxy, none, "rotated", "The sidecar is draining, so the client should reconnect";
    Shutdown: Proxy, none, "shutdown", "The sidecar is shutting down";
    ClientGone: Client, none, "client_gone", "The client closed its connection";
    ClientStalled: Client, none, "client_stalled", "The client took no bytes for too long";
    ProxyHeaderInvalid: Client, none, "proxy_header_invalid", "The connection does not begin with a valid PROXY protocol header";
    TlsExpected: Client, BAD_REQUEST, "tls_expected", "This port speaks TLS: use https://";
    RequestMalformed: Client, BAD_REQUEST, "request_malformed", "The request is malformed";
    RequestHeadTooLarge: Client, REQUEST_HEADER_FIELDS_TOO_LARGE, "request_head_too_large", "The request head is too large";
    RequestUriTooLong: Client, URI_TOO_LONG, "request_uri_too_long", "The request target is too long";
    RequestHeadTimeout: Client, REQUEST_TIMEOUT, "request_head_timeout", "The request head did not arrive in time";
    RequestBodyTimeout: Client, REQUEST_TIMEOUT, "request_body_timeout", "The request body stopped arriving";
    RequestBodyFailed: Client, BAD_REQUEST, "request_body_failed", "The request body is malformed";
    MethodRefused: Client, METHOD_NOT_ALLOWED, "method_refused", "This is a reverse proxy: CONNECT is refused";
    FileMethodRefused: Client, METHOD_NOT_ALLOWED, "file_method_refused", "Files are served to GET and HEAD only";
    NoFile: Client, NOT_FOUND, "no_file", "There is no such file";
    AccessDenied: Client, FORBIDDEN, "access_denied", "The client's address has no access";
    Unauthorized: Client, UNAUTHORIZED, "unauthorized", "A user name and password are needed";
    TooManyRequests: Client, TOO_MANY_REQUESTS, "too_many_requests", "The client sends too many requests";
    TooManyStreams: Client, TOO_MANY_REQUESTS, "too_many_streams", "The client has too many streams open";
    RequestBodyTooLarge: Client, PAYLOAD_TOO_LARGE, "request_body_too_large", "The request body is too large";
    AuthorizationRefused: Client, FORBIDDEN, "authorization_refused", "The authorizing service refused the request";
    RapidReset: Client, none, "rapid_reset", "The client cancelled too many requests before they were answered";
    Superseded: Client, none, "superseded", "The client reads the stream on another connection now";
    Lagged: Client, none, "lagged", "The client fell behind what is kept of the stream";
    Stopped: Client, none, "stopped", "The client has stopped the stream";
    GraceOver: Client, none, "grace_over", "The client did not come back for its stream in time";
    ResumeGone: Client, GONE, "resume_gone", "The stream cannot be resumed from there";
    ResumeUnknown: Client, BAD_REQUEST, "resume_unknown", "There is no such stream to resume";
    DuplicateRequest: Client, CONFLICT, "duplicate_request", "The same request is being answered already";
    IdempotencyKeyReused: Client, UNPROCESSABLE_ENTITY, "idempotency_key_reused", "The idempotency key belongs to a request with another body";
    UpstreamUnresolved: Upstream, BAD_GATEWAY, "upstream_unresolved", "The upstream's name could not be resolved";
    UpstreamUnreachable: Upstream, BAD_GATEWAY, "upstream_unreachable", "No connection to the upstream could be made";
    UpstreamConnectTimeout: Upstream, GATEWAY_TIMEOUT, "upstream_connect_timeout", "The upstream did not accept the connection in time";
    UpstreamTlsFailed: Upstream, BAD_GATEWAY, "upstream_tls_failed", "TLS with the upstream failed";
    UpstreamHeadTimeout: Upstream, GATEWAY_TIMEOUT, "upstream_head_timeout", "The upstream sent no response head in time";
    UpstreamClosedBeforeHead: Upstream, BAD_GATEWAY, "upstream_closed_before_head", "The upstream closed the connection without a response";
    UpstreamInvalidHead: Upstream, BAD_GATEWAY, "upstream_invalid_head", "The upstream's response is not HTTP";
    AuthorizationFailed: Upstream, SERVICE_UNAVAILABLE, "authorization_failed", "The authorizing service gave no usable answer";
    UpstreamFirstEventTimeout: Upstream, none, "upstream_first_event_timeout", "The upstream sent no event in time";
    UpstreamReadTimeout: Upstream, none, "upstream_read_timeout", "The upstream went silent";
    UpstreamClosed: Upstream, none, "upstream_closed", "The upstream closed before its response was complete";
    UpstreamFailed: Upstream, none, "upstream_failed", "The upstream's connection or encoding broke";
    UpstreamStatus: Upstream, none, "upstream_status", "The upstream's status is not a success";
    UpstreamNotEvents: Upstream, none, "upstream_not_events", "The upstream's response is not an event stream";
    NoRoute: Proxy, NOT_FOUND, "no_route", "No route matches this request";
    FileFailed: Proxy, INTERNAL_SERVER_ERROR, "file_failed", "A file could not be read";
    TooManyConnections: Proxy, SERVICE_UNAVAILABLE, "too_many_connections", "The sidecar has reached its connection limit";
    UpstreamBusy: Proxy, SERVICE_UNAVAILABLE, "upstream_busy", "Every upstream has reached its request limit";
    AuthenticationBusy: Proxy, SERVICE_UNAVAILABLE, "authentication_busy", "Too many passwords are being verified";
}

struct Row {
    side: Side,
    /// `None` where there is no response to carry one.
    status: Option<StatusCode>,
    name: &'static str,
    title: &'static str,
}

impl Reason {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Its index in [`ALL`](Self::ALL).
    pub fn index(self) -> usize {
        self as usize
    }

    /// The name in logs, metrics and error bodies.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The side it is attributed to.
    pub fn side(self) -> Side {
        self.row().side
    }

    /// The status of the response that reports it, if there is one.
    pub fn status(self) -> Option<StatusCode> {
        self.row().status
    }

    /// What it means, for a person.
    pub fn title(self) -> &'static str {
        self.row().title
    }
}

impl Side {
    /// The name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Proxy => "proxy",
        }
    }
}

impl From<sse::EndReason> for Reason {
    fn from(reason: sse::EndReason) -> Self {
        match reason {
            sse::EndReason::Complete => Self::Complete,
            sse::EndReason::Superseded => Self::Superseded,
            sse::EndReason::Lagged => Self::Lagged,
            sse::EndReason::Stopped => Self::Stopped,
            sse::EndReason::GraceOver => Self::GraceOver,
            sse::EndReason::Total => Self::Total,
            sse::EndReason::Operator => Self::EndedByOperator,
            sse::EndReason::Rotated => Self::Rotated,
            sse::EndReason::Shutdown => Self::Shutdown,
            sse::EndReason::FirstEventTimeout => Self::UpstreamFirstEventTimeout,
            sse::EndReason::ReadTimeout => Self::UpstreamReadTimeout,
            sse::EndReason::UpstreamClosed => Self::UpstreamClosed,
            sse::EndReason::UpstreamFailed => Self::UpstreamFailed,
            sse::EndReason::NotEvents => Self::UpstreamNotEvents,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_the_streams_own_are_the_same() {
        let names: std::collections::HashSet<_> =
            Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), index, "{reason:?}");
        }
        for reason in [
            sse::EndReason::Complete,
            sse::EndReason::Total,
            sse::EndReason::Operator,
            sse::EndReason::Rotated,
            sse::EndReason::Shutdown,
            sse::EndReason::FirstEventTimeout,
            sse::EndReason::ReadTimeout,
            sse::EndReason::UpstreamClosed,
            sse::EndReason::UpstreamFailed,
            sse::EndReason::NotEvents,
        ] {
            assert_eq!(Reason::from(reason).name(), reason.as_str());
        }
    }
}
