//! Medians, quartiles, and a distribution-free interval for the median.

/// The summary of a list of samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    pub median: f64,
    /// The first and third quartile.
    pub quartiles: [f64; 2],
}

/// Returns the median and quartiles of `samples`, which must not be empty.
pub fn summary(samples: &[f64]) -> Summary {
    let sorted = sorted(samples);
    Summary {
        median: quantile(&sorted, 0.5),
        quartiles: [quantile(&sorted, 0.25), quantile(&sorted, 0.75)],
    }
}

/// Returns the lowest sample that at least `part` of the samples do not exceed. `samples` must not
/// be empty.
pub fn percentile(samples: &[f64], part: f64) -> f64 {
    let sorted = sorted(samples);
    let count = (part * sorted.len() as f64).ceil() as usize;
    sorted[count.clamp(1, sorted.len()) - 1]
}

/// Returns the 95 % interval of the median, by order statistics (the inverted sign test): the k-th
/// smallest and the k-th largest sample, for the largest k with P(Binomial(n, 1/2) < k) ≤ 2.5 %.
///
/// Returns `None` for fewer than six samples, which cannot yield 95 %.
pub fn median_interval(samples: &[f64]) -> Option<[f64; 2]> {
    let sorted = sorted(samples);
    let n = sorted.len();
    let mut outside = 0;
    // log2 of the probability of exactly i heads, which does not underflow for any n.
    let mut log = -(n as f64);
    let mut below = 0.0;
    while outside < n / 2 {
        below += log.exp2();
        if below > 0.025 {
            break;
        }
        log += ((n - outside) as f64 / (outside + 1) as f64).log2();
        outside += 1;
    }
    (outside > 0).then(|| [sorted[outside - 1], sorted[n - outside]])
}

fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = q * (sorted.len() - 1) as f64;
    let low = at.floor() as usize;
    let high = at.ceil() as usize;
    sorted[low] + (sorted[high] - sorted[low]) * (at - low as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(n: usize) -> Vec<f64> {
        (1..=n).rev().map(|i| i as f64).collect()
    }

    /// Every percentile is one of the samples.
    #[test]
    fn percentiles_are_samples() {
        assert_eq!(percentile(&first(1000), 0.99), 990.0);
        assert_eq!(percentile(&first(10), 0.99), 10.0);
        assert_eq!(percentile(&first(10), 0.5), 5.0);
    }

    /// The ranks agree with published tables of the sign test.
    #[test]
    fn the_interval_agrees_with_the_tables_of_the_sign_test() {
        assert_eq!(median_interval(&first(5)), None);
        assert_eq!(median_interval(&first(6)), Some([1.0, 6.0]));
        assert_eq!(median_interval(&first(9)), Some([2.0, 8.0]));
        assert_eq!(median_interval(&first(25)), Some([8.0, 18.0]));
        assert_eq!(median_interval(&first(100)), Some([40.0, 61.0]));
    }

    /// The interval of many samples is finite and near the median.
    #[test]
    fn many_samples_do_not_underflow() {
        let [low, high] = median_interval(&first(5000)).unwrap();
        assert!(low > 2400.0 && high < 2600.0 && low < high);
    }

    /// The summary of a list has its median and quartiles.
    #[test]
    fn medians_and_quartiles() {
        let all = summary(&first(5));
        assert_eq!(all.median, 3.0);
        assert_eq!(all.quartiles, [2.0, 4.0]);
    }
}
