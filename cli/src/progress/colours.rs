//! The colours of the steps on a terminal, and BUILDKIT_COLORS, which changes them.

use std::fmt::Write;

/// The colours by their names; each has a light form.
const NAMES: [&str; 8] = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];

/// What a terminal is to be told before a text so that it appears in a colour; nothing where there is no colour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Colours {
    /// Of steps that have ended well.
    pub(super) run: String,
    /// Of steps that were cancelled or not run, and of warnings within the tree.
    pub(super) cancel: String,
    /// Of warnings at the end.
    pub(super) warning: String,
    /// Of steps that failed.
    pub(super) error: String,
    /// Of the output of running steps.
    pub(super) output: String,
}

impl Colours {
    /// No colours at all.
    pub(super) const NONE: Self = Self {
        run: String::new(),
        cancel: String::new(),
        warning: String::new(),
        error: String::new(),
        output: String::new(),
    };
}

impl Default for Colours {
    fn default() -> Self {
        let [run, yellow, red, faint] = ["34", "33", "31", "2"].map(select);
        Self { run, cancel: yellow.clone(), warning: yellow, error: red, output: faint }
    }
}

fn select(parameters: impl std::fmt::Display) -> String {
    format!("\u{1b}[{parameters}m")
}

/// Returns `text` in a colour.
pub(super) fn paint(text: &str, colour: &str) -> String {
    if colour.is_empty() { text.to_owned() } else { format!("{colour}{text}\u{1b}[0m") }
}

/// Returns the colours that a text like `run=green:error=light-red:warning=1,2,3` asks for. What is wrong in it is ignored, and a sentence about it is added to
/// `complaints`.
pub(super) fn parse_colours(text: &str, complaints: &mut Vec<String>) -> Colours {
    let mut colours = Colours::default();
    for entry in text.split(':').filter(|entry| !entry.is_empty()) {
        if let Err(problem) = set(&mut colours, entry) {
            let mut complaint = format!("cannot use `{entry}` in BUILDKIT_COLORS: ");
            write!(complaint, "{problem}").expect("a string takes everything");
            complaints.push(complaint);
        }
    }
    colours
}

fn set(colours: &mut Colours, entry: &str) -> Result<(), String> {
    let (what, colour) = entry.split_once('=').ok_or("expected `what=colour`")?;
    let place = match what.to_lowercase().as_str() {
        "run" => &mut colours.run,
        "cancel" => &mut colours.cancel,
        "warning" => &mut colours.warning,
        "error" => &mut colours.error,
        _ => return Err("expected run, cancel, warning or error before the `=`".to_owned()),
    };
    *place = parse_colour(&colour.to_lowercase())?;
    Ok(())
}

fn parse_colour(colour: &str) -> Result<String, String> {
    if colour == "default" {
        return Ok(select(39));
    }
    let (name, base) = match colour.strip_prefix("light-") {
        Some(name) => (name, 90),
        None => (colour, 30),
    };
    if let Some(at) = NAMES.iter().position(|known| *known == name) {
        return Ok(select(base + at));
    }
    let parts: Result<Vec<u8>, _> = colour.split(',').map(str::parse).collect();
    match parts.as_deref() {
        // The cube of 6 × 6 × 6 colours, which every terminal with 256 colours has.
        Ok([red, green, blue]) => {
            let [red, green, blue] = [red, green, blue].map(|part| u16::from(part / 43));
            Ok(select(format_args!("38;5;{}", 16 + 36 * red + 6 * green + blue)))
        }
        _ => Err("expected the name of a colour, or three numbers from 0 to 255 with commas between them".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<(&str, &str), &str>) {
        let mut complaints = Vec::new();
        let colours = parse_colours(text, &mut complaints);
        match expected {
            Ok((run, error)) => {
                assert_eq!((colours.run.as_str(), colours.error.as_str()), (run, error));
                assert_eq!(complaints, [""; 0]);
            }
            Err(problem) => {
                assert_eq!(colours, Colours::default());
                assert_eq!(complaints, [format!("cannot use `{text}` in BUILDKIT_COLORS: {problem}")]);
            }
        }
    }

    #[test]
    fn colours_have_names_or_numbers() {
        check("", Ok(("\u{1b}[34m", "\u{1b}[31m")));
        check("run=green:ERROR=Light-Red", Ok(("\u{1b}[32m", "\u{1b}[91m")));
        check("run=default:error=255,20,147", Ok(("\u{1b}[39m", "\u{1b}[38;5;199m")));
    }

    #[test]
    fn what_names_no_colour_is_ignored_with_a_reason() {
        check("run", Err("expected `what=colour`"));
        check("walk=red", Err("expected run, cancel, warning or error before the `=`"));
        let expected = "expected the name of a colour, or three numbers from 0 to 255 with commas between them";
        check("run=pink", Err(expected));
        check("run=1,2", Err(expected));
        check("run=1,2,256", Err(expected));
    }
}
