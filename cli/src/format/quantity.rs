//! Sizes and spans of time for people, in Docker's words.

use std::time::Duration;

const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY_HOURS: u64 = 24;

/// Returns `bytes` in decimal units, rounded to `digits` significant digits (three or more): `1.23MB`, `4.85GB`, `0B`.
///
/// Tables show three digits, `system df` four. Unlike Docker, which writes 999,999,999 bytes as `1e+03MB`, the rounded number moves to the next unit.
pub(crate) fn human_size(bytes: u64, digits: usize) -> String {
    let mut value = bytes as f64;
    for unit in UNITS {
        let whole_digits = if value >= 100.0 {
            3
        } else if value >= 10.0 {
            2
        } else {
            1
        };
        let rounded = format!("{value:.*}", digits.saturating_sub(whole_digits));
        // Rounding can carry: 999.9 becomes `1000`, which is one of the next unit.
        if value >= 1000.0 || rounded.starts_with("1000") {
            value /= 1000.0;
            continue;
        }
        let shown = if rounded.contains('.') { rounded.trim_end_matches('0').trim_end_matches('.') } else { &rounded };
        return format!("{shown}{unit}");
    }
    unreachable!("2^64 bytes are less than 1000 EB")
}

/// Returns `bytes` in decimal units with two decimals, as progress lines show it: `208B`, `1.05MB`.
pub(crate) fn progress_size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes}B") } else { format!("{value:.2}{}", UNITS[unit]) }
}

/// Returns a span of time in words: `Less than a second`, `About a minute`, `2 hours`, `3 weeks`.
pub(crate) fn human_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    // Docker rounds to the nearest hour, so `About an hour` is everything from 60 to 89 minutes.
    let hours = seconds / HOUR + u64::from(seconds % HOUR >= HOUR / 2);
    match (seconds, seconds / MINUTE, hours) {
        (0, ..) => "Less than a second".to_owned(),
        (1, ..) => "1 second".to_owned(),
        (2..60, ..) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, 2..60, _) => format!("{} minutes", seconds / MINUTE),
        (_, _, 1) => "About an hour".to_owned(),
        (_, _, 2..48) => format!("{hours} hours"),
        (_, _, 48..336) => format!("{} days", hours / DAY_HOURS),
        (_, _, 336..1440) => format!("{} weeks", hours / DAY_HOURS / 7),
        (_, _, 1440..17520) => format!("{} months", hours / DAY_HOURS / 30),
        _ => format!("{} years", seconds / HOUR / DAY_HOURS / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_size(bytes: u64, three: &str, four: &str) {
        assert_eq!((human_size(bytes, 3).as_str(), human_size(bytes, 4).as_str()), (three, four));
    }

    #[test]
    fn sizes_have_three_digits_and_decimal_units() {
        check_size(0, "0B", "0B");
        check_size(999, "999B", "999B");
        check_size(1000, "1kB", "1kB");
        check_size(1_234_567, "1.23MB", "1.235MB");
        check_size(12_345_678, "12.3MB", "12.35MB");
        check_size(123_456_789, "123MB", "123.5MB");
        check_size(4_850_000_000, "4.85GB", "4.85GB");
        check_size(7_200_000, "7.2MB", "7.2MB");
        check_size(10u64.pow(15), "1PB", "1PB");
        check_size(u64::MAX, "18.4EB", "18.45EB");
    }

    #[test]
    fn a_size_that_rounds_up_to_a_thousand_is_one_of_the_next_unit() {
        check_size(999_499_999, "999MB", "999.5MB");
        check_size(999_999_999, "1GB", "1GB");
        check_size(999_600, "1MB", "999.6kB");
    }

    #[test]
    fn progress_has_two_decimals_beyond_single_bytes() {
        let shown = [0, 208, 1000, 1_048_576, 3_400_000, 52_330_000_000].map(progress_size);
        assert_eq!(shown, ["0B", "208B", "1.00kB", "1.05MB", "3.40MB", "52.33GB"]);
    }

    #[track_caller]
    fn check_duration(seconds: u64, expected: &str) {
        assert_eq!(human_duration(Duration::from_secs(seconds)), expected);
    }

    #[test]
    fn durations_are_docker_s_words() {
        check_duration(0, "Less than a second");
        check_duration(1, "1 second");
        check_duration(59, "59 seconds");
        check_duration(60, "About a minute");
        check_duration(119, "About a minute");
        check_duration(120, "2 minutes");
        check_duration(3599, "59 minutes");
        check_duration(3600, "About an hour");
        check_duration(5399, "About an hour");
        check_duration(5400, "2 hours");
        check_duration(47 * 3600, "47 hours");
        check_duration(48 * 3600, "2 days");
        check_duration(13 * 86400, "13 days");
        check_duration(14 * 86400, "2 weeks");
        check_duration(59 * 86400, "8 weeks");
        check_duration(60 * 86400, "2 months");
        check_duration(729 * 86400, "24 months");
        check_duration(730 * 86400, "2 years");
        check_duration(u64::MAX, "584942417355 years");
    }
}
