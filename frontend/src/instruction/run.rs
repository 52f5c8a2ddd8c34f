//! `RUN` and its flags.

use crate::ast::{NetworkFlag, Run, Word};
use crate::go;
use crate::suggest;

use super::flags::{FlagKind, Flags};
use super::{InstructionError, Refusal, Written, command_line, csv_fields};

const FLAGS: [(&str, FlagKind); 4] =
    [("mount", FlagKind::Many), ("network", FlagKind::One), ("security", FlagKind::One), ("device", FlagKind::Many)];

pub(crate) fn parse_run(written: &Written<'_>) -> Result<Run, Refusal> {
    let arguments = written.arguments();
    let command = command_line(&arguments.text, arguments.span)?;
    let mut flags = Flags::parse(&written.head.flags, &FLAGS, written)?;
    let mounts = flags.take_all("mount");
    mounts.iter().try_for_each(check_mount)?;
    Ok(Run {
        command,
        heredocs: written.heredocs.clone(),
        mounts,
        network: flags.take("network").map(parse_network).transpose()?,
        insecure: flags.take("security").map(parse_security).transpose()?.unwrap_or(false),
        devices: flags.take_all("device").iter().map(parse_device).collect::<Result<_, _>>()?,
    })
}

/// Checks what can be known of a mount before its variables are.
fn check_mount(mount: &Word) -> Result<(), Refusal> {
    let fields = csv_fields(&mount.text)
        .map_err(|source| Refusal::at(InstructionError::Csv { what: "mounts", source }, mount.span))?;
    for field in fields {
        let (key, value) = field.split_once('=').unwrap_or((&field, ""));
        let has_variable = value.trim_end_matches('$').contains('$');
        if key.eq_ignore_ascii_case("from") && has_variable {
            return Err(Refusal::at(InstructionError::MountFromVariable, mount.span));
        }
    }
    Ok(())
}

fn parse_network(mode: Word) -> Result<NetworkFlag, Refusal> {
    match mode.text.as_str() {
        "default" => Ok(NetworkFlag::Default),
        "none" => Ok(NetworkFlag::None),
        "host" => Ok(NetworkFlag::Host),
        other => Err(Refusal::at(InstructionError::Network { mode: go::quote(other) }, mode.span)),
    }
}

fn parse_security(mode: Word) -> Result<bool, Refusal> {
    match mode.text.as_str() {
        "sandbox" => Ok(false),
        "insecure" => Ok(true),
        other => Err(Refusal::at(InstructionError::Security { mode: go::quote(other) }, mode.span)),
    }
}

/// `name[,required[=bool]]`, where the name may also be given as `name=…`.
fn parse_device(device: &Word) -> Result<(String, bool), Refusal> {
    let refuse = |error| Refusal::at(error, device.span);
    let fields =
        csv_fields(&device.text).map_err(|source| refuse(InstructionError::Csv { what: "devices", source }))?;
    let (mut name, mut required) = (String::new(), false);
    for field in fields {
        let (key, value) = field.split_once('=').map_or((&*field, None), |(key, value)| (key, Some(value)));
        match (key.to_lowercase().as_str(), value) {
            ("required", None) => required = true,
            ("required", Some(value)) => {
                let wrong =
                    || refuse(InstructionError::DeviceValue { key: "required".to_owned(), value: value.to_owned() });
                required = go::parse_bool(value).ok_or_else(wrong)?;
            }
            ("name", Some(value)) if name.is_empty() => name = value.to_owned(),
            ("name", Some(_)) => return Err(refuse(InstructionError::DeviceName { name })),
            // CDI names have `=` in them: `vendor.com/class=name`.
            _ if name.is_empty() => name = field.into_owned(),
            (_, None) => return Err(refuse(InstructionError::DeviceField { field: field.into_owned() })),
            (key, Some(_)) => {
                let suggestion = suggest::did_you_mean(key, ["name", "required"]);
                return Err(refuse(InstructionError::DeviceKey {
                    key: key.to_owned(),
                    field: field.to_string(),
                    suggestion,
                }));
            }
        }
    }
    Ok((name, required))
}
