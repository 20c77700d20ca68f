//! How a command ends: a sentence on standard error and an exit status.

use crate::admin::agreements::FileFault;
use crate::admin::bench::BenchFault;
use crate::admin::joining::JoinFault;
use crate::admin::provision::ProvisionFault;
use crate::admin::sandbox::SandboxFault;
use crate::bus::BusFault;
use crate::bus::manage::ManageFault;
use crate::config::{ConfigFault, SecretFault};
use crate::connect::{ConnectFault, DoorFault};
use crate::demo::DemoFault;
use crate::fault::{Exit, ListenFault};
use crate::hub::HubFault;
use crate::journal::tile::TileFault;
use crate::keys::KeyFault;
use crate::members::DirectoryFault;
use crate::ops::broker::BrokerFault;
use crate::ops::client::CallFault;
use crate::ops::node::NodeFault;
use crate::ops::socket::SocketFault;
use crate::store::StoreFault;
use std::process::ExitCode;

/// The command printed what there is to say, and its answer is no: a failed
/// case, an event that isn't known. It ends with status 1 and no more words.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the answer is no")]
pub struct Printed;

/// Prints why a command failed, if it did, and gives its exit status.
pub(super) fn status(done: anyhow::Result<()>) -> ExitCode {
    let Err(fault) = done else { return ExitCode::SUCCESS };
    if !fault.is::<Printed>() {
        // Standard error is gone: there is nobody to tell.
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("pirogue: {}\n", super::render::plain(&sentence(&fault))),
        );
    }
    ExitCode::from(exit(&fault) as u8)
}

/// The fault and what caused it, in one line. A fault that already says its
/// cause doesn't say it twice.
fn sentence(fault: &anyhow::Error) -> String {
    let mut sentence = String::new();
    for cause in fault.chain() {
        let cause = cause.to_string();
        if sentence.is_empty() {
            sentence = cause;
        } else if !sentence.contains(&cause) {
            sentence = format!("{sentence}: {cause}");
        }
    }
    sentence
}

/// The exit status that a fault means.
fn exit(fault: &anyhow::Error) -> Exit {
    fault.chain().find_map(of_cause).unwrap_or(Exit::Failed)
}

/// The exit status that one cause means, if it says. Faults that only pass on
/// another's words hide it from the chain: they are looked into.
fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Exit> {
    let file =
        || matches!(cause.downcast_ref(), Some(FileFault::Read { .. })) || cause.is::<DirectoryFault>();
    if cause.is::<ConfigFault>() || cause.is::<SecretFault>() || cause.is::<KeyFault>() || file() {
        Some(Exit::Usage)
    } else if cause.is::<CallFault>() || cause.is::<ListenFault>() || cause.is::<SocketFault>() {
        Some(Exit::Unreachable)
    } else if cause.is::<StoreFault>() {
        Some(Exit::Store)
    } else if let Some(fault) = cause.downcast_ref::<TileFault>() {
        matches!(fault, TileFault::Unreachable { .. }).then_some(Exit::Unreachable)
    } else if let Some(fault) = cause.downcast_ref::<DemoFault>() {
        of_demo(fault)
    } else if let Some(fault) = cause.downcast_ref::<BenchFault>() {
        of_bench(fault)
    } else if let Some(fault) = cause.downcast_ref::<NodeFault>() {
        of_node(fault)
    } else if let Some(fault) = cause.downcast_ref::<HubFault>() {
        of_hub(fault)
    } else if let Some(fault) = cause.downcast_ref::<BrokerFault>() {
        of_broker(fault)
    } else if let Some(fault) = cause.downcast_ref::<SandboxFault>() {
        match fault {
            SandboxFault::Bus(fault) => of_bus(fault),
            SandboxFault::Manage(fault) => of_manage(fault),
        }
    } else if let Some(fault) = cause.downcast_ref::<ManageFault>() {
        of_manage(fault)
    } else if let Some(fault) = cause.downcast_ref::<ProvisionFault>() {
        of_provision(fault)
    } else if let Some(fault) = cause.downcast_ref::<JoinFault>() {
        of_joining(fault)
    } else {
        cause.downcast_ref::<ConnectFault>().and_then(of_connect)
    }
}

fn of_manage(fault: &ManageFault) -> Option<Exit> {
    match fault {
        ManageFault::Unreachable { .. } => Some(Exit::Unreachable),
        ManageFault::Address(_) | ManageFault::Refused { .. } => Some(Exit::Usage),
        _ => None,
    }
}

fn of_provision(fault: &ProvisionFault) -> Option<Exit> {
    match fault {
        ProvisionFault::Bus(fault) => of_bus(fault),
        ProvisionFault::Manage(fault) => of_manage(fault),
        // Files and settings of the operator's.
        ProvisionFault::Embedded
        | ProvisionFault::Administrator(_)
        | ProvisionFault::Secret(_)
        | ProvisionFault::Directory(_)
        | ProvisionFault::Credential(_) => Some(Exit::Usage),
    }
}

/// That a member isn't invited or admitted is an answer, and no.
fn of_joining(fault: &JoinFault) -> Option<Exit> {
    match fault {
        JoinFault::Hub(fault) => of_hub(fault),
        JoinFault::Config(_)
        | JoinFault::Key(_)
        | JoinFault::Directory(_)
        | JoinFault::Seal(_)
        | JoinFault::Secret(_)
        | JoinFault::NoAuthority
        | JoinFault::NotACertificate(_) => Some(Exit::Usage),
        _ => None,
    }
}

fn of_demo(fault: &DemoFault) -> Option<Exit> {
    match fault {
        DemoFault::Boost(_) => Some(Exit::Unreachable),
        DemoFault::Node(fault) => of_node(fault),
        DemoFault::Hub(fault) => of_hub(fault),
        DemoFault::Bus(fault) => of_bus(fault),
        DemoFault::Connect(fault) => of_connect(fault),
        DemoFault::Connector(_) | DemoFault::Unusable(_) => Some(Exit::Usage),
        DemoFault::Broker(fault) => of_broker(fault),
        DemoFault::Own(_) | DemoFault::Stuck { .. } => None,
    }
}

fn of_bench(fault: &BenchFault) -> Option<Exit> {
    match fault {
        BenchFault::Address(_) | BenchFault::Administrator => Some(Exit::Usage),
        BenchFault::Management(fault) => of_manage(fault),
        BenchFault::Bus(fault) => of_bus(fault),
        _ => None,
    }
}

fn of_node(fault: &NodeFault) -> Option<Exit> {
    match fault {
        NodeFault::Store(_) => Some(Exit::Store),
        NodeFault::Bus(fault) => of_bus(fault),
        NodeFault::Broker(fault) => of_broker(fault),
        NodeFault::Hub(fault) => of_hub(fault),
        NodeFault::Socket(_) | NodeFault::Http(_) => Some(Exit::Unreachable),
        NodeFault::OtherBus { .. } | NodeFault::Readers(_) => Some(Exit::Usage),
        NodeFault::Connect { fault, .. } => of_connect(fault),
    }
}

fn of_bus(fault: &BusFault) -> Option<Exit> {
    match fault {
        BusFault::Store(_) => Some(Exit::Store),
        BusFault::Unreachable(_) => Some(Exit::Unreachable),
        // What an operator sets: the address, the user, what was provisioned.
        BusFault::Address(_) | BusFault::Refused(_) | BusFault::NoQueue(_) | BusFault::NoExchange(_) => {
            Some(Exit::Usage)
        }
        BusFault::Unpublishable(_) | BusFault::UnknownTag(_) => None,
    }
}

fn of_broker(fault: &BrokerFault) -> Option<Exit> {
    match fault {
        BrokerFault::Secret(_) => Some(Exit::Usage),
        BrokerFault::Bus(fault) => of_bus(fault),
        BrokerFault::Management(fault) => of_manage(fault),
    }
}

fn of_hub(fault: &HubFault) -> Option<Exit> {
    match fault {
        HubFault::Store(_) | HubFault::Damaged(_) | HubFault::Journal(_) => Some(Exit::Store),
        HubFault::Bus(fault) => of_bus(fault),
        // Files that the operator puts there.
        HubFault::Key(_)
        | HubFault::Seal(_)
        | HubFault::Secret(_)
        | HubFault::Directory(_)
        | HubFault::Agreement(_)
        | HubFault::Schema(_)
        | HubFault::Master(_)
        | HubFault::Erasure(_)
        | HubFault::OwnKey { .. }
        | HubFault::Witness { .. }
        | HubFault::DeliveryKeyChanged => Some(Exit::Usage),
        HubFault::Stopped => None,
    }
}

fn of_connect(fault: &ConnectFault) -> Option<Exit> {
    match fault {
        ConnectFault::Store(_) | ConnectFault::Unreadable(_) => Some(Exit::Store),
        ConnectFault::Bus(fault) => of_bus(fault),
        // Files that the member puts there.
        ConnectFault::Key(_)
        | ConnectFault::Secret(_)
        | ConnectFault::Seal(_)
        | ConnectFault::Directory(_)
        | ConnectFault::Schema(_)
        | ConnectFault::Connector(_)
        | ConnectFault::Mapping(_)
        | ConnectFault::HubKeys { .. }
        | ConnectFault::Map { .. }
        | ConnectFault::UnknownSchema { .. } => Some(Exit::Usage),
        ConnectFault::Door(DoorFault::Closed(_) | DoorFault::Twice { .. }) => Some(Exit::Usage),
        ConnectFault::Door(_) => Some(Exit::Unreachable),
        ConnectFault::Driver(_) | ConnectFault::Stopped => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_cause_that_was_said_is_not_said_again() {
        let io = || std::io::Error::other("the disk is on fire");
        let fault = CallFault::Io { socket: "/s".into(), source: io() };
        assert_eq!(
            sentence(&anyhow::Error::new(fault)),
            "the hub's socket /s can't be used: the disk is on fire"
        );
        let fault = anyhow::Error::new(io()).context("members can't be read");
        assert_eq!(sentence(&fault), "members can't be read: the disk is on fire");
    }

    #[test]
    fn the_status_says_whose_turn_it_is() {
        let config = ConfigFault::Unreadable { file: "f".into(), source: std::io::Error::other("x") };
        let config = Err::<(), _>(config).context("the hub can't start").unwrap_err();
        assert_eq!(exit(&config), Exit::Usage);
        let call = CallFault::NoHub { data: "d".into() };
        assert_eq!(exit(&call.into()), Exit::Unreachable);
        assert_eq!(exit(&Printed.into()), Exit::Failed);
        let store = || StoreFault::InUse("d".into());
        let connect = |fault| NodeFault::Connect { member: "m".into(), fault };
        for (fault, expected) in [
            (NodeFault::from(store()), Exit::Store),
            (HubFault::Bus(store().into()).into(), Exit::Store),
            (HubFault::Damaged("x").into(), Exit::Store),
            (HubFault::Master("x").into(), Exit::Usage),
            (HubFault::Stopped.into(), Exit::Failed),
            (SocketFault::HubRuns("s".into()).into(), Exit::Unreachable),
            (connect(store().into()), Exit::Store),
            (connect(ConnectFault::Stopped), Exit::Failed),
        ] {
            assert_eq!(exit(&fault.into()), expected);
        }
        for fault in [
            DemoFault::Node(store().into()),
            DemoFault::Hub(store().into()),
            DemoFault::Bus(BusFault::Store(store())),
        ] {
            assert_eq!(exit(&fault.into()), Exit::Store);
        }
    }
}
