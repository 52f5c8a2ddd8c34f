//! A name server inside a sandbox that passes questions on to those of the machine, as they are.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::NetworkError;
use crate::namespace::NameServer;

/// How long one name server is waited for before the next is asked; clients ask again after 5 s.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(2000);
/// How many questions are open at once; further ones are dropped, and asked again by the client.
const QUESTIONS_MAX: usize = 128;
/// How many connections are open at once; further ones are closed.
const CONNECTIONS_MAX: usize = 16;
const MESSAGE_BYTES_MAX: usize = 65535;

/// A name server that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Forwarder {
    life: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Forwarder {
    /// Answers what comes to `server`, which is in a sandbox, with what `upstream` says, asked in the namespace of the calling thread.
    pub(crate) fn start(server: NameServer, upstream: Arc<[SocketAddr]>) -> Result<Self, NetworkError> {
        let start = || -> io::Result<Self> {
            let (end, life) = io::pipe()?;
            server.streams.set_nonblocking(true)?;
            server.datagrams.set_nonblocking(true)?;
            let thread =
                thread::Builder::new().name("names".to_owned()).spawn(move || serve(&server, &upstream, &end))?;
            Ok(Self { life: Some(life), thread: Some(thread) })
        };
        start().map_err(NetworkError::step("start a name server for a sandbox"))
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        drop(self.life.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

/// A question that waits for its answer.
struct Question {
    client: SocketAddr,
    message: Vec<u8>,
    upstream: UdpSocket,
    /// The place of the name server that is asked.
    place: usize,
    deadline: Instant,
}

impl Question {
    /// Asks the first name server from `place` on that can be asked.
    fn ask(client: SocketAddr, message: Vec<u8>, servers: &[SocketAddr], place: usize) -> Option<Self> {
        for (place, server) in servers.iter().enumerate().skip(place) {
            if let Ok(upstream) = send(server, &message) {
                let deadline = Instant::now() + ANSWER_TIMEOUT;
                return Some(Self { client, message, upstream, place, deadline });
            }
        }
        None
    }

    fn ask_next(self, servers: &[SocketAddr]) -> Option<Self> {
        Self::ask(self.client, self.message, servers, self.place + 1)
    }
}

fn send(server: &SocketAddr, message: &[u8]) -> io::Result<UdpSocket> {
    let any: SocketAddr = if server.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
    // Another port for each question, so that answers cannot be guessed.
    let socket = UdpSocket::bind(any)?;
    socket.set_nonblocking(true)?;
    socket.connect(server)?;
    socket.send(message)?;
    Ok(socket)
}

fn serve(server: &NameServer, servers: &Arc<[SocketAddr]>, end: &PipeReader) {
    let mut questions: Vec<Question> = Vec::new();
    let connections = Arc::new(AtomicUsize::new(0));
    let mut buffer = vec![0; MESSAGE_BYTES_MAX];
    loop {
        let mut polled = vec![
            PollFd::new(end, PollFlags::IN),
            PollFd::new(&server.datagrams, PollFlags::IN),
            PollFd::new(&server.streams, PollFlags::IN),
        ];
        polled.extend(questions.iter().map(|question| PollFd::new(&question.upstream, PollFlags::IN)));
        let next = questions.iter().map(|question| question.deadline).min();
        let wait =
            next.and_then(|deadline| Timespec::try_from(deadline.saturating_duration_since(Instant::now())).ok());
        match poll(&mut polled, wait.as_ref()) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return,
            Ok(_) => {}
        }
        let ready: Vec<bool> = polled.iter().map(|polled| !polled.revents().is_empty()).collect();
        if ready[0] {
            return;
        }
        questions = answered(questions, &ready[3..], server, servers, &mut buffer);
        if ready[1] {
            accept_questions(server, servers, &mut questions, &mut buffer);
        }
        if ready[2] {
            accept_connection(&server.streams, servers, &connections);
        }
    }
}

/// Passes answers on, has the next name server asked where one does not answer, and returns the questions that are still open.
fn answered(
    questions: Vec<Question>,
    ready: &[bool],
    server: &NameServer,
    servers: &[SocketAddr],
    buffer: &mut [u8],
) -> Vec<Question> {
    let now = Instant::now();
    let step = |(question, is_ready): (Question, &bool)| {
        if !is_ready {
            return if question.deadline <= now { question.ask_next(servers) } else { Some(question) };
        }
        match question.upstream.recv(buffer) {
            Ok(count) => {
                // If the client is gone, nobody misses the answer.
                let _ = server.datagrams.send_to(&buffer[..count], question.client);
                None
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Some(question),
            Err(_) => question.ask_next(servers),
        }
    };
    questions.into_iter().zip(ready).filter_map(step).collect()
}

fn accept_questions(server: &NameServer, servers: &[SocketAddr], questions: &mut Vec<Question>, buffer: &mut [u8]) {
    while let Ok((count, client)) = server.datagrams.recv_from(buffer) {
        if questions.len() < QUESTIONS_MAX {
            questions.extend(Question::ask(client, buffer[..count].to_vec(), servers, 0));
        }
    }
}

/// Answers a connection on a thread of its own, which ends with the connection or when the name servers take too long.
fn accept_connection(streams: &TcpListener, servers: &Arc<[SocketAddr]>, connections: &Arc<AtomicUsize>) {
    let Ok((client, _)) = streams.accept() else { return };
    if connections.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
        connections.fetch_sub(1, Ordering::Relaxed);
        return;
    }
    let (servers, open) = (servers.clone(), connections.clone());
    let spawned = thread::Builder::new().name("names".to_owned()).spawn(move || {
        // The client sees that the connection ends.
        let _ = converse(client, &servers);
        open.fetch_sub(1, Ordering::Relaxed);
    });
    if spawned.is_err() {
        connections.fetch_sub(1, Ordering::Relaxed);
    }
}

fn converse(mut client: TcpStream, servers: &[SocketAddr]) -> io::Result<()> {
    client.set_nonblocking(false)?;
    client.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    client.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    while let Ok(question) = read_message(&mut client) {
        let mut answers = servers.iter().filter_map(|server| ask_by_stream(server, &question).ok());
        let answer = answers.next().ok_or(io::ErrorKind::TimedOut)?;
        client.write_all(&answer)?;
    }
    Ok(())
}

fn ask_by_stream(server: &SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut upstream = TcpStream::connect_timeout(server, ANSWER_TIMEOUT)?;
    upstream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    upstream.write_all(question)?;
    read_message(&mut upstream)
}

/// Reads a message with the length that goes before it (RFC 1035, section 4.2.2).
fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = length.to_vec();
    message.resize(2 + usize::from(u16::from_be_bytes(length)), 0);
    stream.read_exact(&mut message[2..])?;
    Ok(message)
}
