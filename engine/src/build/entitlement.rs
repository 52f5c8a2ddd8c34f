//! What steps may do only if the user allows it.

use std::fmt;
use std::str::FromStr;

use frontend::plan::Plan;
use llb::{NetworkMode, Op, SecurityMode};

use super::definition::Definition;
use super::request::BuildRequest;
use crate::Error;

const NETWORK_HOST: &str = "network.host";
const SECURITY_INSECURE: &str = "security.insecure";
const DEVICE: &str = "device";

/// Something that steps may do only if the user allows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entitlement {
    /// To see the network of this machine.
    NetworkHost,
    /// To have all rights that Kiln has.
    SecurityInsecure,
    /// To use devices: one, by its name, or all.
    Device(Option<String>),
}

/// A name that no entitlement has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid entitlement: {name} (expected {NETWORK_HOST}, {SECURITY_INSECURE} or {DEVICE}[=NAME])")]
pub struct EntitlementParseError {
    /// What was to be parsed.
    pub name: String,
}

impl FromStr for Entitlement {
    type Err = EntitlementParseError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name.split_once('=') {
            None if name == NETWORK_HOST => Ok(Self::NetworkHost),
            None if name == SECURITY_INSECURE => Ok(Self::SecurityInsecure),
            None if name == DEVICE => Ok(Self::Device(None)),
            Some((DEVICE, device)) if !device.is_empty() => Ok(Self::Device(Some(device.to_owned()))),
            _ => Err(EntitlementParseError { name: name.to_owned() }),
        }
    }
}

impl fmt::Display for Entitlement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NetworkHost => f.write_str(NETWORK_HOST),
            Self::SecurityInsecure => f.write_str(SECURITY_INSECURE),
            Self::Device(None) => f.write_str(DEVICE),
            Self::Device(Some(device)) => write!(f, "{DEVICE}={device}"),
        }
    }
}

/// Fails if a step does something that the request does not allow.
pub(super) fn check(plan: &Plan, request: &BuildRequest, definition: &Definition) -> Result<(), Error> {
    for (_, vertex) in plan.graph.vertices() {
        let Op::Exec(exec) = &vertex.op else { continue };
        let mut needed = Vec::new();
        // Who asks for this network for all steps allows it.
        if exec.network == NetworkMode::Host && request.network != NetworkMode::Host {
            needed.push(Entitlement::NetworkHost);
        }
        if exec.security == SecurityMode::Insecure {
            needed.push(Entitlement::SecurityInsecure);
        }
        needed.extend(exec.devices.iter().map(|(name, _)| Entitlement::Device(Some(name.clone()))));
        let is_allowed = |needed: &Entitlement| {
            let all_devices =
                matches!(needed, Entitlement::Device(_)) && request.allowed.contains(&Entitlement::Device(None));
            all_devices || request.allowed.contains(needed)
        };
        if let Some(entitlement) = needed.into_iter().find(|needed| !is_allowed(needed)) {
            let excerpt = vertex.hints.lines.and_then(|lines| definition.excerpt_of(lines)).map(Box::new);
            return Err(Error::NotAllowed { entitlement, excerpt });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let parsed = text.parse::<Entitlement>();
        assert_eq!(parsed.map(|it| it.to_string()).unwrap_or_else(|error| error.to_string()), expected);
    }

    #[test]
    fn entitlements_have_the_names_that_docker_gives_them() {
        for name in ["network.host", "security.insecure", "device", "device=vendor.com/class=one"] {
            check(name, name);
        }
        let expected = "(expected network.host, security.insecure or device[=NAME])";
        check("network", &format!("invalid entitlement: network {expected}"));
        check("device=", &format!("invalid entitlement: device= {expected}"));
    }
}
