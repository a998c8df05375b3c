//! The kernel's view of this process, under the names that every Prometheus client library uses
//! (<https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>).

use std::fmt::Write;
use std::fs;

/// What `/proc` counts time in (`USER_HZ`): the same on every architecture that Rust runs Linux on.
const TICKS: f64 = 100.0;

struct Row {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    read: fn() -> Option<f64>,
}

const CATALOGUE: [Row; 5] = [
    Row {
        name: "process_cpu_seconds_total",
        kind: "counter",
        help: "Total user and system CPU time spent in seconds.",
        read: cpu_seconds,
    },
    Row {
        name: "process_open_fds",
        kind: "gauge",
        help: "Number of open file descriptors; an event stream has two over HTTP/1.",
        read: open_fds,
    },
    Row {
        name: "process_max_fds",
        kind: "gauge",
        help: "Maximum number of open file descriptors.",
        read: max_fds,
    },
    Row {
        name: "process_resident_memory_bytes",
        kind: "gauge",
        help: "Resident memory size in bytes.",
        read: resident_bytes,
    },
    Row {
        name: "process_start_time_seconds",
        kind: "gauge",
        help: "Start time of the process since unix epoch in seconds.",
        read: start_time_seconds,
    },
];

/// Prometheus' text format. Metrics that the kernel does not provide, as in some sandboxes, are left out.
pub fn metrics() -> String {
    let mut text = String::new();
    for Row {
        name,
        kind,
        help,
        read,
    } in CATALOGUE
    {
        if let Some(value) = read() {
            // Writing to a string does not fail.
            let _ = write!(
                text,
                "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"
            );
        }
    }
    text
}

fn cpu_seconds() -> Option<f64> {
    Some((stat(14)? + stat(15)?) / TICKS)
}

fn start_time_seconds() -> Option<f64> {
    Some(word_after("/proc/stat", "btime ")? + stat(22)? / TICKS)
}

fn resident_bytes() -> Option<f64> {
    Some(word_after("/proc/self/status", "VmRSS:")? * 1024.0)
}

fn max_fds() -> Option<f64> {
    word_after("/proc/self/limits", "Max open files ")
}

fn open_fds() -> Option<f64> {
    let open = fs::read_dir("/proc/self/fd").ok()?.count();
    let others = open.checked_sub(1)?; // without the descriptor that counts them
    u32::try_from(others).ok().map(f64::from)
}

/// A field of `/proc/self/stat` by its number in proc(5). The second is the program's name in parentheses, and may hold anything.
fn stat(number: usize) -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, from_third) = stat.rsplit_once(") ")?;
    from_third.split(' ').nth(number - 3)?.parse().ok()
}

/// The number after `key` at the start of a line.
fn word_after(file: &str, key: &str) -> Option<f64> {
    let text = fs::read_to_string(file).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_understood() {
        let before = open_fds().unwrap();
        let _file = fs::File::open("/proc/self/stat").unwrap();
        assert!(
            open_fds().unwrap() > before || before > 100.0,
            "tests run beside each other"
        );
        assert!(max_fds().unwrap() > before);
        assert!((1e6..1e10).contains(&resident_bytes().unwrap()));
        assert!(cpu_seconds().unwrap() < 1e6);
        let year_2020 = 1_577_836_800.0;
        assert!(start_time_seconds().unwrap() > year_2020);
        assert_eq!(metrics().lines().count(), 3 * CATALOGUE.len());
    }
}
