//! What the fuzz targets check with: see `README.md`.

pub mod header_lines;
/// The naive inflater that the property tests compare with, too.
#[path = "../../crates/nexios-proto/tests/protocol/deflate/twin.rs"]
mod inflate;
pub mod listener;
pub mod memory;
pub mod pieces;
pub mod twin;

/// Inflates the messages of one sender, one after the other, by the letter of RFC 1951 and RFC 7692.
#[derive(Default)]
pub struct InflateTwin(inflate::Twin);

impl InflateTwin {
    /// `None` when the payload is not what a sender makes of any message.
    pub fn inflate(&mut self, payload: &[u8], keeps_context: bool) -> Option<Vec<u8>> {
        self.0.inflate(payload, keeps_context)
    }

    /// The farthest that any message looked back, in bytes.
    pub fn farthest(&self) -> usize {
        self.0.farthest
    }
}
