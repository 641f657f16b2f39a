//! Whether something grows: a straight line through its values (least squares).

/// A straight line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Trend {
    pub(super) mean: f64,
    /// For each second.
    pub(super) slope: f64,
}

impl Trend {
    /// Through points of seconds and values; flat for less than two.
    pub(super) fn of(points: impl Iterator<Item = (f64, f64)> + Clone) -> Self {
        let count = points.clone().count().max(1) as f64;
        let middle = points.clone().map(|(at, _)| at).sum::<f64>() / count;
        let mean = points.clone().map(|(_, value)| value).sum::<f64>() / count;
        let spread: f64 = points.clone().map(|(at, _)| (at - middle).powi(2)).sum();
        let together: f64 = points.map(|(at, value)| (at - middle) * (value - mean)).sum();
        Self { mean, slope: if spread > 0.0 { together / spread } else { 0.0 } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_own_slope_and_what_is_flat_has_none() {
        let line = Trend::of((0_i32..100).map(|n| (f64::from(n), 5.0 + f64::from(n) * 2.0)));
        assert!((line.slope - 2.0).abs() < 1e-9 && (line.mean - 104.0).abs() < 1e-9, "{line:?}");
        let saw = Trend::of((0_i32..100).map(|n| (f64::from(n), f64::from(n % 10))));
        assert!(saw.slope.abs() < 0.02, "{saw:?}");
        assert_eq!(Trend::of([(3.0, 7.0)].into_iter()), Trend { mean: 7.0, slope: 0.0 });
    }
}
