//! What a signature is over: a JWS in its compact form (RFC 7515 §7.1).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::key::Key;

const MALFORMED: &str = "it is not well-formed";

/// What of a header counts. A name that comes twice is an error (RFC 7515 §4).
#[derive(Deserialize)]
struct Header {
    alg: String,
    /// Whether the header asks for anything that must be understood. Nothing of the kind is (RFC 7515 §4.1.11).
    #[serde(default, deserialize_with = "present")]
    crit: bool,
}

/// The claims of a token that this key has signed, or why there are none.
pub(super) fn open(token: &str, key: &Key) -> Result<Map<String, Value>, &'static str> {
    let (message, signature) = token.rsplit_once('.').ok_or(MALFORMED)?;
    let (header, payload) = message.split_once('.').ok_or(MALFORMED)?;
    let header = read_header(&decode(header)?)?;
    if header.alg != key.algorithm() {
        return Err("its algorithm is not the key's");
    }
    if header.crit {
        return Err("its header asks for what is not understood (crit)");
    }
    if !key.has_signed(message.as_bytes(), &decode(signature)?) {
        return Err("its signature is not the key's");
    }
    // Further dots are none of the alphabet: neither five parts nor four pass.
    serde_json::from_slice(&decode(payload)?).map_err(|_| MALFORMED)
}

fn read_header(json: &[u8]) -> Result<Header, &'static str> {
    // RFC 7515 §4: an object. An array of the same values would be read as one.
    if !json.trim_ascii_start().starts_with(b"{") {
        return Err(MALFORMED);
    }
    serde_json::from_slice(json).map_err(|_| MALFORMED)
}

/// RFC 7515 §2: base64url, without padding.
fn decode(part: &str) -> Result<Vec<u8>, &'static str> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| MALFORMED)
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}
