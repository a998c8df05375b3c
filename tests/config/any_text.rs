//! Random texts.

use super::*;

proptest! {
    #[test]
    fn is_parsed_or_refused(text in "\\PC{0,200}") {
        shows(&text);
    }

    #[test]
    fn made_of_the_words_of_a_configuration_is_parsed_or_refused(words in proptest::collection::vec(word(), 0..40)) {
        shows(&words.concat());
    }

    #[test]
    fn like_the_example_with_a_mistake_is_parsed_or_refused(at in 0..EXAMPLE.len(), length in 0..20_usize, new in word()) {
        let start = EXAMPLE.floor_char_boundary(at);
        let end = EXAMPLE.ceil_char_boundary(at + length);
        shows(&format!("{}{new}{}", &EXAMPLE[..start], &EXAMPLE[end..]));
    }
}

/// What files are made of, and what they should not be.
const WORDS: &str = "[[listener]] [[route]] [upstream] [timeouts] [ ] { } = . , \t \" ' # url path read interval address 'http://a' \
                         '/' \"15s\" 'off' 15 1.5 true unix: ü \\u001b \0 \u{feff} \r\n \n";

fn word() -> impl Strategy<Value = String> {
    let words: Vec<_> = WORDS.split(' ').map(str::to_owned).collect();
    prop_oneof![4 => proptest::sample::select(words), 1 => "\\PC{1,3}"]
}

/// Neither parsing nor showing the problems panics.
fn shows(text: &str) {
    if let Err(problems) = parse(text) {
        assert!(!problems.to_string().is_empty());
    }
}
