//! Failing on request.

/// How a request fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not fail; what is asked for next does.
    Pass,
    /// It fails in all these ways at once.
    All(Vec<Fault>),
    /// It is answered with this status.
    Status(u16),
    /// It is answered with this status and `Retry-After` in seconds.
    StatusRetryAfter(u16, u64),
    /// It is answered with this status and this body.
    Answer(u16, String),
    /// The connection is closed without an answer.
    Close,
    /// There is no answer, and the connection stays open.
    Silence,
    /// The connection is closed after so many bytes of the body.
    CutAfter(usize),
    /// Nothing more comes after so many bytes of the body.
    StallAfter(usize),
    /// The bytes are not those that were asked for; their number is right.
    Corrupt,
    /// More bytes come than were asked for, and their number is not announced.
    TooLong,
    /// The body's length is not announced.
    Chunked,
    /// The request's header `Range` is not looked at.
    IgnoreRange,
    /// This header of the answer has this value.
    Header(&'static str, String),
    /// This header of the answer is missing.
    WithoutHeader(&'static str),
    /// The client is sent to the same path at this origin: `http://127.0.0.1:40124`.
    Redirect(String),
}

/// The faults that are still to happen.
#[derive(Default)]
pub(super) struct Faults(Vec<(String, usize, Fault)>);

impl Faults {
    pub(super) fn add(&mut self, request: &str, times: usize, fault: Fault) {
        self.0.push((request.to_owned(), times, fault));
    }

    /// Takes the faults of the next request that has this line: of those that were asked for first and are not used up.
    pub(super) fn take(&mut self, request: &str) -> Vec<Fault> {
        let mut left = self.0.iter_mut().filter(|(_, times, _)| *times > 0);
        match left.find(|(prefix, _, _)| request.starts_with(prefix.as_str())) {
            None => Vec::new(),
            Some((_, times, fault)) => {
                *times -= 1;
                match fault {
                    Fault::All(faults) => faults.clone(),
                    one => vec![one.clone()],
                }
            }
        }
    }
}
