//! What unit tests of the importer need.

use super::files::Texts;
use super::placeholders::Placeholders;
use super::tree::{self, Directive};
use super::{Imported, import};

/// The directives of a text.
pub(super) fn directives(text: &str) -> Vec<Directive> {
    let nothing = |_: &str| None;
    tree::read(&site(text), "site.conf", &mut Placeholders::new(&nothing))
        .unwrap()
        .directives
}

/// What a site file becomes.
pub(super) fn imported(text: &str) -> Imported {
    import(&site(text), "site.conf", None, &|_| None, &|_| true).unwrap()
}

/// The file with the text of a site.
pub(super) fn site(text: &str) -> Texts {
    Texts::new([("site.conf".to_owned(), text.to_owned())])
}
