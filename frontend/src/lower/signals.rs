//! Which signals there are: what `STOPSIGNAL` accepts.

const NAMES: [&str; 36] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL",
    "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1",
    "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
];
/// How far real-time signals are named from their first and from their last.
const ABOVE_FIRST_MAX: u32 = 15;
const BELOW_LAST_MAX: u32 = 14;

/// Accepts a number other than 0, and a name with or without `SIG`, in any case.
pub(super) fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<i64>() {
        return number != 0;
    }
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let within = |rest: &str, max: u32| {
        rest.parse::<u32>().is_ok_and(|number| (1..=max).contains(&number) && !rest.starts_with(['0', '+']))
    };
    NAMES.contains(&name)
        || name.strip_prefix("RTMIN+").is_some_and(|rest| within(rest, ABOVE_FIRST_MAX))
        || name.strip_prefix("RTMAX-").is_some_and(|rest| within(rest, BELOW_LAST_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec 46
    #[test]
    fn a_signal_is_a_number_or_a_name() {
        let good = ["9", "64", "-1", "SIGKILL", "kill", "sigterm", "RTMIN", "SIGRTMIN+3", "RTMAX-14"].map(is_signal);
        let bad = ["0", "FOO", "", "SIG", "9x", "RTMIN+16", "RTMAX-0", "RTMIN-1", "RTMIN+"].map(is_signal);
        assert_eq!((good, bad), ([true; 9], [false; 9]));
    }
}
