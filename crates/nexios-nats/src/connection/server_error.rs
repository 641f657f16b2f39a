//! Errors that the server reports as text, without naming the request that caused them.

/// The operation that a server error refers to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ServerErrorKind<'a> {
    /// A subscription was refused.
    Subscription,
    /// A message that was published to this subject was discarded.
    Publication(&'a str),
    Other,
}

impl<'a> ServerErrorKind<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
        if text.starts_with("Permissions Violation for Subscription")
            || text.eq_ignore_ascii_case("maximum subscriptions exceeded")
        {
            return Self::Subscription;
        }
        let publication = text.strip_prefix("Permissions Violation for Publish to \"");
        match publication.and_then(|rest| rest.split_once('"')) {
            Some((subject, _)) => Self::Publication(subject),
            None => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_error_is_classified_by_the_refused_operation() {
        for (text, expected) in [
            ("Permissions Violation for Subscription to \"nexios.g-a\"", ServerErrorKind::Subscription),
            (
                "Permissions Violation for Subscription to \"nexios.g-a\" using queue \"q\"",
                ServerErrorKind::Subscription,
            ),
            ("Maximum Subscriptions Exceeded", ServerErrorKind::Subscription),
            ("maximum subscriptions exceeded", ServerErrorKind::Subscription),
            ("Permissions Violation for Publish to \"$JS.API.INFO\"", ServerErrorKind::Publication("$JS.API.INFO")),
            ("Permissions Violation for Publish to \"half", ServerErrorKind::Other),
            ("Stale Connection", ServerErrorKind::Other),
            ("", ServerErrorKind::Other),
        ] {
            assert_eq!(ServerErrorKind::of(text), expected, "{text}");
        }
    }
}
