//! Questions to a syntax tree.

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Pattern, Term};
use jaq_core::ops::Math;
use jaq_core::path::{Opt, Part, Path};
use jaq_json::{Map, Val};

/// A term whose words stand in a text that lives for `'s`.
pub(super) type Tree<'s> = Term<&'s str>;

pub(super) fn pipe<'s>(l: Tree<'s>, r: Tree<'s>) -> Tree<'s> {
    Term::BinOp(Box::new(l), BinaryOp::Pipe(None), Box::new(r))
}

pub(super) fn call<'s>(name: &'s str) -> Tree<'s> {
    Term::Call(name, Vec::new())
}

/// The text of a term that is one literal text.
pub(super) fn literal<'s>(term: &Tree<'s>) -> Option<&'s str> {
    match term {
        Term::Str(None, parts) => match &parts[..] {
            [StrPart::Str(text)] => Some(text),
            _ => None,
        },
        Term::Var(name) => name.strip_prefix('$'),
        _ => None,
    }
}

pub(super) fn first_word<'s>(term: &Tree<'s>) -> Option<&'s str> {
    match term {
        Term::Num(word)
        | Term::Call(word, _)
        | Term::Var(word)
        | Term::Break(word)
        | Term::Label(word, _) => Some(word),
        Term::Fold(word, ..) => Some(word),
        Term::Str(_, parts) => parts.iter().find_map(|part| match part {
            StrPart::Str(text) => Some(*text),
            StrPart::Term(term) => first_word(term),
            StrPart::Char(_) => None,
        }),
        Term::Arr(inner) => inner.as_deref().and_then(first_word),
        Term::Obj(entries) => entries.iter().find_map(|(key, _)| first_word(key)),
        Term::Neg(inner) | Term::TryCatch(inner, _) => first_word(inner),
        Term::BinOp(l, _, r) => first_word(l).or_else(|| first_word(r)),
        Term::IfThenElse(branches, _) => branches.iter().find_map(|(test, _)| first_word(test)),
        Term::Def(defs, inner) => defs.first().map(|def| def.name).or_else(|| first_word(inner)),
        Term::Path(from, path) => first_word(from).or_else(|| {
            path.0.iter().find_map(|(part, _)| match part {
                Part::Index(index) => first_word(index),
                Part::Range(from, to) => from.iter().chain(to).find_map(first_word),
            })
        }),
        Term::Id | Term::Recurse => None,
    }
}

/// The operation, with `+` and `*` made so that no text or array grows without
/// bounds: `l *= r` is `r as $x | l |= . * $x`, as jq has it.
pub(super) fn bounded<'s>(l: Box<Tree<'s>>, op: BinaryOp<&'s str>, r: Box<Tree<'s>>) -> Tree<'s> {
    let filter = match &op {
        BinaryOp::Math(math) | BinaryOp::UpdateMath(math) => match math {
            Math::Add => "__plus",
            Math::Mul => "__times",
            _ => return Term::BinOp(l, op, r),
        },
        _ => return Term::BinOp(l, op, r),
    };
    if let BinaryOp::Math(_) = op {
        return Term::Call(filter, vec![*l, *r]);
    }
    let right = "$__right";
    let update = Term::Call(filter, vec![Term::Id, Term::Var(right)]);
    let update = Term::BinOp(l, BinaryOp::Update, Box::new(update));
    Term::BinOp(r, BinaryOp::Pipe(Some(Pattern::Var(right))), Box::new(update))
}

/// The text of a term that is one literal text, without escapes.
pub(super) fn text(term: &Tree<'_>) -> Option<Val> {
    match term {
        Term::Str(None, parts) => match &parts[..] {
            [] => Some(Val::utf8_str(String::new())),
            [StrPart::Str(text)] => Some(Val::utf8_str((*text).to_owned())),
            _ => None,
        },
        _ => None,
    }
}

/// The value of a term that is always the same: a text, null, true, false, and
/// objects and arrays of these.
pub(super) fn constant(term: &Tree<'_>) -> Option<Val> {
    match term {
        Term::Str(..) => text(term),
        Term::Call("null", args) if args.is_empty() => Some(Val::Null),
        Term::Call("true", args) if args.is_empty() => Some(Val::Bool(true)),
        Term::Call("false", args) if args.is_empty() => Some(Val::Bool(false)),
        Term::Arr(None) => Some(Val::Arr(Default::default())),
        Term::Obj(entries) => {
            let mut map = Map::default();
            for (key, value) in entries {
                map.insert(text(key)?, constant(value.as_ref()?)?);
            }
            Some(Val::obj(map))
        }
        _ => None,
    }
}

/// The key of a part of a path that is a literal text.
pub(super) fn literal_key(part: &Part<Tree<'_>>, optional: Opt) -> Option<Val> {
    match (part, optional) {
        (Part::Index(index), Opt::Essential) => text(index),
        _ => None,
    }
}

/// Whether every path of the program is read and none written: nothing is
/// assigned, and no path is asked for. Then a path is as good as its value.
pub(super) fn is_plain(term: &Tree<'_>) -> bool {
    const TAKE_PATHS: [&str; 8] =
        ["path", "path_value", "paths", "del", "delpaths", "pick", "setpath", "getpath"];
    const CONSTANTS: [&str; 3] = ["null", "true", "false"];
    !any(term, &|term| match term {
        Term::BinOp(_, op, _) => assigns(op),
        Term::Call(name, _) => TAKE_PATHS.contains(name),
        // Definitions that take a constant's name.
        Term::Def(defs, _) => defs
            .iter()
            .any(|def| CONSTANTS.contains(&def.name) || def.args.iter().any(|arg| CONSTANTS.contains(arg))),
        _ => false,
    })
}

/// Whether a path goes through all values of an array or object.
pub(super) fn iterates(path: &Path<Tree<'_>>) -> bool {
    path.0.iter().any(|(part, _)| matches!(part, Part::Range(None, None)))
}

/// Whether an operator assigns to the paths on its left.
pub(super) fn assigns(op: &BinaryOp<&str>) -> bool {
    matches!(op, BinaryOp::Assign | BinaryOp::Update | BinaryOp::UpdateMath(_) | BinaryOp::UpdateAlt)
}

/// Whether `term` calls `name`.
pub(super) fn calls(term: &Tree<'_>, name: &str) -> bool {
    any(term, &|term| matches!(term, Term::Call(called, _) if *called == name))
}

/// Whether `holds` is true of `term` or of a term in it.
fn any(term: &Tree<'_>, holds: &dyn Fn(&Tree<'_>) -> bool) -> bool {
    let inner = |term: &Tree<'_>| any(term, holds);
    let in_pattern = |pattern: &Pattern<&str>| any_in_pattern(pattern, holds);
    if holds(term) {
        return true;
    }
    match term {
        Term::Id | Term::Recurse | Term::Num(_) | Term::Var(_) | Term::Break(_) => false,
        Term::Call(_, args) => args.iter().any(inner),
        Term::Str(_, parts) => parts.iter().any(|part| matches!(part, StrPart::Term(term) if inner(term))),
        Term::Arr(term) => term.as_deref().is_some_and(inner),
        Term::Obj(entries) => {
            entries.iter().any(|(key, value)| inner(key) || value.as_ref().is_some_and(inner))
        }
        Term::Neg(term) | Term::Label(_, term) => inner(term),
        Term::BinOp(l, op, r) => {
            inner(l) || inner(r) || matches!(op, BinaryOp::Pipe(Some(pattern)) if in_pattern(pattern))
        }
        Term::Fold(_, xs, pattern, args) => inner(xs) || in_pattern(pattern) || args.iter().any(inner),
        Term::TryCatch(term, catch) => inner(term) || catch.as_deref().is_some_and(inner),
        Term::IfThenElse(branches, otherwise) => {
            branches.iter().any(|(test, then)| inner(test) || inner(then))
                || otherwise.as_deref().is_some_and(inner)
        }
        Term::Def(defs, term) => defs.iter().any(|def| inner(&def.body)) || inner(term),
        Term::Path(from, path) => {
            inner(from)
                || path.0.iter().any(|(part, _)| match part {
                    Part::Index(index) => inner(index),
                    Part::Range(from, to) => from.iter().chain(to).any(inner),
                })
        }
    }
}

fn any_in_pattern(pattern: &Pattern<&str>, holds: &dyn Fn(&Tree<'_>) -> bool) -> bool {
    match pattern {
        Pattern::Var(_) => false,
        Pattern::Arr(inner) => inner.iter().any(|pattern| any_in_pattern(pattern, holds)),
        Pattern::Obj(inner) => {
            inner.iter().any(|(key, pattern)| any(key, holds) || any_in_pattern(pattern, holds))
        }
    }
}
