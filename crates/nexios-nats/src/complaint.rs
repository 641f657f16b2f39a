//! What the server says that it does not do: in text, and of no question in particular.

/// Whom an error of the server's is about.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Complaint<'a> {
    /// A subscription was not made.
    Subscription,
    /// What was published to this subject was thrown away.
    Publication(&'a str),
    Other,
}

impl<'a> Complaint<'a> {
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
    fn a_complaint_is_about_a_subscription_or_a_publication() {
        for (text, expected) in [
            ("Permissions Violation for Subscription to \"nexios.g-a\"", Complaint::Subscription),
            ("Permissions Violation for Subscription to \"nexios.g-a\" using queue \"q\"", Complaint::Subscription),
            ("Maximum Subscriptions Exceeded", Complaint::Subscription),
            ("maximum subscriptions exceeded", Complaint::Subscription),
            ("Permissions Violation for Publish to \"$JS.API.INFO\"", Complaint::Publication("$JS.API.INFO")),
            ("Permissions Violation for Publish to \"half", Complaint::Other),
            ("Stale Connection", Complaint::Other),
            ("", Complaint::Other),
        ] {
            assert_eq!(Complaint::of(text), expected, "{text}");
        }
    }
}
