//! `docs/reasons.md` has every reason, in the section of its side and with its status.

use std::collections::BTreeMap;

use sse_sidecar::reason::Reason;

const PAGE: &str = include_str!("../../docs/reasons.md");

/// The side and the status of each reason that is listed.
fn listed() -> BTreeMap<String, (String, String)> {
    let mut listed = BTreeMap::new();
    for section in PAGE.split("\n## ").skip(1) {
        let heading = section.lines().next().unwrap();
        let side = heading.to_lowercase();
        let rows = section.lines().filter(|line| line.starts_with("| `"));
        for row in rows {
            let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
            let [name, status, meaning, advice] = cells[..] else {
                panic!("{row}")
            };
            assert!(!meaning.is_empty() && !advice.is_empty(), "{row}");
            let name = name.trim_matches('`').to_owned();
            let entry = (side.clone(), status.to_owned());
            assert!(listed.insert(name, entry).is_none(), "{row} is there twice");
        }
    }
    listed
}

#[test]
fn every_reason_is_listed_with_its_side_and_status() {
    let known = Reason::ALL.iter().map(|reason| {
        let status = reason.status().map(|status| status.as_u16().to_string());
        let entry = (reason.side().name().to_owned(), status.unwrap_or_default());
        (reason.name().to_owned(), entry)
    });
    assert_eq!(listed(), known.collect());
}
