//! The routes that may match a request, found without looking at each.

use std::collections::HashMap;

use crate::config::{HostPattern, Matcher};

/// With so few, looking at each is faster.
const FEW: usize = 16;

/// The routes of a configuration by host and by the beginning of their path.
#[derive(Debug, Default)]
pub(super) struct RouteIndex {
    /// By an exact host, by the part after a `*`, or by nothing where any host matches.
    hosts: HashMap<Box<str>, Paths>,
}

/// Those of one host.
#[derive(Debug, Default)]
struct Paths {
    /// By the path before any wildcard. The numbers of routes are in order.
    by_prefix: HashMap<Box<str>, Vec<usize>>,
    /// How many segments these paths have: bit by bit, and the last one for all that have more.
    lengths: u64,
}

impl RouteIndex {
    /// Of routes with these conditions, in order; `None` if there are too few to be worth it.
    pub(super) fn new<'a>(matchers: impl ExactSizeIterator<Item = &'a Matcher>) -> Option<Self> {
        if matchers.len() <= FEW {
            return None;
        }
        let mut index = Self::default();
        for (number, matcher) in matchers.enumerate() {
            let path = matcher.path.as_ref().map_or("", |path| path.literal());
            let hosts = matcher.hosts.iter().map(|host| match host {
                HostPattern::Exact(name) => name.as_str(),
                HostPattern::Below(suffix) => suffix.as_str(),
            });
            let any = matcher.hosts.is_empty().then_some("");
            for host in hosts.chain(any) {
                let paths = index.hosts.entry(host.into()).or_default();
                paths.lengths |= 1 << path.matches('/').count().min(63);
                let routes = paths.by_prefix.entry(path.into()).or_default();
                routes.push(number);
            }
        }
        Some(index)
    }

    /// The numbers of the routes that a request for `path`, in its normal form, at `host` may take, in order.
    pub(super) fn candidates(&self, host: Option<&str>, path: &str) -> Vec<usize> {
        let mut found = Vec::new();
        let mut look = |key: &str| {
            if let Some(paths) = self.hosts.get(key) {
                paths.collect(path, &mut found);
            }
        };
        look("");
        if let Some(host) = host {
            let host = host.to_ascii_lowercase();
            look(&host);
            for (dot, _) in host.match_indices('.') {
                look(&host[dot..]);
            }
        }
        // A route with several hosts may be found by two of them.
        found.sort_unstable();
        found.dedup();
        found
    }
}

impl Paths {
    fn collect(&self, path: &str, found: &mut Vec<usize>) {
        let mut look = |prefix: &str| {
            if let Some(routes) = self.by_prefix.get(prefix) {
                found.extend_from_slice(routes);
            }
        };
        // Each slash but the first ends a prefix of as many segments as there were slashes before it.
        for (length, (end, _)) in path.match_indices('/').enumerate() {
            if self.lengths & (1 << length.min(63)) != 0 {
                look(&path[..end]);
            }
        }
        look(path);
        if !path.starts_with('/') {
            look(""); // `*`, the target of an OPTIONS request for the whole server
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{Overrides, normal_path, parse};

    fn matchers(routes: &[String]) -> Vec<Matcher> {
        let text = format!("upstream.url = 'http://a:1'\n{}", routes.join("\n"));
        let (config, _) = parse(&text, "f", &Overrides::default()).unwrap();
        let mut matchers: Vec<_> = config
            .routes
            .into_iter()
            .map(|route| route.matcher)
            .collect();
        matchers.pop();
        matchers
    }

    fn takes(matcher: &Matcher, host: &str, path: &str) -> bool {
        (matcher.hosts.is_empty() || matcher.hosts.iter().any(|one| one.matches(host)))
            && matcher.path.as_ref().is_none_or(|one| one.matches(path))
    }

    proptest! {
        /// The first route that takes a request is always among them, and they are in order.
        #[test]
        fn nothing_is_missed(
            routes in prop::collection::vec(
                ("(path|path_exact) = '(/(a|b|\\*)){1,3}(/c)?'", "(|host = '(\\*\\.)?(x|y)\\.(z|w)')"),
                20..40,
            ),
            host in "(X|y|v\\.x)\\.(z|w)",
            path in "(/(a|b|c)){0,4}/?|\\*",
        ) {
            let routes: Vec<_> = routes
                .iter()
                .filter(|(path, _)| !path.ends_with("*'"))
                .map(|(path, host)| format!("[[route]]\n{path}\n{host}"))
                .collect();
            let matchers = matchers(&routes);
            let path = normal_path(&path);
            if let Some(index) = RouteIndex::new(matchers.iter()) {
                let candidates = index.candidates(Some(&host), &path);
                prop_assert!(candidates.is_sorted());
                for (number, matcher) in matchers.iter().enumerate() {
                    prop_assert!(
                        !takes(matcher, &host, &path) || candidates.contains(&number),
                        "{} {} {}", matcher, host, path
                    );
                }
            }
        }
    }

    #[test]
    fn of_a_thousand_routes_one_is_looked_at() {
        let routes: Vec<_> = (0..1000)
            .map(|number| {
                format!(
                    "[[route]]\npath = '/tenant-{number}/api'\nhost = 'h{}.test'",
                    number % 7
                )
            })
            .collect();
        let matchers = matchers(&routes);
        let index = RouteIndex::new(matchers.iter()).unwrap();
        assert_eq!(
            index.candidates(Some("h6.test"), "/tenant-720/api/x"),
            [720]
        );
        assert!(
            index
                .candidates(Some("h5.test"), "/tenant-720/api/x")
                .is_empty()
        );
        assert!(RouteIndex::new(matchers[..FEW].iter()).is_none());
    }
}
