//! Messages of nftables: the table that translates addresses.

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
const NEW_RULE: u16 = 6;

const INET: u8 = 2;
const UNSPECIFIED: u8 = 0;
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
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const FORWARD: (u32, i32) = (2, 0);
/// After the routing decision, where sources are translated.
const POSTROUTING: (u32, i32) = (4, 100);

const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const ELEMENT: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const DROP: u32 = 0;

/// The register that verdicts go to, and the one that values are compared in.
const VERDICT: u32 = 0;
const REGISTER: u32 = 1;
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
const META_OUTGOING_NAME: u32 = 7;
const CONNECTION_STATE: u32 = 0;
/// The bits of a connection's state for packets of one that is known, and of one that belongs to a known one.
const ESTABLISHED_OR_RELATED: u32 = 2 | 4;
const NETWORK_HEADER: u32 = 1;
const SOURCE_ADDRESS_OFFSET: u32 = 12;
const INTERFACE_NAME_BYTES: usize = 16;

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
        rule("postrouting", &|it| masquerade(from_subnet(goes_out(it, NOT_EQUAL, link), subnet))),
        chain("forward", "filter", FORWARD),
        rule("forward", &|it| drop_packet(is_unknown(goes_out(it, EQUAL, link)))),
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
        let name = attribute(rest, TABLE_NAME)?;
        let name = String::from_utf8_lossy(name.strip_suffix(&[0]).unwrap_or(name)).into_owned();
        Some(Table { name, handle: attribute(rest, TABLE_HANDLE)?.to_vec() })
    };
    Ok(found.iter().filter_map(named).collect())
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

fn goes_out(list: Message, relation: u32, link: &str) -> Message {
    let mut name = [0; INTERFACE_NAME_BYTES];
    name[..link.len()].copy_from_slice(link.as_bytes());
    let list = expression(list, "meta", |it| it.with_number(1, REGISTER).with_number(2, META_OUTGOING_NAME));
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

fn drop_packet(list: Message) -> Message {
    expression(list, "immediate", |it| {
        it.with_number(1, VERDICT)
            .with_nested(2, |it| it.with_nested(DATA_VERDICT, |it| it.with_number(VERDICT_CODE, DROP)))
    })
}
