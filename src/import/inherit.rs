//! Which of the directives around a location count for it, by nginx's inheritance.

use super::tree::Directive;

/// The directive of this name that counts: that of the innermost level that has one.
pub(super) fn effective<'a>(levels: &[&'a [Directive]], name: &str) -> Option<&'a Directive> {
    let of_level =
        |level: &&'a [Directive]| level.iter().rev().find(|directive| directive.name == name);
    levels.iter().rev().find_map(of_level)
}

/// The directives of this name that count: a level with any of its own inherits none.
pub(super) fn effective_all<'a>(levels: &[&'a [Directive]], name: &str) -> Vec<&'a Directive> {
    effective_any(levels, &[name])
}

/// The same for several names that are one list, such as `allow` and `deny`.
pub(super) fn effective_any<'a>(levels: &[&'a [Directive]], names: &[&str]) -> Vec<&'a Directive> {
    let of_level = |level: &&'a [Directive]| {
        let found: Vec<_> = level
            .iter()
            .filter(|directive| names.contains(&&*directive.name))
            .collect();
        Some(found).filter(|found| !found.is_empty())
    };
    levels.iter().rev().find_map(of_level).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::testing::directives;

    #[test]
    fn a_level_with_any_of_its_own_inherits_none() {
        let outer = directives("add_header A 1; add_header B 2; root /a; root /b; deny all;");
        let inner = directives("add_header C 3;");
        let levels: [&[Directive]; 2] = [&outer, &inner];
        assert_eq!(effective_all(&levels, "add_header").len(), 1);
        assert_eq!(effective_all(&levels[..1], "add_header").len(), 2);
        assert_eq!(effective(&levels, "root").unwrap().arg(0), "/b");
        assert_eq!(effective_any(&levels, &["allow", "deny"]).len(), 1);
    }
}
