//! How much of a step's output is shown, and what is said when it was more: BUILDKIT_STEP_LOG_MAX_SIZE and BUILDKIT_STEP_LOG_MAX_SPEED.

use std::time::Duration;

/// How much output of one step to one stream is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LogLimit {
    /// `None` means unlimited.
    pub(super) bytes_max: Option<u64>,
    /// `None` means unlimited.
    pub(super) bytes_per_second_max: Option<u64>,
}

/// What is shown unless the environment says otherwise.
pub(super) const DEFAULT_LOG_LIMIT: LogLimit =
    LogLimit { bytes_max: Some(2 * 1024 * 1024), bytes_per_second_max: None };

/// Everything is shown.
pub(super) const NO_LOG_LIMIT: LogLimit = LogLimit { bytes_max: None, bytes_per_second_max: None };

/// One stream of one step.
#[derive(Clone, Debug, Default)]
pub(super) struct Clip {
    written: u64,
    is_clipping: bool,
}

impl Clip {
    /// Takes note of `size` more bytes when the step has run for `elapsed`; returns how many of them are to be shown, and what is to be said after those.
    pub(super) fn admit(&mut self, size: usize, elapsed: Duration, limit: LogLimit) -> (usize, Option<String>) {
        let before = self.written;
        self.written = before.saturating_add(size as u64);
        let Some((bytes_max, named)) = limit.now(elapsed) else {
            return (size, None);
        };
        let admitted = usize::try_from(bytes_max.saturating_sub(before)).unwrap_or(usize::MAX).min(size);
        let starts_clipping = admitted < size && !self.is_clipping;
        self.is_clipping = admitted < size;
        (admitted, starts_clipping.then(|| format!("\n[output clipped, log limit {named} reached]\n")))
    }
}

impl LogLimit {
    /// How many bytes may have been shown after `elapsed`, and how that limit is called.
    fn now(self, elapsed: Duration) -> Option<(u64, String)> {
        let seconds = elapsed.as_secs() + u64::from(elapsed.subsec_nanos() > 0);
        let by_speed = self.bytes_per_second_max.map(|speed| (speed.saturating_mul(seconds), speed));
        match (by_speed, self.bytes_max) {
            (None, None) => None,
            (Some((bytes, speed)), size) if size.is_none_or(|size| bytes <= size) => {
                Some((bytes, format!("{}/s", binary_size(speed))))
            }
            (_, size) => size.map(|size| (size, binary_size(size))),
        }
    }
}

/// `2MiB`, `100KiB`, `1.5GiB`.
fn binary_size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].iter().peekable();
    let mut unit = units.next();
    while value >= 1024.0 && units.peek().is_some() {
        value /= 1024.0;
        unit = units.next();
    }
    format!("{value}{}", unit.unwrap_or(&"B"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_exceeds_the_size_is_cut_and_said_once() {
        let limit = LogLimit { bytes_max: Some(10), bytes_per_second_max: None };
        let mut clip = Clip::default();
        assert_eq!(clip.admit(8, SECOND, limit), (8, None));
        let said = "\n[output clipped, log limit 10B reached]\n".to_owned();
        assert_eq!(clip.admit(5, SECOND, limit), (2, Some(said)));
        assert_eq!(clip.admit(5, SECOND, limit), (0, None));
    }

    #[test]
    fn a_speed_limit_lets_output_through_again_later() {
        let limit = LogLimit { bytes_max: Some(1000), bytes_per_second_max: Some(10) };
        let mut clip = Clip::default();
        let said = Some("\n[output clipped, log limit 10B/s reached]\n".to_owned());
        assert_eq!(clip.admit(15, SECOND / 2, limit), (10, said.clone()));
        assert_eq!(clip.admit(5, SECOND * 2, limit), (5, None));
        assert_eq!(clip.admit(5, SECOND * 2, limit), (0, said));
    }

    #[test]
    fn no_limit_is_no_limit() {
        let limit = LogLimit { bytes_max: None, bytes_per_second_max: None };
        assert_eq!(Clip::default().admit(usize::MAX, SECOND, limit), (usize::MAX, None));
    }

    #[test]
    fn limits_are_named_in_binary_units() {
        assert_eq!(
            [1, 1024, 204_800, 2_097_152, 1_610_612_736].map(binary_size),
            ["1B", "1KiB", "200KiB", "2MiB", "1.5GiB"]
        );
    }
}
