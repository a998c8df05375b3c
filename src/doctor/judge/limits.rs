//! The time limits that hops are known to have.

use std::time::Duration;

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counts {
    /// Time without a byte.
    Silence,
    /// The life of the response.
    Age,
}

/// Seconds, what they count, and whose they are.
const LIMITS: &[(u64, Counts, &str)] = &[
    (15, Counts::Age, "Envoy's route timeout"),
    (29, Counts::Age, "AWS API Gateway's integration timeout"),
    (30, Counts::Age, "a Google Cloud backend service's timeout"),
    (
        30,
        Counts::Silence,
        "many HAProxy samples (`timeout server`), CloudFront, Sozu",
    ),
    (
        50,
        Counts::Silence,
        "many HAProxy samples (`timeout server`)",
    ),
    (55, Counts::Silence, "Heroku's router"),
    (
        60,
        Counts::Silence,
        "nginx (`proxy_read_timeout`), AWS ALB, Apache (`ProxyTimeout`)",
    ),
    (60, Counts::Age, "Vercel functions"),
    (100, Counts::Silence, "YARP (`ActivityTimeout`)"),
    (
        120,
        Counts::Silence,
        "Cloudflare, sse-sidecar (`timeouts.read`)",
    ),
    (120, Counts::Age, "AWS App Runner"),
    (240, Counts::Silence, "Azure's load balancer"),
    (
        240,
        Counts::Age,
        "ingress-nginx after a reload (`worker-shutdown-timeout`)",
    ),
    (
        300,
        Counts::Silence,
        "Envoy (`stream_idle_timeout`), Node's fetch",
    ),
    (300, Counts::Age, "Cloud Run, Vercel functions"),
    (600, Counts::Age, "Mercure"),
    (3600, Counts::Age, "Cloud Run's maximum"),
];

/// Whose limit `duration` is. Timers fire late, seldom early.
pub(super) fn owner(duration: Duration, counts: Counts) -> Option<&'static str> {
    let known = LIMITS.iter().find(|(seconds, counted, _)| {
        let limit = Duration::from_secs(*seconds);
        // Envoy waits a second more for its client to close.
        let late = (limit / 50).max(Duration::from_millis(1_200));
        let early = Duration::from_millis(150);
        *counted == counts && (limit..=limit + late + early).contains(&(duration + early))
    });
    known.map(|(_, _, owner)| *owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_known_by_their_time() {
        let ms = Duration::from_millis;
        let silent = |time| owner(ms(time), Counts::Silence);
        assert!(silent(60_030).unwrap().contains("nginx"));
        assert!(silent(61_100).unwrap().contains("nginx"));
        assert_eq!(silent(62_000), None);
        assert_eq!(silent(58_000), None);
        assert_eq!(silent(15_000), None);
        assert!(owner(ms(15_010), Counts::Age).unwrap().contains("Envoy"));
        assert_eq!(owner(ms(3_000), Counts::Age), None);
    }
}
