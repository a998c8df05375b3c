//! What the documentation shows of configuration files is valid, without warnings.

use std::fs;

use sse_sidecar::config::{self, Overrides};

use super::links::pages;

/// The TOML blocks of a page, also those in lists.
fn blocks(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines() {
        match (&mut open, line.trim()) {
            (None, "```toml") => open = Some(String::new()),
            (None, _) => {}
            (Some(_), "```") => blocks.extend(open.take()),
            (Some(block), line) => {
                block.push_str(line);
                block.push('\n');
            }
        }
    }
    blocks
}

#[test]
fn every_example_is_a_valid_configuration() {
    let mut count = 0;
    for page in pages() {
        for block in blocks(&fs::read_to_string(&page).unwrap()) {
            let has_upstream = block.contains("[upstream]");
            let upstream = "upstream.url = \"http://127.0.0.1:3000\"\n";
            let text = if has_upstream {
                block
            } else {
                format!("{upstream}{block}")
            };
            match config::parse(&text, "example", &Overrides::default()) {
                Ok((_, warnings)) => {
                    assert_eq!(warnings, [], "{}: {text}", page.display());
                }
                Err(problems) => panic!("{}: {problems}", page.display()),
            }
            count += 1;
        }
    }
    assert!(count > 10, "only {count}");
}
