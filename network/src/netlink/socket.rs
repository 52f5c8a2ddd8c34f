//! A netlink socket, bound to the network namespace in which it was opened.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with};

use super::message::{HEADER_BYTES, Message};

const REQUEST: u16 = 0x1;
const ACKNOWLEDGE: u16 = 0x4;
const DUMP: u16 = 0x300;
const KIND_ERROR: u16 = 2;
const KIND_DONE: u16 = 3;
/// As much as the kernel puts into one datagram.
const ANSWER_BYTES: usize = 64 << 10;
/// `struct sockaddr_nl` of the kernel.
const KERNEL: SocketAddrNetlink = SocketAddrNetlink::new(0, 0);

/// What is spoken about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Family {
    /// Links, addresses, routes.
    Route,
    /// Rules.
    Netfilter,
}

/// A netlink socket.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

/// A message of the kernel.
struct Answer<'a> {
    kind: u16,
    sequence: u32,
    body: &'a [u8],
}

impl Socket {
    /// Opens a socket in the network namespace of the calling thread.
    pub(crate) fn open(family: Family) -> io::Result<Self> {
        let protocol = match family {
            // It is 0, which stands for the default.
            Family::Route => None,
            Family::Netfilter => Some(netlink::NETFILTER),
        };
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        bind(&fd, &KERNEL)?;
        Ok(Self { fd, sequence: 0 })
    }

    /// Has the kernel do all of `messages`, in order, and returns the first error.
    ///
    /// What comes before a message that fails has been done.
    pub(crate) fn execute(&mut self, messages: &[Message]) -> io::Result<()> {
        let first = self.sequence + 1;
        let mut bytes = Vec::new();
        for message in messages {
            self.sequence += 1;
            message.write(self.sequence, REQUEST | ACKNOWLEDGE, &mut bytes);
        }
        self.send(&bytes)?;
        self.acknowledged(first, messages.len())
    }

    /// Has the kernel do all of `messages` or nothing, between `begin` and `end`.
    pub(crate) fn commit(&mut self, begin: &Message, messages: &[Message], end: &Message) -> io::Result<()> {
        let first = self.sequence + 1;
        let mut bytes = Vec::new();
        begin.write(first, REQUEST, &mut bytes);
        for (place, message) in messages.iter().enumerate() {
            message.write(first + 1 + place as u32, REQUEST | ACKNOWLEDGE, &mut bytes);
        }
        self.sequence = first + 1 + messages.len() as u32;
        end.write(self.sequence, REQUEST, &mut bytes);
        self.send(&bytes)?;
        self.acknowledged(first, messages.len())
    }

    /// Returns the bodies of all that the kernel has to say to a question.
    pub(crate) fn dump(&mut self, question: &Message) -> io::Result<Vec<Vec<u8>>> {
        self.sequence += 1;
        let mut bytes = Vec::new();
        question.write(self.sequence, REQUEST | DUMP, &mut bytes);
        self.send(&bytes)?;
        let (mut found, mut buffer) = (Vec::new(), vec![0; ANSWER_BYTES]);
        loop {
            for answer in answers(self.receive(&mut buffer)?) {
                match answer.kind {
                    _ if answer.sequence != self.sequence => {}
                    KIND_DONE => return Ok(found),
                    KIND_ERROR => return outcome(answer.body).map(|()| found),
                    _ => found.push(answer.body.to_vec()),
                }
            }
        }
    }

    /// Waits until `count` messages from number `first` on have been answered.
    fn acknowledged(&mut self, first: u32, count: usize) -> io::Result<()> {
        let (mut missing, mut buffer) = (count, vec![0; ANSWER_BYTES]);
        while missing > 0 {
            for answer in answers(self.receive(&mut buffer)?) {
                // What is older belongs to a request that was given up.
                if answer.kind == KIND_ERROR && answer.sequence >= first {
                    outcome(answer.body)?;
                    missing = missing.saturating_sub(1);
                }
            }
        }
        Ok(())
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        sendto(&self.fd, bytes, SendFlags::empty(), &KERNEL)?;
        Ok(())
    }

    fn receive<'a>(&self, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
        let (count, _) = rustix::io::retry_on_intr(|| recv(&self.fd, &mut *buffer, RecvFlags::empty()))?;
        Ok(&buffer[..count])
    }
}

/// Returns what stands in the body of an error; number 0 is success.
fn outcome(body: &[u8]) -> io::Result<()> {
    let number = body.get(..4).and_then(|number| number.try_into().ok()).map(i32::from_ne_bytes);
    match number {
        Some(0) => Ok(()),
        Some(number) => Err(io::Error::from_raw_os_error(-number)),
        None => Err(Errno::BADMSG.into()),
    }
}

fn answers(mut bytes: &[u8]) -> impl Iterator<Item = Answer<'_>> {
    std::iter::from_fn(move || {
        let number = |at: usize| bytes.get(at..at + 4).and_then(|it| it.try_into().ok()).map(u32::from_ne_bytes);
        let length = number(0)? as usize;
        let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
        let sequence = number(8)?;
        let body = bytes.get(HEADER_BYTES..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Answer { kind, sequence, body })
    })
}
