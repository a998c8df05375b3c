//! What is said about mistakes: each file with its messages beside it. `UPDATE_EXPECTED=1 cargo test --test config` writes them, to be
//! read before they are committed.

use super::*;

#[test]
fn of_invalid_files() {
    compare("invalid", 20, |parsed| {
        parsed.expect_err("an error").to_string()
    });
}

#[test]
fn of_warnings() {
    compare("warnings", 5, |parsed| {
        let (_, warnings) = parsed.unwrap_or_else(|problems| panic!("{problems}"));
        warnings
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n\n")
    });
}

fn compare(
    folder: &str,
    at_least: usize,
    message: impl Fn(Result<(Config, Vec<Problem>), Problems>) -> String,
) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/config")
        .join(folder);
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|file| {
        file.extension()
            .is_some_and(|extension| extension == "toml")
    });
    assert!(files.len() >= at_least, "{files:?}");
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let text = fs::read_to_string(&file).unwrap();
        let shown = message(config::parse(&text, name, &Overrides::default())) + "\n";
        let expected = file.with_extension("expected.txt");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&expected, &shown).unwrap();
        }
        let expected = fs::read_to_string(&expected).unwrap_or_default();
        assert!(shown == expected, "{name}:\n{shown}\nexpected:\n{expected}");
    }
}
