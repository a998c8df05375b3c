//! Why a request or a stream ended: one table, from which come the status, the log's reason and the metric's labels.

use http::StatusCode;

use crate::sse;

/// Who an ending is to be laid to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// Nobody: it was complete.
    None,
    /// The client.
    Client,
    /// The backend.
    Upstream,
    /// The sidecar itself.
    Proxy,
}

/// Why a request or a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(
    missing_docs,
    reason = "`Reason::row` says of each what it means, in words for a person"
)]
pub enum Reason {
    Complete,
    Total,
    EndedByOperator,
    Rotated,
    Shutdown,
    ClientGone,
    ClientStalled,
    ProxyHeaderInvalid,
    TlsExpected,
    RequestMalformed,
    RequestHeadTooLarge,
    RequestUriTooLong,
    RequestHeadTimeout,
    RequestBodyTimeout,
    RequestBodyFailed,
    MethodRefused,
    FileMethodRefused,
    NoFile,
    AccessDenied,
    Unauthorized,
    TooManyRequests,
    TooManyStreams,
    RequestBodyTooLarge,
    AuthorizationRefused,
    RapidReset,
    Superseded,
    Lagged,
    Stopped,
    GraceOver,
    ResumeGone,
    ResumeUnknown,
    DuplicateRequest,
    IdempotencyKeyReused,
    UpstreamUnresolved,
    UpstreamUnreachable,
    UpstreamConnectTimeout,
    UpstreamTlsFailed,
    UpstreamHeadTimeout,
    UpstreamClosedBeforeHead,
    UpstreamInvalidHead,
    AuthorizationFailed,
    UpstreamFirstEventTimeout,
    UpstreamReadTimeout,
    UpstreamClosed,
    UpstreamFailed,
    UpstreamStatus,
    UpstreamNotEvents,
    NoRoute,
    FileFailed,
    TooManyConnections,
    UpstreamBusy,
    AuthenticationBusy,
}

struct Row {
    side: Side,
    /// `None` where there is no response to carry one.
    status: Option<StatusCode>,
    name: &'static str,
    /// A sentence for a person, without its period.
    title: &'static str,
}

impl Reason {
    /// Every reason, in the order of the table.
    pub const ALL: [Self; 52] = [
        Self::Complete,
        Self::Total,
        Self::EndedByOperator,
        Self::Rotated,
        Self::Shutdown,
        Self::ClientGone,
        Self::ClientStalled,
        Self::ProxyHeaderInvalid,
        Self::TlsExpected,
        Self::RequestMalformed,
        Self::RequestHeadTooLarge,
        Self::RequestUriTooLong,
        Self::RequestHeadTimeout,
        Self::RequestBodyTimeout,
        Self::RequestBodyFailed,
        Self::MethodRefused,
        Self::FileMethodRefused,
        Self::NoFile,
        Self::AccessDenied,
        Self::Unauthorized,
        Self::TooManyRequests,
        Self::TooManyStreams,
        Self::RequestBodyTooLarge,
        Self::AuthorizationRefused,
        Self::RapidReset,
        Self::Superseded,
        Self::Lagged,
        Self::Stopped,
        Self::GraceOver,
        Self::ResumeGone,
        Self::ResumeUnknown,
        Self::DuplicateRequest,
        Self::IdempotencyKeyReused,
        Self::UpstreamUnresolved,
        Self::UpstreamUnreachable,
        Self::UpstreamConnectTimeout,
        Self::UpstreamTlsFailed,
        Self::UpstreamHeadTimeout,
        Self::UpstreamClosedBeforeHead,
        Self::UpstreamInvalidHead,
        Self::AuthorizationFailed,
        Self::UpstreamFirstEventTimeout,
        Self::UpstreamReadTimeout,
        Self::UpstreamClosed,
        Self::UpstreamFailed,
        Self::UpstreamStatus,
        Self::UpstreamNotEvents,
        Self::NoRoute,
        Self::FileFailed,
        Self::TooManyConnections,
        Self::UpstreamBusy,
        Self::AuthenticationBusy,
    ];

    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Its place in [`ALL`](Self::ALL).
    pub fn index(self) -> usize {
        self as usize
    }

    /// The name in logs, metrics and error bodies.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Who it is to be laid to.
    pub fn side(self) -> Side {
        self.row().side
    }

    /// The status of the response that tells of it, if there is one.
    pub fn status(self) -> Option<StatusCode> {
        self.row().status
    }

    /// What it means, for a person.
    pub fn title(self) -> &'static str {
        self.row().title
    }

    #[expect(clippy::too_many_lines, reason = "it is a table")]
    fn row(self) -> Row {
        use Side::{Client, None as Nobody, Proxy, Upstream};
        let row = |side, status, name, title| Row {
            side,
            status,
            name,
            title,
        };
        match self {
            Self::Complete => row(Nobody, None, "complete", "The response is complete"),
            Self::Total => row(
                Proxy,
                None,
                "total",
                "The stream has reached its maximum age",
            ),
            Self::EndedByOperator => row(
                Proxy,
                None,
                "ended_by_operator",
                "An operator has ended the stream",
            ),
            Self::Rotated => row(
                Proxy,
                None,
                "rotated",
                "The sidecar drains, and the client is to reconnect",
            ),
            Self::Shutdown => row(Proxy, None, "shutdown", "The sidecar is shutting down"),
            Self::ClientGone => row(
                Client,
                None,
                "client_gone",
                "The client closed its connection",
            ),
            Self::ClientStalled => row(
                Client,
                None,
                "client_stalled",
                "The client took no bytes for too long",
            ),
            Self::ProxyHeaderInvalid => row(
                Client,
                None,
                "proxy_header_invalid",
                "The connection does not begin with a valid PROXY protocol header",
            ),
            Self::TlsExpected => row(
                Client,
                Some(StatusCode::BAD_REQUEST),
                "tls_expected",
                "This port speaks TLS: use https://",
            ),
            Self::RequestMalformed => row(
                Client,
                Some(StatusCode::BAD_REQUEST),
                "request_malformed",
                "The request is malformed",
            ),
            Self::RequestHeadTooLarge => row(
                Client,
                Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
                "request_head_too_large",
                "The request head is too large",
            ),
            Self::RequestUriTooLong => row(
                Client,
                Some(StatusCode::URI_TOO_LONG),
                "request_uri_too_long",
                "The request target is too long",
            ),
            Self::RequestHeadTimeout => row(
                Client,
                Some(StatusCode::REQUEST_TIMEOUT),
                "request_head_timeout",
                "The request head did not arrive in time",
            ),
            Self::RequestBodyTimeout => row(
                Client,
                Some(StatusCode::REQUEST_TIMEOUT),
                "request_body_timeout",
                "The request body stopped arriving",
            ),
            Self::RequestBodyFailed => row(
                Client,
                Some(StatusCode::BAD_REQUEST),
                "request_body_failed",
                "The request body is malformed",
            ),
            Self::MethodRefused => row(
                Client,
                Some(StatusCode::METHOD_NOT_ALLOWED),
                "method_refused",
                "This is a reverse proxy: CONNECT is refused",
            ),
            Self::FileMethodRefused => row(
                Client,
                Some(StatusCode::METHOD_NOT_ALLOWED),
                "file_method_refused",
                "There are only files here: GET and HEAD",
            ),
            Self::NoFile => row(
                Client,
                Some(StatusCode::NOT_FOUND),
                "no_file",
                "There is no such file",
            ),
            Self::AccessDenied => row(
                Client,
                Some(StatusCode::FORBIDDEN),
                "access_denied",
                "The client's address has no access",
            ),
            Self::Unauthorized => row(
                Client,
                Some(StatusCode::UNAUTHORIZED),
                "unauthorized",
                "A user name and password are needed",
            ),
            Self::TooManyRequests => row(
                Client,
                Some(StatusCode::TOO_MANY_REQUESTS),
                "too_many_requests",
                "The client asks too often",
            ),
            Self::TooManyStreams => row(
                Client,
                Some(StatusCode::TOO_MANY_REQUESTS),
                "too_many_streams",
                "The client has too many streams open",
            ),
            Self::RequestBodyTooLarge => row(
                Client,
                Some(StatusCode::PAYLOAD_TOO_LARGE),
                "request_body_too_large",
                "The request body is too large",
            ),
            Self::AuthorizationRefused => row(
                Client,
                Some(StatusCode::FORBIDDEN),
                "authorization_refused",
                "The authorizing service refuses the request",
            ),
            Self::RapidReset => row(
                Client,
                None,
                "rapid_reset",
                "The client gave up too many requests before they were answered",
            ),
            Self::Superseded => row(
                Client,
                None,
                "superseded",
                "The client reads the stream on another connection now",
            ),
            Self::Lagged => row(
                Client,
                None,
                "lagged",
                "The client fell behind what is kept of the stream",
            ),
            Self::Stopped => row(Client, None, "stopped", "The client has stopped the stream"),
            Self::GraceOver => row(
                Client,
                None,
                "grace_over",
                "The client did not come back for its stream in time",
            ),
            Self::ResumeGone => row(
                Client,
                Some(StatusCode::GONE),
                "resume_gone",
                "The stream cannot be resumed from there",
            ),
            Self::ResumeUnknown => row(
                Client,
                Some(StatusCode::BAD_REQUEST),
                "resume_unknown",
                "There is no such stream to resume",
            ),
            Self::DuplicateRequest => row(
                Client,
                Some(StatusCode::CONFLICT),
                "duplicate_request",
                "The same request is being answered already",
            ),
            Self::IdempotencyKeyReused => row(
                Client,
                Some(StatusCode::UNPROCESSABLE_ENTITY),
                "idempotency_key_reused",
                "The idempotency key belongs to a request with another body",
            ),
            Self::UpstreamUnresolved => row(
                Upstream,
                Some(StatusCode::BAD_GATEWAY),
                "upstream_unresolved",
                "The upstream's name could not be resolved",
            ),
            Self::UpstreamUnreachable => row(
                Upstream,
                Some(StatusCode::BAD_GATEWAY),
                "upstream_unreachable",
                "No connection to the upstream could be made",
            ),
            Self::UpstreamConnectTimeout => row(
                Upstream,
                Some(StatusCode::GATEWAY_TIMEOUT),
                "upstream_connect_timeout",
                "The upstream did not accept the connection in time",
            ),
            Self::UpstreamTlsFailed => row(
                Upstream,
                Some(StatusCode::BAD_GATEWAY),
                "upstream_tls_failed",
                "TLS with the upstream failed",
            ),
            Self::UpstreamHeadTimeout => row(
                Upstream,
                Some(StatusCode::GATEWAY_TIMEOUT),
                "upstream_head_timeout",
                "The upstream sent no response head in time",
            ),
            Self::UpstreamClosedBeforeHead => row(
                Upstream,
                Some(StatusCode::BAD_GATEWAY),
                "upstream_closed_before_head",
                "The upstream closed the connection without a response",
            ),
            Self::UpstreamInvalidHead => row(
                Upstream,
                Some(StatusCode::BAD_GATEWAY),
                "upstream_invalid_head",
                "The upstream's response is not HTTP",
            ),
            Self::AuthorizationFailed => row(
                Upstream,
                Some(StatusCode::SERVICE_UNAVAILABLE),
                "authorization_failed",
                "The authorizing service gave no answer to go by",
            ),
            Self::UpstreamFirstEventTimeout => row(
                Upstream,
                None,
                "upstream_first_event_timeout",
                "The upstream sent no event in time",
            ),
            Self::UpstreamReadTimeout => row(
                Upstream,
                None,
                "upstream_read_timeout",
                "The upstream went silent",
            ),
            Self::UpstreamClosed => row(
                Upstream,
                None,
                "upstream_closed",
                "The upstream closed before its response was complete",
            ),
            Self::UpstreamFailed => row(
                Upstream,
                None,
                "upstream_failed",
                "The upstream's connection or encoding broke",
            ),
            Self::UpstreamStatus => row(
                Upstream,
                None,
                "upstream_status",
                "The upstream's status is no success",
            ),
            Self::UpstreamNotEvents => row(
                Upstream,
                None,
                "upstream_not_events",
                "The upstream's response is no event stream",
            ),
            Self::NoRoute => row(
                Proxy,
                Some(StatusCode::NOT_FOUND),
                "no_route",
                "No route matches this request",
            ),
            Self::FileFailed => row(
                Proxy,
                Some(StatusCode::INTERNAL_SERVER_ERROR),
                "file_failed",
                "A file could not be read",
            ),
            Self::TooManyConnections => row(
                Proxy,
                Some(StatusCode::SERVICE_UNAVAILABLE),
                "too_many_connections",
                "The sidecar has as many connections as it may",
            ),
            Self::UpstreamBusy => row(
                Proxy,
                Some(StatusCode::SERVICE_UNAVAILABLE),
                "upstream_busy",
                "Every upstream has as many requests as it may",
            ),
            Self::AuthenticationBusy => row(
                Proxy,
                Some(StatusCode::SERVICE_UNAVAILABLE),
                "authentication_busy",
                "Too many passwords are being verified",
            ),
        }
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

impl From<sse::Reason> for Reason {
    fn from(reason: sse::Reason) -> Self {
        match reason {
            sse::Reason::Complete => Self::Complete,
            sse::Reason::Superseded => Self::Superseded,
            sse::Reason::Lagged => Self::Lagged,
            sse::Reason::Stopped => Self::Stopped,
            sse::Reason::GraceOver => Self::GraceOver,
            sse::Reason::Total => Self::Total,
            sse::Reason::Operator => Self::EndedByOperator,
            sse::Reason::Rotated => Self::Rotated,
            sse::Reason::Shutdown => Self::Shutdown,
            sse::Reason::FirstEventTimeout => Self::UpstreamFirstEventTimeout,
            sse::Reason::ReadTimeout => Self::UpstreamReadTimeout,
            sse::Reason::UpstreamClosed => Self::UpstreamClosed,
            sse::Reason::UpstreamFailed => Self::UpstreamFailed,
            sse::Reason::NotEvents => Self::UpstreamNotEvents,
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
            sse::Reason::Complete,
            sse::Reason::Total,
            sse::Reason::Operator,
            sse::Reason::Rotated,
            sse::Reason::Shutdown,
            sse::Reason::FirstEventTimeout,
            sse::Reason::ReadTimeout,
            sse::Reason::UpstreamClosed,
            sse::Reason::UpstreamFailed,
            sse::Reason::NotEvents,
        ] {
            assert_eq!(Reason::from(reason).name(), reason.as_str());
        }
    }
}
