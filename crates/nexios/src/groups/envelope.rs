//! The envelope of a group's message: beside what the framework says, what others say has to look different.

use nexios_proto::Message;

use super::history::Data;
use crate::connection::{Coding, Publication};

/// A message in its envelope, `{"group":"room","position":"9f3c2a0de1b45c77-17","data":"text"}`, and where in it the message's
/// own text stands. What is sent to every connection has no group, and what is not kept no position.
pub(super) fn envelope(group: Option<&str>, position: Option<&str>, text: &str, is_json: bool) -> (String, Data) {
    // A string as JSON cannot fail.
    let string = |text: &str| serde_json::Value::from(text).to_string();
    let mut envelope = String::with_capacity(text.len() + text.len() / 16 + 64);
    envelope.push('{');
    if let Some(group) = group {
        envelope.push_str("\"group\":");
        envelope.push_str(&string(group));
        envelope.push(',');
    }
    if let Some(position) = position {
        envelope.push_str("\"position\":\"");
        envelope.push_str(position);
        envelope.push_str("\",");
    }
    envelope.push_str("\"data\":");
    let at = envelope.len();
    let data = if is_json {
        envelope.push_str(text);
        Data::Json(at)
    } else {
        envelope.push_str(&string(text));
        Data::Text(at)
    };
    envelope.push('}');
    (envelope, data)
}

/// The publication with the form that it has for those who get texts of groups in envelopes only.
pub(super) fn enveloped(publication: Publication, group: Option<&str>, codings: &[Coding]) -> Publication {
    if !publication.is_unenveloped() {
        return publication;
    }
    let message = publication.message();
    let Some(text) = message.as_ref().and_then(Message::as_text) else { return publication };
    let (text, _) = envelope(group, None, text, publication.is_json());
    let form = Publication::new(&Message::from(text), codings.iter().copied()).keyed(publication.key().cloned());
    publication.enveloped(form)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_text_says_it_stays_the_data_of_its_envelope() {
        for text in ["", "plain", "\"", "{\"event\":\"leave\"}", "\",\"event\":\"leave\",\"x\":\"", "\u{0}\n\\", "ü🦀"]
        {
            for position in [None, Some("9f3c2a0de1b45c77-17")] {
                let (written, Data::Text(_)) = envelope(Some("a \"room\""), position, text, false) else { panic!() };
                let read: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&written).unwrap();
                assert_eq!((read["group"].as_str(), read["data"].as_str()), (Some("a \"room\""), Some(text)));
                assert_eq!(read.len(), 2 + usize::from(position.is_some()), "{written}");
            }
        }
    }
}
