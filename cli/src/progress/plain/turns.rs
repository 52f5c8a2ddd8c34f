//! Whose turn it is to print, when several steps have something to say.

use std::time::Duration;

/// A step that says more than others keeps its turn for this long, and longer the more it says.
const TURN_MIN: Duration = Duration::from_secs(5);

/// A step that waited for longer than this gets the turn.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// A step that could print.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Turn {
    pub(super) step: usize,
    /// How long it has waited, or for the step that prints: for how long it has printed.
    pub(super) waited: Duration,
    /// How much happened in that time.
    pub(super) updates: u64,
}

impl Turn {
    fn speed(&self) -> f64 {
        self.updates as f64 / self.waited.as_secs_f64()
    }
}

/// Returns the step that is to print now, or `None` when the one that prints keeps its turn.
///
/// `candidates` are those with news and, if it still runs, `current`, which had the turn so far.
pub(super) fn next_turn(candidates: &[Turn], current: Option<usize>) -> Option<usize> {
    let overdue = |turn: &&Turn| turn.waited > WAIT_MAX && current != Some(turn.step);
    let busiest =
        || candidates.iter().copied().reduce(|best, turn| if best.speed() < turn.speed() { turn } else { best });
    let Some(holder) = candidates.iter().find(|turn| current == Some(turn.step)) else {
        return candidates.iter().find(overdue).copied().or_else(busiest).map(|turn| turn.step);
    };
    if let Some(turn) = candidates.iter().find(overdue) {
        return Some(turn.step);
    }
    let sum: f64 = candidates.iter().map(Turn::speed).sum();
    let share = holder.speed() / sum;
    // Nothing is known of speeds within the first instant, where they are infinite: the comparison is false then.
    let is_over = TURN_MIN.as_secs_f64() / (1.0 - share) < holder.waited.as_secs_f64();
    if is_over { busiest().map(|turn| turn.step) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(candidates: &[(usize, f64, u64)], current: Option<usize>, expected: Option<usize>) {
        let turn = |(step, waited, updates): &_| Turn {
            step: *step,
            waited: Duration::from_secs_f64(*waited),
            updates: *updates,
        };
        assert_eq!(next_turn(&candidates.iter().map(turn).collect::<Vec<_>>(), current), expected);
    }

    #[test]
    fn without_a_holder_the_busiest_gets_the_turn() {
        check(&[(0, 1.0, 1), (1, 1.0, 5), (2, 1.0, 5)], None, Some(1));
        check(&[(0, 0.0, 1)], None, Some(0));
        check(&[], None, None);
    }

    #[test]
    fn the_holder_keeps_its_turn_for_five_seconds_at_least() {
        check(&[(0, 4.9, 1), (1, 4.9, 100)], Some(0), None);
        check(&[(0, 5.2, 1), (1, 4.9, 100)], Some(0), Some(1));
    }

    #[test]
    fn the_holder_keeps_its_turn_longer_the_more_it_says() {
        check(&[(0, 9.0, 900), (1, 9.0, 900)], Some(0), None);
        check(&[(0, 10.0, 900), (1, 9.0, 900)], Some(0), Some(1));
        check(&[(0, 1000.0, 900)], Some(0), None);
    }

    #[test]
    fn who_waited_for_ten_seconds_gets_the_turn() {
        check(&[(0, 9.0, 9000), (1, 10.1, 1)], Some(0), Some(1));
        check(&[(0, 9.0, 9000), (1, 10.1, 1)], None, Some(1));
    }

    #[test]
    fn the_first_instant_decides_nothing() {
        check(&[(0, 0.0, 1), (1, 0.0, 1)], Some(0), None);
    }
}
