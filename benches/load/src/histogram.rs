//! A histogram of latencies: 64 linear steps within each power of two, so under 1.6 % error.
//!
//! **Must never know:** what is being timed. Samples are not kept one by one: a saturated run has
//! hundreds of thousands a second, and the memory traffic would be part of the measurement.

const STEP_BITS: u32 = 6;
const STEPS: usize = 1 << STEP_BITS;

/// Counts of samples by size.
pub struct Histogram {
    counts: Vec<u64>,
    samples: u64,
    largest: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        // Values under STEPS have a slot each; every higher power of two has STEPS of them.
        let powers = (u64::BITS - STEP_BITS) as usize;
        Self {
            counts: vec![0; (powers + 1) * STEPS],
            samples: 0,
            largest: 0,
        }
    }
}

/// Where `value` is counted.
fn slot(value: u64) -> usize {
    let magnitude = u64::BITS - value.leading_zeros();
    let shift = magnitude.saturating_sub(STEP_BITS + 1);
    let step = (value >> shift) as usize;
    shift as usize * STEPS + step
}

/// The least value counted in `slot`.
fn least(slot: usize) -> u64 {
    let shift = (slot / STEPS).saturating_sub(1);
    ((slot - shift * STEPS) as u64) << shift
}

impl Histogram {
    /// Counts one sample.
    pub fn record(&mut self, value: u64) {
        if let Some(count) = self.counts.get_mut(slot(value)) {
            *count += 1;
        }
        self.samples += 1;
        self.largest = self.largest.max(value);
    }

    /// The least value that at least the share `q` (0 to 1) of the samples does not exceed, rounded
    /// down to its step; 0 without samples.
    #[must_use]
    pub fn quantile(&self, q: f64) -> u64 {
        let wanted = ((q * self.samples as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (slot, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return least(slot);
            }
        }
        self.largest
    }

    /// The largest sample, exact.
    #[must_use]
    pub fn largest(&self) -> u64 {
        self.largest
    }

    /// How many samples were counted.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_falls_into_the_slot_that_begins_at_or_just_below_it() {
        let mut values: Vec<u64> = (0..5000).collect();
        values.extend((6..64).flat_map(|p| [(1 << p) - 1, 1 << p, (1 << p) + 1]));
        values.push(u64::MAX);
        for value in values {
            let floor = least(slot(value));
            assert!(floor <= value, "{value} is counted at {floor}");
            assert!(
                (value - floor) as f64 <= value as f64 / 64.0,
                "{value} is counted at {floor}"
            );
        }
    }

    #[test]
    fn slots_are_in_order_and_within_the_table() {
        let table = Histogram::default().counts.len();
        let mut last = 0;
        for power in 0..64 {
            for value in [1u64 << power, (1u64 << power) | (1u64 << power) >> 1] {
                assert!(slot(value) >= last && slot(value) < table, "{value}");
                last = slot(value);
            }
        }
        assert!(slot(u64::MAX) < table);
    }

    #[test]
    fn quantiles_of_a_uniform_sample() {
        let mut histogram = Histogram::default();
        (1..=100_000).for_each(|v| histogram.record(v * 10));
        for (q, want) in [(0.5, 500_000.0), (0.99, 990_000.0), (0.999, 999_000.0)] {
            let got = histogram.quantile(q) as f64;
            assert!(
                got <= want && got > want * 0.984,
                "{q}: {got} is not near {want}"
            );
        }
        assert_eq!(
            (histogram.largest(), histogram.samples()),
            (1_000_000, 100_000)
        );
    }

    #[test]
    fn nothing_and_one_thing() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), 0);
        histogram.record(42);
        assert_eq!((histogram.quantile(0.0), histogram.quantile(1.0)), (42, 42));
    }
}
