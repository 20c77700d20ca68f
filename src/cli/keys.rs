//! `pirogue keys`: makes key files, and shows what to publish of them.

use crate::event::MemberName;
use crate::keys::{Jwk, KeyFault, KeyUse, PrivateKey, PublicKey, note};
use anyhow::{Context, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The variable that a passphrase is taken from.
pub const PASSPHRASE_VARIABLE: &str = "PIROGUE_PASSPHRASE";

/// No passphrase is longer, in bytes.
const MAX_PASSPHRASE_BYTES: u64 = 4096;

/// Make a key, or show what to publish of one.
///
/// A private key stays with whoever made it; what goes to the hub's operator is
/// its public half, a JWK. Each key has one use: a member signs its events with
/// one and its agreements with another.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  pirogue keys generate --use event --member province-sud --out event.pem")]
pub enum KeysCommand {
    /// Make a new private key in a new file, and print its public half.
    ///
    /// The file is PKCS#8 PEM that only its owner can read (mode 0600), as
    /// `openssl genpkey -algorithm ed25519` makes it; an existing file is never
    /// overwritten. The public half is printed as a JWK: that is what goes to
    /// the hub. Keep the file where it was made, and a copy somewhere safe.
    #[command(after_help = "\
Example:
  pirogue keys generate --use event --member province-sud --out event.pem")]
    Generate(GenerateArgs),
    /// Show the public half of a private key: JWK, thumbprint, verifier key.
    ///
    /// A key file doesn't say what its key is for nor whose it is; --use and
    /// --member put that into the JWK. The verifier key is what programs for
    /// C2SP signed notes take; it holds the member's name.
    #[command(after_help = "\
Example:
  pirogue keys show event.pem --use event --member province-sud")]
    Show(ShowArgs),
}

/// What `pirogue keys generate` takes.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// What the key is for: event and agreement are a member's, delivery and checkpoint the hub's
    #[arg(long = "use", value_name = "USE", value_parser = key_use())]
    pub key_use: KeyUse,
    /// Where to write the key: a new file
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Whose key it is: a member's name (the hub's keys need none)
    #[arg(long, value_name = "NAME", value_parser = owner)]
    pub member: Option<String>,
    /// Encrypt the file with a passphrase, asked for twice, or taken from PIROGUE_PASSPHRASE
    #[arg(long)]
    pub encrypt: bool,
    /// Take the passphrase from the first line of this file
    #[arg(long, value_name = "FILE", requires = "encrypt")]
    pub passphrase_file: Option<PathBuf>,
}

/// What `pirogue keys show` takes.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The private key's file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Whose key it is: a member's name, or hub
    #[arg(long, value_name = "NAME", value_parser = owner)]
    pub member: Option<String>,
    /// What the key is for
    #[arg(long = "use", value_name = "USE", value_parser = key_use())]
    pub key_use: Option<KeyUse>,
    /// Take the passphrase of an encrypted file from the first line of this file
    ///
    /// Without it, the passphrase is taken from PIROGUE_PASSPHRASE, or asked for.
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

impl KeysCommand {
    /// Runs the command: what is to be published goes to standard output, what
    /// was done to standard error.
    ///
    /// Fails with one sentence: see [`KeyFault`]; where the use isn't one of
    /// that owner's keys; where no passphrase can be had.
    pub fn run(self) -> anyhow::Result<()> {
        match self {
            KeysCommand::Generate(args) => {
                let passphrase = match args.encrypt {
                    true => Some(new_passphrase(args.passphrase_file.as_deref())?),
                    false => None,
                };
                let jwk = generate(&args, passphrase.as_ref().map(|p| p.as_str()))?;
                print(&format!("{:#}\n", jwk.to_json()))?;
                let mut told = std::io::stderr().lock();
                writeln!(told, "The private key is in {} and nowhere else.", args.out.display())?;
                if jwk.member.is_none() {
                    writeln!(told, "Before it is published, its JWK needs the member's name: see --member.")?;
                }
                Ok(())
            }
            KeysCommand::Show(args) => print(&show(&args)?),
        }
    }
}

/// Makes a new key and writes it, encrypted where there is a passphrase.
/// Returns the JWK to publish.
pub fn generate(args: &GenerateArgs, passphrase: Option<&str>) -> anyhow::Result<Jwk> {
    let member = owner_for(Some(args.key_use), args.member.as_deref())?;
    let key = PrivateKey::generate()?;
    key.write(&args.out, passphrase)?;
    Ok(Jwk::new(key.public().clone(), args.key_use, member))
}

/// What `pirogue keys show` prints: asks for the passphrase where the file is
/// encrypted and no other source has it.
pub fn show(args: &ShowArgs) -> anyhow::Result<String> {
    let member = owner_for(args.key_use, args.member.as_deref())?;
    let (key, _) = open_private(&args.file, args.passphrase_file.as_deref())?;
    Ok(describe(key.public(), args.key_use, member.as_deref()))
}

/// Reads a private key, and its passphrase where the file is encrypted: from
/// `passphrase_file`, from PIROGUE_PASSPHRASE, or asked for.
pub(super) fn open_private(
    file: &Path,
    passphrase_file: Option<&Path>,
) -> anyhow::Result<(PrivateKey, Option<Zeroizing<String>>)> {
    match PrivateKey::read(file, None) {
        Err(KeyFault::PassphraseMissing { path }) => {
            let passphrase = passphrase(passphrase_file, variable()?, &mut || {
                ask(&format!("Passphrase of {}: ", path.display()))
            })?;
            Ok((PrivateKey::read(file, Some(&passphrase))?, Some(passphrase)))
        }
        read => Ok((read?, None)),
    }
}

/// The public half for people and programs: thumbprint, verifier key, and the
/// JWK with as much as is known of its use and its owner.
pub fn describe(key: &PublicKey, key_use: Option<KeyUse>, member: Option<&str>) -> String {
    let mut jwk =
        Jwk::new(key.clone(), key_use.unwrap_or(KeyUse::Event), member.map(str::to_owned)).to_json();
    if let (None, Some(members)) = (key_use, jwk.as_object_mut()) {
        members.shift_remove("pirogue_use");
    }
    let verifier = match member {
        Some(name) => note::verifier_key(name, key),
        None => "(it holds the member's name: give --member)".to_owned(),
    };
    format!("thumbprint    {}\nverifier key  {verifier}\n\n{jwk:#}\n", key.thumbprint())
}

/// The owner's name for a key of this use: `hub` for the hub's uses, and only
/// for them.
fn owner_for(key_use: Option<KeyUse>, member: Option<&str>) -> anyhow::Result<Option<String>> {
    match (key_use, member) {
        (Some(key_use), None | Some("hub")) if key_use.is_hub() => Ok(Some("hub".to_owned())),
        (Some(key_use), Some(member)) if key_use.is_hub() => {
            bail!("a key for {key_use} is the hub's and can't be {member}'s: leave --member out")
        }
        (Some(key_use), Some("hub")) => {
            bail!("a key for {key_use} is a member's and can't be the hub's: give the member's name")
        }
        (_, member) => Ok(member.map(str::to_owned)),
    }
}

/// A passphrase for a new file: from `file`, from PIROGUE_PASSPHRASE, or asked
/// for twice.
fn new_passphrase(file: Option<&Path>) -> anyhow::Result<Zeroizing<String>> {
    passphrase(file, variable()?, &mut || asked_twice(&mut ask))
}

fn asked_twice(
    ask: &mut dyn FnMut(&str) -> anyhow::Result<Zeroizing<String>>,
) -> anyhow::Result<Zeroizing<String>> {
    let first = ask("New passphrase: ")?;
    if first.is_empty() {
        return Err(KeyFault::EmptyPassphrase.into());
    }
    if ask("The same again: ")? != first {
        bail!("the two passphrases differ: nothing was written");
    }
    Ok(first)
}

/// The passphrase from the first of its sources that is there.
fn passphrase(
    file: Option<&Path>,
    variable: Option<Zeroizing<String>>,
    ask: &mut dyn FnMut() -> anyhow::Result<Zeroizing<String>>,
) -> anyhow::Result<Zeroizing<String>> {
    match (file, variable) {
        (Some(path), _) => passphrase_in(path),
        (None, Some(passphrase)) => Ok(passphrase),
        (None, None) => ask(),
    }
}

/// The first line of the file at `path`.
fn passphrase_in(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let shown = path.display();
    let failed = || format!("the passphrase file {shown} can't be read");
    let file = std::fs::File::open(path).with_context(failed)?;
    let facts = file.metadata().with_context(failed)?;
    // A pipe is nobody else's, whatever its mode says.
    if facts.is_file() && facts.permissions().mode() & 0o077 != 0 {
        bail!("the passphrase file {shown} can be read by others: run `chmod 600 {shown}`");
    }
    let mut text = Zeroizing::new(String::with_capacity(MAX_PASSPHRASE_BYTES as usize + 1));
    file.take(MAX_PASSPHRASE_BYTES + 1).read_to_string(&mut text).with_context(failed)?;
    if text.len() as u64 > MAX_PASSPHRASE_BYTES {
        bail!("the passphrase file {shown} is over 4 KiB");
    }
    match text.lines().next().filter(|line| !line.is_empty()) {
        Some(line) => Ok(Zeroizing::new(line.to_owned())),
        None => bail!("the first line of the passphrase file {shown} is empty"),
    }
}

fn variable() -> anyhow::Result<Option<Zeroizing<String>>> {
    match std::env::var_os(PASSPHRASE_VARIABLE).map(|value| value.into_string()) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(Zeroizing::new(text))),
        Some(Err(_)) => bail!("{PASSPHRASE_VARIABLE} isn't a text in UTF-8"),
    }
}

/// Asks on the terminal, without showing what is typed.
fn ask(question: &str) -> anyhow::Result<Zeroizing<String>> {
    let terminal = console::Term::stderr();
    if !terminal.is_term() {
        bail!(
            "a passphrase is needed and there is no terminal to ask on: set {PASSPHRASE_VARIABLE} or give \
             --passphrase-file"
        );
    }
    terminal.write_str(question)?;
    Ok(Zeroizing::new(terminal.read_secure_line()?))
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    Ok(out.write_all(text.as_bytes()).and_then(|()| out.flush())?)
}

/// Reads a use on the command line, and lists them all in the help.
fn key_use() -> impl TypedValueParser<Value = KeyUse> {
    PossibleValuesParser::new(KeyUse::ALL.map(KeyUse::as_str)).try_map(|text| text.parse::<KeyUse>())
}

/// Reads an owner on the command line: a member's name, or `hub`.
fn owner(text: &str) -> Result<String, String> {
    match text {
        "hub" => Ok(text.to_owned()),
        member => MemberName::parse(member).map(String::from).map_err(|fault| fault.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Jwks;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        command: KeysCommand,
    }

    fn parse(line: &[&str]) -> Result<KeysCommand, clap::Error> {
        Line::try_parse_from(["keys"].iter().chain(line)).map(|line| line.command)
    }

    fn generate_args(line: &[&str]) -> GenerateArgs {
        match parse(line).unwrap() {
            KeysCommand::Generate(args) => args,
            other => panic!("{other:?}"),
        }
    }

    fn show_args(line: &[&str]) -> ShowArgs {
        match parse(line).unwrap() {
            KeysCommand::Show(args) => args,
            other => panic!("{other:?}"),
        }
    }

    fn private_file(folder: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn never() -> anyhow::Result<Zeroizing<String>> {
        panic!("asked, although there is another source")
    }

    #[test]
    fn a_generated_key_is_published_and_shown_as_the_same_key() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("event.pem");
        let out = out.to_str().unwrap();
        let args = generate_args(&["generate", "--use", "event", "--member", "province-sud", "--out", out]);
        let jwk = generate(&args, None).unwrap();
        let set = Jwks::parse(&format!("{{\"keys\":[{}]}}", jwk.to_json())).unwrap();
        assert_eq!(set.keys, std::slice::from_ref(&jwk));

        let shown = show(&show_args(&["show", out, "--use", "event", "--member", "province-sud"])).unwrap();
        let (head, json) = shown.split_once("\n\n").unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(json).unwrap(), jwk.to_json());
        assert!(head.contains(jwk.public.thumbprint().as_str()));
        let verifier = head.lines().last().unwrap().rsplit(' ').next().unwrap();
        assert_eq!(
            note::parse_verifier_key(verifier).unwrap(),
            ("province-sud".to_owned(), jwk.public.clone())
        );

        let again = generate(&args, None).unwrap_err().to_string();
        assert!(again.contains("exists already"), "{again}");
    }

    #[test]
    fn an_encrypted_key_is_shown_with_its_passphrase_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let words = private_file(&folder, "words", "the outrigger canoe\nsecond line\n");
        let wrong = private_file(&folder, "wrong", "the outrigger canoe \n");
        let out = folder.path().join("key.pem");
        let out = out.to_str().unwrap();
        let args = generate_args(&["generate", "--use", "delivery", "--out", out, "--encrypt"]);
        let passphrase = passphrase_in(&words).unwrap();
        assert_eq!(passphrase.as_str(), "the outrigger canoe");
        let jwk = generate(&args, Some(&passphrase)).unwrap();
        assert_eq!(jwk.member.as_deref(), Some("hub"));
        assert!(std::fs::read_to_string(out).unwrap().contains("ENCRYPTED"));
        let shown =
            |file: &Path| show(&show_args(&["show", out, "--passphrase-file", file.to_str().unwrap()]));
        assert!(shown(&words).unwrap().contains(jwk.public.thumbprint().as_str()));
        assert!(shown(&wrong).unwrap_err().to_string().contains("doesn't open"));
    }

    #[test]
    fn a_passphrase_comes_from_the_file_then_the_variable_then_the_terminal() {
        let folder = tempfile::tempdir().unwrap();
        let file = private_file(&folder, "words", "of the file");
        let variable = || Some(Zeroizing::new("of the variable".to_owned()));
        let found = |file, variable| passphrase(file, variable, &mut never).unwrap().to_string();
        assert_eq!(found(Some(&file), variable()), "of the file");
        assert_eq!(found(Some(&file), None), "of the file");
        assert_eq!(found(None, variable()), "of the variable");
        let asked = passphrase(None, None, &mut || Ok(Zeroizing::new("asked".to_owned())));
        assert_eq!(asked.unwrap().as_str(), "asked");
    }

    #[test]
    fn a_new_passphrase_is_asked_for_twice() {
        let twice = |answers: &[&str]| {
            let mut answers = answers.iter();
            asked_twice(&mut |_| Ok(Zeroizing::new((*answers.next().unwrap()).to_owned())))
        };
        assert_eq!(twice(&["a b", "a b"]).unwrap().as_str(), "a b");
        assert!(twice(&["a", "b"]).unwrap_err().to_string().contains("differ"));
        assert!(twice(&[""]).unwrap_err().to_string().contains("empty"));
    }

    #[test]
    fn an_unusable_passphrase_file_gives_one_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let sentence = |path: &Path| passphrase_in(path).unwrap_err().to_string();
        assert!(sentence(&private_file(&folder, "a", "")).contains("is empty"));
        assert!(sentence(&private_file(&folder, "b", "\nx\n")).contains("is empty"));
        assert!(sentence(&private_file(&folder, "c", &"x".repeat(5000))).contains("over 4 KiB"));
        let open = private_file(&folder, "d", "x");
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(sentence(&open).contains("chmod 600"));
        assert!(sentence(&folder.path().join("none")).contains("can't be read"));
    }

    #[test]
    fn a_use_and_an_owner_that_do_not_fit_are_refused_before_anything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("key.pem");
        for (key_use, member, named) in [
            ("delivery", "province-sud", "the hub's"),
            ("checkpoint", "province-sud", "the hub's"),
            ("event", "hub", "a member's"),
            ("agreement", "hub", "a member's"),
        ] {
            let line = ["generate", "--use", key_use, "--member", member, "--out", out.to_str().unwrap()];
            let fault = generate(&generate_args(&line), None).unwrap_err().to_string();
            assert!(fault.contains(named), "{fault}");
            assert!(!out.exists());
        }
    }

    #[test]
    fn what_is_not_known_of_a_key_is_left_out_of_its_jwk() {
        let shown = describe(PrivateKey::from_seed(&[1; 32]).public(), None, None);
        assert!(!shown.contains("pirogue") && shown.contains("give --member"), "{shown}");
    }

    #[test]
    fn the_command_line_is_strict() {
        for line in [
            &["generate", "--out", "x"][..],
            &["generate", "--use", "event"],
            &["generate", "--use", "events", "--out", "x"],
            &["generate", "--use", "event", "--out", "x", "--member", "Province Sud"],
            &["generate", "--use", "event", "--out", "x", "--passphrase", "secret"],
            &["generate", "--use", "event", "--out", "x", "--passphrase-file", "y"],
            &["show"],
            &[],
        ] {
            assert!(parse(line).is_err(), "{line:?}");
        }
        let help = parse(&["generate", "--help"]).unwrap_err().to_string();
        for expected in
            ["event, agreement, delivery, checkpoint", "PIROGUE_PASSPHRASE", "--passphrase-file <FILE>"]
        {
            assert!(help.contains(expected), "{help}");
        }
    }
}
