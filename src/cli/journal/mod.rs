//! `pirogue journal`: checks what a hub's journal says, and proves it.

mod access;
mod audit;
mod consistency;
mod key;
mod page;
mod place;
mod prove;
mod verify;
mod verify_proof;

use clap::Subcommand;

/// Check a hub's journal from outside, and prove what it says.
///
/// The journal is an append-only Merkle tree, published as C2SP tlog-tiles under
/// checkpoints that the hub signs. Nothing here trusts the hub: what is checked
/// is held against the key of its checkpoints, a line NAME+ID+BASE64 that was
/// given by hand (`pirogue journal key` prints it for the hub's operator).
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Example:\n  pirogue journal verify https://hub.example/log --hub-key 'nc+1a2b3c4d+AX…'"
)]
pub(super) enum JournalCommand {
    Verify(verify::VerifyCommand),
    Prove(prove::ProveCommand),
    VerifyProof(verify_proof::VerifyProofCommand),
    Consistency(consistency::ConsistencyCommand),
    Audit(audit::AuditCommand),
    Access(access::AccessCommand),
    Key(key::KeyCommand),
}

impl JournalCommand {
    /// Runs the command.
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self {
            JournalCommand::Verify(command) => command.run(),
            JournalCommand::Prove(command) => command.run(),
            JournalCommand::VerifyProof(command) => command.run(),
            JournalCommand::Consistency(command) => command.run(),
            JournalCommand::Audit(command) => command.run(),
            JournalCommand::Access(command) => command.run(),
            JournalCommand::Key(command) => command.run(),
        }
    }
}
