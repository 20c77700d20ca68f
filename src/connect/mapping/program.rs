//! A jq program compiled for jaq, with what jaq lacks put into its syntax tree:
//! a bound on how long it runs, and the place where it fails.
//!
//! - Every definition that calls itself counts a step first (`__tick`), and so
//!   does each value of `range`, `.[]` and `..`: jq has no other loop. The step
//!   also looks at how deep the stack is and how long the program has been running.
//! - In the quick form, which is the one that runs, literals are taken out: see
//!   [`super::quick`].
//! - In the tracing form, which runs only to explain a failure, every call,
//!   path, calculation and field of an object is wrapped in `__at`, which writes
//!   down its place when an error passes through it.

use super::native::{D, natives};
use super::quick::{self, Literals, Named, Pool};
use super::tree::{
    Tree, assigns, bounded, call, calls, constant, first_word, is_plain, iterates, literal, literal_key,
    pipe, text,
};
use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Def, Pattern, Term};
use jaq_core::load::{self, Arena, File, Loader};
use jaq_core::native::Fun;
use jaq_core::path::{Opt, Part, Path};
use jaq_core::{Compiler, Filter};
use jaq_json::Val;

/// What a mapping can't use: the clock, the environment, the terminal, the
/// process, the machine's time zone. A mapping's output depends on its input
/// alone.
const FORBIDDEN: [&str; 14] = [
    "now",
    "env",
    "debug",
    "debug_empty",
    "stderr",
    "stderr_empty",
    "halt",
    "halt_error",
    "localtime",
    "strflocaltime",
    "input",
    "inputs",
    "input_filename",
    "input_line_number",
];

/// A place in the program, and the field of the output that is made there.
#[derive(Debug)]
pub(super) struct Place {
    /// Line and column, from 1, of the first word there, if it has one.
    pub at: Option<(u32, u32)>,
    /// The key of the object's entry that is made there.
    pub field: Option<String>,
    /// The number of the first place within this one, or its own: the places
    /// from there up to its own number are those within it.
    pub first: usize,
    /// Whether it is in a definition, and so is called from elsewhere.
    pub in_definition: bool,
}

/// Why a program doesn't compile, and where.
pub(super) struct SyntaxFault {
    pub at: (u32, u32),
    pub problem: String,
}

/// A compiled program.
pub(super) struct Program {
    pub filter: Filter<D>,
    /// What the numbers that `__at` writes down mean; empty unless traced.
    pub places: Vec<Place>,
    /// The literals that were taken out of it; none if traced.
    pub literals: Pool,
}

/// Checks the program as it is written.
pub(super) fn check(source: &str) -> Result<(), SyntaxFault> {
    let arena = Arena::default();
    let modules = Loader::new(definitions())
        .load(&arena, File { code: source, path: () })
        .map_err(|faults| load_fault(source, faults))?;
    Compiler::default().with_funs(natives()).compile(modules).map(drop).map_err(|faults| {
        let named = faults.iter().flat_map(|(_, faults)| faults).next();
        let Some((name, undefined)) = named else { return at_start("the program can't be compiled") };
        let problem = if FORBIDDEN.contains(name) {
            format!("{name} can't be used here: what a mapping gives depends on its input alone")
        } else {
            format!(
                "there is no {} {name}; jq's standard ones and the helpers of connectors/README.md are known",
                undefined.as_str()
            )
        };
        SyntaxFault { at: line_and_column(source, name).unwrap_or((1, 1)), problem }
    })
}

/// The form in which a program is compiled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As it is written.
    #[cfg(test)]
    Plain,
    /// With its literals taken out.
    Quick,
    /// With its places.
    Traced,
}

/// Compiles a program that [`check`] accepts.
pub(super) fn compile(source: &str, form: Form) -> Result<Program, SyntaxFault> {
    let term = load::parse(source, |parser| parser.term()).ok_or_else(|| {
        at_start("a mapping can't be a module, and can't import one; put everything in its file")
    })?;
    let arena = Arena::default();
    let mut rewrite = Rewrite {
        source,
        arena: &arena,
        traced: false,
        places: Vec::new(),
        definitions: 0,
        own: false,
        literals: None,
    };
    let mut definitions: Vec<Def<&str>> = definitions().map(|def| rewrite.definition(def)).collect();
    rewrite.own = true;
    rewrite.traced = form == Form::Traced;
    rewrite.literals = (form == Form::Quick && is_plain(&term)).then(Literals::default);
    let body = rewrite.term(term);
    let places = rewrite.places;
    let literals = rewrite.literals.unwrap_or_default();
    definitions.push(Def { name: "__mapping", args: Vec::new(), body });
    let modules = Loader::new(definitions)
        .load(&arena, File { code: "__mapping", path: () })
        .map_err(|faults| load_fault(source, faults))?;
    let filter = Compiler::default()
        .with_funs(natives().map(shorter).chain(quick::natives(&literals, &arena)))
        .compile(modules)
        .map_err(|_| at_start("the program can't be compiled"))?;
    Ok(Program { filter, places, literals: Pool::new(literals) })
}

/// A native filter by a name that is needed less long.
fn shorter<'s>(native: Fun<D>) -> Named<'s> {
    native
}

fn definitions() -> impl Iterator<Item = Def<&'static str>> {
    jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs()).filter(|def| !is_forbidden(def.name))
}

pub(super) fn is_forbidden(name: &str) -> bool {
    FORBIDDEN.contains(&name)
}

fn at_start(problem: &str) -> SyntaxFault {
    SyntaxFault { at: (1, 1), problem: problem.to_owned() }
}

fn load_fault(source: &str, faults: load::Errors<&str, ()>) -> SyntaxFault {
    let fault = |expected: &str, found: &str| {
        let near: String = found.chars().take_while(|c| *c != '\n').take(20).collect();
        let got =
            if near.is_empty() { "the program ends".to_owned() } else { format!("`{near}` stands there") };
        SyntaxFault {
            at: line_and_column(source, found).unwrap_or((1, 1)),
            problem: format!("expected {expected}, and {got}"),
        }
    };
    match faults.into_iter().next().map(|(_, fault)| fault) {
        Some(load::Error::Lex(faults)) if !faults.is_empty() => {
            let (expected, found) = &faults[0];
            fault(expected.as_str(), found)
        }
        Some(load::Error::Parse(faults)) if !faults.is_empty() => {
            let (expected, found) = &faults[0];
            match expected.as_str() {
                "nothing" => fault("an operator or the end", found),
                expected => fault(expected, found),
            }
        }
        _ => at_start("a mapping can't import or include another file; put everything in its file"),
    }
}

/// Where `part`, a slice of `source`, begins.
fn line_and_column(source: &str, part: &str) -> Option<(u32, u32)> {
    let start = (part.as_ptr() as usize).checked_sub(source.as_ptr() as usize)?;
    let before = source.get(..start)?;
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    Some((line as u32, column as u32))
}

/// Puts steps and places into a syntax tree.
struct Rewrite<'s> {
    source: &'s str,
    arena: &'s Arena,
    traced: bool,
    places: Vec<Place>,
    /// How many definitions are around what is being rewritten.
    definitions: usize,
    /// Whether it is the mapping's own program, and not jq's definitions.
    own: bool,
    /// The literals taken out so far, if they are.
    literals: Option<Literals>,
}

impl<'s> Rewrite<'s> {
    fn definition(&mut self, def: Def<&'s str>) -> Def<&'s str> {
        let recursive = calls(&def.body, def.name);
        self.definitions += 1;
        let body = self.term(def.body);
        self.definitions -= 1;
        let body = if recursive { pipe(call("__tick"), body) } else { body };
        Def { name: def.name, args: def.args, body }
    }

    fn term(&mut self, term: Tree<'s>) -> Tree<'s> {
        let term = match self.quick(term) {
            Ok(quick) => return quick,
            Err(term) => term,
        };
        let first = self.places.len();
        match term {
            Term::Recurse => pipe(term, call("__tick")),
            Term::Id | Term::Num(_) | Term::Var(_) | Term::Break(_) => term,
            Term::Str(format, parts) => Term::Str(
                format,
                parts
                    .into_iter()
                    .map(|part| match part {
                        StrPart::Term(term) => StrPart::Term(self.term(term)),
                        part => part,
                    })
                    .collect(),
            ),
            Term::Arr(inner) => Term::Arr(inner.map(|inner| self.boxed(*inner))),
            Term::Obj(entries) => Term::Obj(entries.into_iter().map(|entry| self.entry(entry)).collect()),
            Term::Neg(inner) => Term::Neg(self.boxed(*inner)),
            Term::BinOp(l, op, r) => {
                let at = self.first_place(&l).or_else(|| self.first_place(&r));
                let op = match op {
                    BinaryOp::Pipe(pattern) => BinaryOp::Pipe(pattern.map(|pattern| self.pattern(pattern))),
                    op => op,
                };
                // What is assigned runs within what it is assigned to: an error would pass
                // the left side after the right one. So the left side has no places.
                let assigns = assigns(&op);
                let traced = self.traced;
                self.traced = traced && !assigns;
                let l = self.boxed(*l);
                self.traced = traced;
                let wrap = assigns || matches!(op, BinaryOp::Math(_));
                let r = self.boxed(*r);
                let term = if self.own { bounded(l, op, r) } else { Term::BinOp(l, op, r) };
                if wrap { self.at(at, None, first, term) } else { term }
            }
            Term::Label(name, inner) => Term::Label(name, self.boxed(*inner)),
            Term::Fold(name, xs, pattern, args) => {
                let xs = self.boxed(*xs);
                let pattern = self.pattern(pattern);
                Term::Fold(name, xs, pattern, args.into_iter().map(|arg| self.term(arg)).collect())
            }
            Term::TryCatch(inner, catch) => {
                Term::TryCatch(self.boxed(*inner), catch.map(|catch| self.boxed(*catch)))
            }
            Term::IfThenElse(branches, otherwise) => Term::IfThenElse(
                branches.into_iter().map(|(test, then)| (self.term(test), self.term(then))).collect(),
                otherwise.map(|otherwise| self.boxed(*otherwise)),
            ),
            Term::Def(defs, inner) => {
                let defs = defs.into_iter().map(|def| self.definition(def)).collect();
                Term::Def(defs, self.boxed(*inner))
            }
            Term::Call(name, args) => {
                let at = line_and_column(self.source, name);
                let endless = name == "range" && args.len() == 3;
                let term = Term::Call(name, args.into_iter().map(|arg| self.term(arg)).collect());
                let term = self.at(at, None, first, term);
                if endless { pipe(term, call("__tick")) } else { term }
            }
            Term::Path(from, path) => {
                let at = path.0.iter().find_map(|(part, _)| match part {
                    Part::Index(index) => self.first_place(index),
                    Part::Range(from, to) => from.iter().chain(to).find_map(|term| self.first_place(term)),
                });
                let at = at.or_else(|| self.first_place(&from));
                let from = self.boxed(*from);
                let iterates = iterates(&path);
                let path = self.path(path);
                let term = self.at(at, None, first, Term::Path(from, path));
                if iterates { pipe(term, call("__tick")) } else { term }
            }
        }
    }

    /// Takes the literals out of `term`, if it is of a form that has a quick
    /// filter; otherwise gives it back.
    fn quick(&mut self, term: Tree<'s>) -> Result<Tree<'s>, Tree<'s>> {
        if self.literals.is_none() {
            return Err(term);
        }
        if let Some(value) = constant(&term)
            && let Some(quick) = self.take_out(quick::CONSTANT, |literals| &mut literals.constants, value)
        {
            return Ok(Term::Call(quick, Vec::new()));
        }
        match term {
            Term::Path(from, mut path) => {
                let count = path
                    .0
                    .iter()
                    .take_while(|(part, optional)| literal_key(part, *optional).is_some())
                    .count();
                let keys: Vec<Val> = path.0[..count]
                    .iter()
                    .filter_map(|(part, optional)| literal_key(part, *optional))
                    .collect();
                if keys.is_empty() {
                    return Err(Term::Path(from, path));
                }
                let Some(quick) = self.take_out(quick::PATH, |literals| &mut literals.paths, keys) else {
                    return Err(Term::Path(from, path));
                };
                let quick = match *from {
                    Term::Id => call(quick),
                    from => pipe(self.term(from), call(quick)),
                };
                path.0.drain(..count);
                if path.0.is_empty() {
                    return Ok(quick);
                }
                let iterates = iterates(&path);
                let term = Term::Path(Box::new(quick), self.path(path));
                Ok(if iterates { pipe(term, call("__tick")) } else { term })
            }
            Term::Obj(entries) if !entries.is_empty() => {
                let keys: Option<Vec<Val>> = entries.iter().map(|(key, _)| text(key)).collect();
                let Some(quick) = keys
                    .and_then(|keys| self.take_out(quick::OBJECT, |literals| &mut literals.objects, keys))
                else {
                    return Err(Term::Obj(entries));
                };
                let values = entries
                    .into_iter()
                    .map(|(key, value)| match value {
                        Some(value) => self.term(value),
                        // {a} is {a: .a}.
                        None => self.term(Term::Path(
                            Box::new(Term::Id),
                            Path(vec![(Part::Index(key), Opt::Essential)]),
                        )),
                    })
                    .collect();
                Ok(Term::Call(quick, values))
            }
            term => Err(term),
        }
    }

    /// Puts a literal among those of its kind. Returns the name of its filter,
    /// or none if there are too many.
    fn take_out<T>(
        &mut self,
        prefix: &str,
        kind: impl Fn(&mut Literals) -> &mut Vec<T>,
        literal: T,
    ) -> Option<&'s str> {
        let literals = kind(self.literals.as_mut()?);
        let number = literals.len();
        if number == quick::MAX {
            return None;
        }
        literals.push(literal);
        Some(self.arena.alloc(format!("{prefix}{number}")))
    }

    fn path(&mut self, path: Path<Tree<'s>>) -> Path<Tree<'s>> {
        let part = |part| match part {
            Part::Index(index) => Part::Index(self.term(index)),
            Part::Range(from, to) => Part::Range(from.map(|f| self.term(f)), to.map(|t| self.term(t))),
        };
        let (parts, optional): (Vec<_>, Vec<_>) = path.0.into_iter().unzip();
        Path(parts.into_iter().map(part).zip(optional).collect())
    }

    fn boxed(&mut self, term: Tree<'s>) -> Box<Tree<'s>> {
        Box::new(self.term(term))
    }

    fn entry(&mut self, (key, value): (Tree<'s>, Option<Tree<'s>>)) -> (Tree<'s>, Option<Tree<'s>>) {
        let at = self.first_place(&key);
        let field = literal(&key).map(str::to_owned);
        let key = self.term(key);
        let first = self.places.len();
        let value = value.map(|value| {
            let value = self.term(value);
            self.at(at, field, first, value)
        });
        (key, value)
    }

    fn pattern(&mut self, pattern: Pattern<&'s str>) -> Pattern<&'s str> {
        match pattern {
            Pattern::Var(name) => Pattern::Var(name),
            Pattern::Arr(inner) => Pattern::Arr(inner.into_iter().map(|p| self.pattern(p)).collect()),
            Pattern::Obj(inner) => {
                Pattern::Obj(inner.into_iter().map(|(key, p)| (self.term(key), self.pattern(p))).collect())
            }
        }
    }

    /// Wraps `term` in `__at(number; term)` in the tracing form.
    fn at(
        &mut self,
        at: Option<(u32, u32)>,
        field: Option<String>,
        first: usize,
        term: Tree<'s>,
    ) -> Tree<'s> {
        if !self.traced || (at.is_none() && field.is_none()) {
            return term;
        }
        let number: &'s str = self.arena.alloc(self.places.len().to_string());
        self.places.push(Place { at, field, first, in_definition: self.definitions > 0 });
        Term::Call("__at", vec![Term::Num(number), term])
    }

    /// The place of the first word of `term` that stands in the source.
    fn first_place(&self, term: &Tree<'s>) -> Option<(u32, u32)> {
        first_word(term).and_then(|word| line_and_column(self.source, word))
    }
}
