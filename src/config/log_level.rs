//! Log levels by their names.

use super::Level;

impl Level {
    /// Every level with its name, from the quietest on.
    pub const NAMES: [(&str, Self); 4] = [
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
    ];

    /// As in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }

    /// The level of this name.
    pub fn named(name: &str) -> Option<Self> {
        let mut levels = Self::NAMES.iter();
        levels
            .find(|(known, _)| *known == name)
            .map(|(_, level)| *level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_name_their_levels() {
        for (name, level) in Level::NAMES {
            assert_eq!((level.name(), Level::named(name)), (name, Some(level)));
        }
        assert_eq!(Level::named("trace"), None);
        assert!(Level::NAMES.is_sorted_by_key(|(_, level)| level));
    }
}
