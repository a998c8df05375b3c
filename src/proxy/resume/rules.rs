//! What a client gets that cannot simply go on: as tables, apart from how it gets it.

use crate::config::{AfterEnd, OnGap};
use crate::resume::{Began, Ended};

/// Who asks, as far as that makes a difference.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker {
    /// With GET.
    pub(super) is_get: bool,
    /// As clients of MCP do.
    pub(super) is_mcp: bool,
}

/// What a client gets instead of its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Instead {
    /// What the backend says to a new request.
    Restart,
    /// It is told that the stream is gone.
    Gone,
    /// It is told that there is no such stream.
    Unknown,
    /// What is left, after the word that something is missing.
    Continue,
    /// 204: an `EventSource` stops.
    NoContent,
    /// An event stream that ends at once: whoever asked with POST takes that for the end.
    Empty,
    /// An event stream that breaks at once, as the upstream's did.
    Broken,
}

/// A client's place is not there any more.
pub(super) fn on_gap(rule: OnGap, began: Began, asker: Asker) -> Instead {
    match rule {
        OnGap::Gone => Instead::Gone,
        OnGap::Continue => Instead::Continue,
        // 404 would make the client give up its session.
        OnGap::Auto if asker.is_mcp && asker.is_get => Instead::Unknown,
        // What a POST has begun is not to be begun again.
        OnGap::Auto if began == Began::Other || !asker.is_get => Instead::Gone,
        OnGap::Auto | OnGap::Restart => Instead::Restart,
    }
}

/// A client has seen the stream to its end.
pub(super) fn after_end(rule: AfterEnd, ended: Ended, asker: Asker) -> Instead {
    let is_get = asker.is_get;
    let stop = if is_get {
        Instead::NoContent
    } else {
        Instead::Empty
    };
    match (rule, ended) {
        (AfterEnd::Stop, _) | (AfterEnd::Auto, Ended::Terminal) => stop,
        (AfterEnd::Auto, Ended::Clean) if !is_get => stop,
        (AfterEnd::Auto, Ended::Broken) if !is_get => Instead::Broken,
        // A subscription that its backend ends now and then is to be opened anew.
        (AfterEnd::Auto, Ended::Clean | Ended::Broken) | (AfterEnd::Restart, _) => Instead::Restart,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: Asker = Asker {
        is_get: true,
        is_mcp: false,
    };
    const POST: Asker = Asker {
        is_get: false,
        is_mcp: false,
    };
    const MCP: Asker = Asker {
        is_get: true,
        is_mcp: true,
    };

    #[test]
    fn gaps() {
        use Instead::{Continue, Gone, Restart, Unknown};
        for (rule, began, asker, expected) in [
            (OnGap::Auto, Began::Get, GET, Restart),
            (OnGap::Auto, Began::Other, GET, Gone),
            (OnGap::Auto, Began::Get, POST, Gone),
            (OnGap::Auto, Began::Other, POST, Gone),
            (OnGap::Auto, Began::Other, MCP, Unknown),
            (OnGap::Restart, Began::Other, MCP, Restart),
            (OnGap::Gone, Began::Get, GET, Gone),
            (OnGap::Continue, Began::Get, GET, Continue),
        ] {
            assert_eq!(
                on_gap(rule, began, asker),
                expected,
                "{rule:?} {began:?} {asker:?}"
            );
        }
    }

    #[test]
    fn ends() {
        use Instead::{Broken, Empty, NoContent, Restart};
        for (rule, ended, asker, expected) in [
            (AfterEnd::Auto, Ended::Terminal, GET, NoContent),
            (AfterEnd::Auto, Ended::Terminal, POST, Empty),
            (AfterEnd::Auto, Ended::Clean, GET, Restart),
            (AfterEnd::Auto, Ended::Clean, POST, Empty),
            (AfterEnd::Auto, Ended::Broken, GET, Restart),
            (AfterEnd::Auto, Ended::Broken, POST, Broken),
            (AfterEnd::Stop, Ended::Broken, GET, NoContent),
            (AfterEnd::Stop, Ended::Clean, POST, Empty),
            (AfterEnd::Restart, Ended::Terminal, GET, Restart),
        ] {
            assert_eq!(
                after_end(rule, ended, asker),
                expected,
                "{rule:?} {ended:?} {asker:?}"
            );
        }
    }
}
