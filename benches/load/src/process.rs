//! What processes cost, as the kernel says in `/proc`.

use std::fs;
use std::time::Duration;

use crate::Result;

/// User and system time of all threads so far.
pub fn cpu(pids: &[u32]) -> Result<Duration> {
    let mut nanos = 0;
    for pid in pids {
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            let times = fs::read_to_string(thread?.path().join("schedstat"))?;
            let running: Option<u64> = times.split(' ').next().and_then(|it| it.parse().ok());
            nanos += running.ok_or("schedstat is not what it was")?;
        }
    }
    Ok(Duration::from_nanos(nanos))
}

/// Proportional set size in bytes, without the pages of files: those depend on who else has mapped them.
pub fn memory(pids: &[u32]) -> Result<f64> {
    let mut kilobytes = 0.0;
    for pid in pids {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        for kind in ["Pss_Anon:", "Pss_Shmem:"] {
            let pss = rollup.lines().find_map(|line| line.strip_prefix(kind));
            let number = pss.and_then(|pss| pss.split_whitespace().next());
            kilobytes += number.ok_or("no Pss")?.parse::<f64>()?;
        }
    }
    Ok(kilobytes * 1024.0)
}
