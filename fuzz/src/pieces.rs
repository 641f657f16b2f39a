//! How bytes are cut on their way: what a network does to them.

/// Sizes of pieces that one byte chooses, without end: mostly small ones, as borders inside of headers are where code
/// goes wrong.
pub fn sizes(seed: u8) -> impl Iterator<Item = usize> {
    let mut state = u32::from(seed).wrapping_mul(0x9e37_79b9) | 1;
    std::iter::from_fn(move || {
        state = state.wrapping_mul(0x0019_660d).wrapping_add(0x3c6e_f35f);
        let size = (state >> 16) as usize;
        Some(match size % 8 {
            0 => size / 8 % 2000 + 1,
            1 | 2 => size / 8 % 40 + 1,
            _ => size / 8 % 5 + 1,
        })
    })
}

/// The bytes in pieces of these sizes, as long as there are sizes.
pub fn cut(bytes: &[u8], sizes: impl IntoIterator<Item = usize>) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    sizes.into_iter().map_while(move |size| {
        let (piece, after) = rest.split_at_checked(size).unwrap_or((rest, &[]));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}
