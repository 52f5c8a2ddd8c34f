//! Messages of nftables: the table that translates addresses, and what other tables have to let pass.

use std::io;

use crate::netlink::{Message, Socket, attribute};
use crate::route::Subnet;

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const SUBSYSTEM: u8 = 10;
const NEW_TABLE: u16 = 0;
const GET_TABLE: u16 = 1;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const GET_CHAIN: u16 = 4;
const NEW_RULE: u16 = 6;
const GET_RULE: u16 = 7;
const DELETE_RULE: u16 = 8;

const INET: u8 = 2;
const UNSPECIFIED: u8 = 0;
/// The family of tables that are for IPv4 and IPv6.
const EVERY_IP: u8 = 1;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;

const TABLE_NAME: u16 = 1;
const TABLE_FLAGS: u16 = 2;
const TABLE_HANDLE: u16 = 4;
/// The kernel removes the table when the socket that made it is closed (Linux 5.12).
const TABLE_IS_OWNED: u32 = 0x2;

const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const FORWARD: (u32, i32) = (2, 0);
/// After the routing decision, where sources are translated.
const POSTROUTING: (u32, i32) = (4, 100);

const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_HANDLE: u16 = 3;
const RULE_EXPRESSIONS: u16 = 4;
const RULE_NOTES: u16 = 7;
const ELEMENT: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const DROP: u32 = 0;
const ACCEPT: u32 = 1;

/// The register that verdicts go to, and the one that values are compared in.
const VERDICT: u32 = 0;
const REGISTER: u32 = 1;
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
const META_INCOMING_NAME: u32 = 6;
const META_OUTGOING_NAME: u32 = 7;
const CONNECTION_STATE: u32 = 0;
/// The bits of a connection's state for packets of one that is known, and of one that belongs to a known one.
const ESTABLISHED_OR_RELATED: u32 = 2 | 4;
const NETWORK_HEADER: u32 = 1;
const SOURCE_ADDRESS_OFFSET: u32 = 12;
const INTERFACE_NAME_BYTES: usize = 16;
/// Says of a note that it is a comment; firewalls show it.
const NOTE_COMMENT: u8 = 0;
/// The table of a firewall that refuses what it does not know by a rule and not by a policy.
const FIREWALLD: &str = "firewalld";

/// A table as the kernel names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) name: String,
    /// Never given to another table.
    handle: Vec<u8>,
}

fn message(kind: u16, flags: u16, family: u8) -> Message {
    Message::new(u16::from(SUBSYSTEM) << 8 | kind, flags, &[family, 0, 0, 0])
}

fn commit(socket: &mut Socket, messages: &[Message]) -> io::Result<()> {
    let mark = |kind| Message::new(kind, 0, &[UNSPECIFIED, 0, 0, SUBSYSTEM]);
    socket.commit(&mark(BATCH_BEGIN), messages, &mark(BATCH_END))
}

/// Makes a table that lets a subnet behind a link reach others under the machine's own addresses, and nobody reach it.
///
/// The table goes when `socket` is closed, on kernels that can do that.
pub(crate) fn create(socket: &mut Socket, name: &str, link: &str, subnet: Subnet) -> io::Result<()> {
    let attempt = |flags| commit_table(name, link, subnet, flags);
    match commit(socket, &attempt(TABLE_IS_OWNED)) {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::OPNOTSUPP.raw_os_error()) => {
            commit(socket, &attempt(0))
        }
        other => other,
    }
}

/// Makes the same for a link of the same name, but as it is on kernels where it stays.
#[cfg(test)]
pub(crate) fn create_lasting(socket: &mut Socket, name: &str, subnet: Subnet) -> io::Result<()> {
    commit(socket, &commit_table(name, name, subnet, 0))
}

fn commit_table(name: &str, link: &str, subnet: Subnet, flags: u32) -> Vec<Message> {
    let table = message(NEW_TABLE, CREATE, INET).with_text(TABLE_NAME, name);
    let chain = |chain: &str, kind: &str, (hook, priority): (u32, i32)| {
        message(NEW_CHAIN, CREATE, INET)
            .with_text(CHAIN_TABLE, name)
            .with_text(CHAIN_NAME, chain)
            .with_nested(CHAIN_HOOK, |it| {
                it.with_number(HOOK_NUMBER, hook).with(HOOK_PRIORITY, &priority.to_be_bytes())
            })
            .with_text(CHAIN_TYPE, kind)
    };
    let rule = |chain: &str, expressions: &dyn Fn(Message) -> Message| {
        message(NEW_RULE, CREATE | APPEND, INET)
            .with_text(RULE_TABLE, name)
            .with_text(RULE_CHAIN, chain)
            .with_nested(RULE_EXPRESSIONS, expressions)
    };
    vec![
        table.with_number(TABLE_FLAGS, flags),
        chain("postrouting", "nat", POSTROUTING),
        rule("postrouting", &|it| masquerade(from_subnet(passes(it, META_OUTGOING_NAME, NOT_EQUAL, link), subnet))),
        chain("forward", "filter", FORWARD),
        rule("forward", &|it| decide(is_unknown(passes(it, META_OUTGOING_NAME, EQUAL, link)), DROP)),
    ]
}

/// Removes a table, and nothing that has come in its place.
pub(crate) fn remove(socket: &mut Socket, table: &Table) -> io::Result<()> {
    commit(socket, &[message(DELETE_TABLE, 0, INET).with(TABLE_HANDLE, &table.handle)])
}

/// Removes the table of a name.
pub(crate) fn remove_named(socket: &mut Socket, name: &str) -> io::Result<()> {
    commit(socket, &[message(DELETE_TABLE, 0, INET).with_text(TABLE_NAME, name)])
}

/// Returns all tables that are for IPv4 only.
pub(crate) fn tables(socket: &mut Socket) -> io::Result<Vec<Table>> {
    let found = socket.dump(&message(GET_TABLE, 0, INET))?;
    let named = |body: &Vec<u8>| {
        let rest = body.get(4..)?;
        Some(Table { name: text(attribute(rest, TABLE_NAME)?), handle: attribute(rest, TABLE_HANDLE)?.to_vec() })
    };
    Ok(found.iter().filter_map(named).collect())
}

// What other tables have to let pass: a packet that one of them drops is lost, whatever the others say.

/// A chain of somebody else's that would drop what sandboxes send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Barrier {
    family: u8,
    table: String,
    chain: String,
}

/// Returns the chains that drop forwarded packets unless a rule of theirs lets them pass, as those of Docker and of firewalls do.
pub(crate) fn barriers(socket: &mut Socket) -> io::Result<Vec<Barrier>> {
    let found = socket.dump(&message(GET_CHAIN, 0, UNSPECIFIED))?;
    Ok(found.iter().filter_map(|body| barrier(body)).collect())
}

fn barrier(body: &[u8]) -> Option<Barrier> {
    let (family, rest) = (*body.first()?, body.get(4..)?);
    let hook = attribute(attribute(rest, CHAIN_HOOK)?, HOOK_NUMBER)?;
    let table = text(attribute(rest, CHAIN_TABLE)?);
    let is_strict = table == FIREWALLD || attribute(rest, CHAIN_POLICY)? == DROP.to_be_bytes();
    let is_met = matches!(family, INET | EVERY_IP) && hook == FORWARD.0.to_be_bytes() && is_strict;
    is_met.then(|| Barrier { family, table, chain: text(attribute(rest, CHAIN_NAME).unwrap_or_default()) })
}

/// Has a chain let pass what comes from a link and what goes to it; who may send to it, our own table says.
///
/// Only such expressions are used as iptables knows too, for it refuses to list a table with others.
pub(crate) fn admit(socket: &mut Socket, barrier: &Barrier, link: &str) -> io::Result<()> {
    let rule = |key| {
        message(NEW_RULE, CREATE, barrier.family)
            .with_text(RULE_TABLE, &barrier.table)
            .with_text(RULE_CHAIN, &barrier.chain)
            .with_nested(RULE_EXPRESSIONS, |it| decide(passes(it, key, EQUAL, link), ACCEPT))
            .with(RULE_NOTES, &note(link))
    };
    commit(socket, &[rule(META_INCOMING_NAME), rule(META_OUTGOING_NAME)])
}

/// Removes the rules that [`admit`] has added to a chain for links that `is_gone` names.
pub(crate) fn dismiss(socket: &mut Socket, barrier: &Barrier, is_gone: impl Fn(&str) -> bool) -> io::Result<()> {
    let question = message(GET_RULE, 0, barrier.family)
        .with_text(RULE_TABLE, &barrier.table)
        .with_text(RULE_CHAIN, &barrier.chain);
    let found = socket.dump(&question)?;
    let handle = |body: &Vec<u8>| {
        let rest = body.get(4..)?;
        let [NOTE_COMMENT, _, link @ ..] = attribute(rest, RULE_NOTES)? else { return None };
        let handle = attribute(rest, RULE_HANDLE)?;
        is_gone(&text(link)).then(|| handle.to_vec())
    };
    let removals: Vec<Message> = found
        .iter()
        .filter_map(handle)
        .map(|handle| {
            message(DELETE_RULE, 0, barrier.family)
                .with_text(RULE_TABLE, &barrier.table)
                .with_text(RULE_CHAIN, &barrier.chain)
                .with(RULE_HANDLE, &handle)
        })
        .collect();
    if removals.is_empty() { Ok(()) } else { commit(socket, &removals) }
}

fn note(link: &str) -> Vec<u8> {
    let mut note = vec![NOTE_COMMENT, link.len() as u8 + 1];
    note.extend(link.bytes().chain([0]));
    note
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned()
}

// Expressions of rules.

fn expression(list: Message, name: &str, data: impl FnOnce(Message) -> Message) -> Message {
    list.with_nested(ELEMENT, |it| it.with_text(EXPRESSION_NAME, name).with_nested(EXPRESSION_DATA, data))
}

fn compare(list: Message, relation: u32, value: &[u8]) -> Message {
    expression(list, "cmp", |it| {
        it.with_number(1, REGISTER).with_number(2, relation).with_nested(3, |it| it.with(DATA_VALUE, value))
    })
}

fn passes(list: Message, key: u32, relation: u32, link: &str) -> Message {
    let mut name = [0; INTERFACE_NAME_BYTES];
    name[..link.len()].copy_from_slice(link.as_bytes());
    let list = expression(list, "meta", |it| it.with_number(1, REGISTER).with_number(2, key));
    compare(list, relation, &name)
}

fn from_subnet(list: Message, subnet: Subnet) -> Message {
    let bytes = usize::from(subnet.prefix / 8);
    let list = expression(list, "payload", |it| {
        it.with_number(1, REGISTER)
            .with_number(2, NETWORK_HEADER)
            .with_number(3, SOURCE_ADDRESS_OFFSET)
            .with_number(4, bytes as u32)
    });
    compare(list, EQUAL, &subnet.address.octets()[..bytes])
}

fn is_unknown(list: Message) -> Message {
    let list = expression(list, "ct", |it| it.with_number(1, REGISTER).with_number(2, CONNECTION_STATE));
    // Registers are in the byte order of the machine.
    let value = |number: u32| move |it: Message| it.with(DATA_VALUE, &number.to_ne_bytes());
    let list = expression(list, "bitwise", |it| {
        it.with_number(1, REGISTER)
            .with_number(2, REGISTER)
            .with_number(3, 4)
            .with_nested(4, value(ESTABLISHED_OR_RELATED))
            .with_nested(5, value(0))
    });
    compare(list, EQUAL, &0u32.to_ne_bytes())
}

fn masquerade(list: Message) -> Message {
    expression(list, "masq", |it| it)
}

fn decide(list: Message, verdict: u32) -> Message {
    expression(list, "immediate", |it| {
        it.with_number(1, VERDICT)
            .with_nested(2, |it| it.with_nested(DATA_VERDICT, |it| it.with_number(VERDICT_CODE, verdict)))
    })
}
