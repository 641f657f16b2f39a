//! Memory of requests' heads, counted in the budget.

use std::sync::Arc;

use http::request::Parts;

use super::admission::Refused;
use crate::memory_budget::{Budget, Reservation};

/// Heads up to this size are not counted: they are about as large as what every connection costs beside them, and bounded
/// by the number of connections.
pub(super) const SMALL: usize = 1024;

/// About what a header costs beside its name and value, in bytes (RFC 9113 §6.5.2 counts 32).
const PER_HEADER: usize = 32;

/// Reserved memory for a request's head. It stands in the request's extensions, and so lives as long as the request or the
/// connection that it became.
#[derive(Clone, Debug)]
pub(crate) struct HeadMemory(#[expect(dead_code, reason = "it is there to be dropped")] Arc<Reservation>);

impl HeadMemory {
    /// Reserves memory for a head, unless that was done already.
    pub(crate) fn reserve(budget: &Arc<Budget>, parts: &mut Parts) -> Result<(), Refused> {
        let bytes = size(parts);
        if bytes <= SMALL || parts.extensions.get::<Self>().is_some() {
            return Ok(());
        }
        let reservation = budget.reserve(bytes).ok_or(Refused::Overloaded)?;
        parts.extensions.insert(Self(Arc::new(reservation)));
        Ok(())
    }
}

/// About what a head takes unpacked, in bytes.
pub(super) fn size(parts: &Parts) -> usize {
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let headers = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + PER_HEADER);
    target + headers.sum::<usize>()
}
