use std::borrow::Cow;

use nexios_proto::handshake::extension::{ExtensionError, Offer, parse};
use proptest::{collection::vec, prelude::*};

/// Writes what was read in one form, so that a table can show it.
fn show(offers: &[Offer<'_>]) -> String {
    let param = |(name, value): &(&str, Option<Cow<'_, str>>)| match value {
        Some(value) => format!(";{name}={value}"),
        None => format!(";{name}"),
    };
    let offer = |offer: &Offer<'_>| offer.name.to_owned() + &offer.params.iter().map(param).collect::<String>();
    offers.iter().map(offer).collect::<Vec<_>>().join(",")
}

#[track_caller]
fn check(value: &str, expected: &str) {
    assert_eq!(show(&parse(value.as_bytes()).expect("the list is valid")), expected);
}

#[test]
fn lists_are_read() {
    check("", "");
    check(" , ,", "");
    check("deflate-stream", "deflate-stream");
    check("mux; max-channels=4; flow-control, deflate-stream", "mux;max-channels=4;flow-control,deflate-stream");
    check("a ;\tb = c , d;e", "a;b=c,d;e");
    check("a,,b,", "a,b");
    check("a;x=1;x=2", "a;x=1;x=2");
}

#[test]
fn quoted_values_are_unescaped() {
    check(r#"a;b="10""#, "a;b=10");
    check(r#"a;b="\1\0";c"#, "a;b=10;c");
    check(r#"private-extension; foo="fo\o""#, "private-extension;foo=foo");
}

#[test]
fn what_does_not_follow_the_grammar_is_refused() {
    for (value, error) in [
        ("a b", ExtensionError::SeparatorExpected(2)),
        ("a;", ExtensionError::TokenExpected(2)),
        ("a;;b", ExtensionError::TokenExpected(2)),
        (";a", ExtensionError::TokenExpected(0)),
        ("a=b", ExtensionError::SeparatorExpected(1)),
        ("a;b=", ExtensionError::TokenExpected(4)),
        ("a;b=c d", ExtensionError::SeparatorExpected(6)),
        ("a;b=\"c", ExtensionError::UnclosedQuote(5)),
        ("a;b=\"c\\", ExtensionError::UnclosedQuote(5)),
        ("a;b=\"c\\\"", ExtensionError::UnclosedQuote(5)),
        ("a;b=\"\"", ExtensionError::QuotedValue(5)),
        ("a;b=\"two words\"", ExtensionError::QuotedValue(5)),
        ("a;b=\"c,d\"", ExtensionError::QuotedValue(5)),
        ("a;b=\"c\"d", ExtensionError::SeparatorExpected(7)),
        ("ä", ExtensionError::TokenExpected(0)),
        ("a;b=\"ä\"", ExtensionError::QuotedValue(5)),
    ] {
        assert_eq!(parse(value.as_bytes()), Err(error), "{value}");
    }
}

#[test]
fn a_value_has_a_longest_length() {
    assert!(parse("a".repeat(4096).as_bytes()).is_ok());
    assert_eq!(parse("a".repeat(4097).as_bytes()), Err(ExtensionError::TooLong));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_read_reads_the_same_again(value in "[ab;=, \"\\\\]{0,24}") {
        if let Ok(offers) = parse(value.as_bytes()) {
            let shown = show(&offers);
            prop_assert_eq!(show(&parse(shown.as_bytes()).unwrap()), shown);
        }
    }

    #[test]
    fn random_bytes_never_panic(value in vec(any::<u8>(), 0..200)) {
        let _ = parse(&value);
    }
}
