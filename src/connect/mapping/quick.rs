//! What makes a mapping quick: jaq evaluates the literal texts of a program anew
//! each time, and builds an object out of one object for each of its fields.
//! For the record of an employment software that is most of the time.
//!
//! So the plain form of a program (see [`super::program`]) has each path of
//! literal keys, each constant, and each object with literal keys replaced by a
//! native filter that was given them when the program was compiled. Nothing else
//! changes: the outputs, their order and the errors are jaq's, which the tests
//! compare.

use super::native::{D, Run};
use jaq_core::box_iter::box_once;
use jaq_core::native::v;
use jaq_core::{Bind, Cv, Exn, Native, RunPtr, ValT, ValX, ValXs};
use jaq_json::{Map, Val};
use std::sync::Mutex;

/// The literals of a program.
#[derive(Clone, Default)]
pub(super) struct Literals {
    /// Paths of keys: `.a.b`.
    pub paths: Vec<Vec<Val>>,
    /// Constants: `"open"`, `null`, `{a: "b"}`.
    pub constants: Vec<Val>,
    /// The keys of objects.
    pub objects: Vec<Vec<Val>>,
}

/// How many literals of each kind a program can have; the others are jaq's.
pub(super) const MAX: usize = 256;

/// What the names of the filters begin with.
pub(super) const PATH: &str = "__path_";
pub(super) const CONSTANT: &str = "__constant_";
pub(super) const OBJECT: &str = "__object_";

/// Literals for runs in several threads: each run has its own copy, since
/// threads that count the same references are slow.
pub(super) struct Pool {
    literals: Literals,
    free: Mutex<Vec<Literals>>,
}

impl Pool {
    pub fn new(literals: Literals) -> Pool {
        Pool { literals, free: Mutex::default() }
    }

    /// A copy that nobody else uses.
    pub fn take(&self) -> Literals {
        let free = self.free.lock().ok().and_then(|mut free| free.pop());
        free.unwrap_or_else(|| Literals {
            paths: self.literals.paths.iter().map(|path| path.iter().map(own).collect()).collect(),
            constants: self.literals.constants.iter().map(own).collect(),
            objects: self.literals.objects.iter().map(|keys| keys.iter().map(own).collect()).collect(),
        })
    }

    /// Gives a copy back.
    pub fn give_back(&self, literals: Literals) {
        // Without it, the next run makes another copy.
        if let Ok(mut free) = self.free.lock() {
            free.push(literals);
        }
    }
}

/// A copy that shares nothing.
fn own(value: &Val) -> Val {
    match value {
        Val::TStr(text) => Val::utf8_str(bytes::Bytes::copy_from_slice(text)),
        Val::BStr(bytes) => Val::byte_str(bytes::Bytes::copy_from_slice(bytes)),
        Val::Arr(items) => items.iter().map(own).collect(),
        Val::Obj(fields) => Val::obj(fields.iter().map(|(key, value)| (own(key), own(value))).collect()),
        value => value.clone(),
    }
}

/// A native filter by its name and its arguments.
pub(super) type Named<'s> = (&'s str, Box<[Bind]>, Native<D>);

/// The filters for these literals, `arena` holding their names.
pub(super) fn natives<'s>(literals: &Literals, arena: &'s jaq_core::load::Arena) -> Vec<Named<'s>> {
    let name = |prefix: &str, number: usize| -> &'s str { arena.alloc(format!("{prefix}{number}")) };
    let mut natives: Vec<Named<'s>> = Vec::new();
    let filters: [(&str, usize, &[RunPtr<D>; MAX]); 2] =
        [(PATH, literals.paths.len(), &PATHS), (CONSTANT, literals.constants.len(), &CONSTANTS)];
    for (prefix, count, run) in filters {
        natives.extend((0..count).map(|number| (name(prefix, number), v(0), Native::<D>::new(run[number]))));
    }
    natives.extend(literals.objects.iter().enumerate().map(|(number, keys)| {
        let arguments: Box<[Bind]> = keys.iter().map(|_| Bind::Fun(())).collect();
        (name(OBJECT, number), arguments, Native::<D>::new(OBJECTS[number]))
    }));
    natives
}

/// `N` stands for the number of a literal: native filters are function pointers,
/// which hold nothing.
fn path<const N: usize>(cv: Cv<'_, D>) -> ValXs<'_, Val> {
    let run: &Run = cv.0.data().run;
    let mut value = cv.1;
    for key in &run.literals.paths[N] {
        match value.index(key) {
            Ok(inner) => value = inner,
            Err(error) => return box_once(Err(Exn::from(error))),
        }
    }
    box_once(Ok(value))
}

fn constant<const N: usize>(cv: Cv<'_, D>) -> ValXs<'_, Val> {
    box_once(Ok(cv.0.data().run.literals.constants[N].clone()))
}

fn object<const N: usize>(mut cv: Cv<'_, D>) -> ValXs<'_, Val> {
    let run: &Run = cv.0.data().run;
    let keys = &run.literals.objects[N];
    let mut filters: Vec<_> = keys.iter().map(|_| cv.0.pop_fun()).collect();
    filters.reverse();
    let mut map = Map::with_capacity_and_hasher(keys.len(), Default::default());
    let mut filters = filters.into_iter().zip(keys);
    while let Some(((filter, context), key)) = filters.next() {
        let mut outputs = filter.run((context, cv.1.clone()));
        let first = match outputs.next() {
            Some(Ok(value)) => value,
            Some(Err(error)) => return box_once(Err(error)),
            None => return Box::new(std::iter::empty()),
        };
        // A filter that ends after one output says so; asking it is cheap.
        match outputs.next() {
            None => {
                map.insert(key.clone(), first);
            }
            Some(second) => {
                let mut choices: Vec<(Val, Vec<ValX<'_, Val>>)> =
                    map.into_iter().map(|(key, value)| (key, vec![Ok(value)])).collect();
                choices.push((key.clone(), [Ok(first), second].into_iter().chain(outputs).collect()));
                for ((filter, context), key) in filters {
                    choices.push((key.clone(), filter.run((context, cv.1.clone())).collect()));
                }
                return Box::new(product(choices).into_iter());
            }
        }
    }
    box_once(Ok(Val::obj(map)))
}

/// Every object that takes one of each key's values, in jaq's order: the last
/// key's values change fastest.
fn product(choices: Vec<(Val, Vec<ValX<'_, Val>>)>) -> Vec<ValX<'_, Val>> {
    let mut objects: Vec<ValX<'_, Map, Val>> = vec![Ok(Map::default())];
    for (key, values) in choices {
        let mut longer = Vec::with_capacity(objects.len() * values.len());
        for object in &objects {
            for value in &values {
                longer.push(match (object, value) {
                    (Ok(object), Ok(value)) => {
                        let mut object = object.clone();
                        object.insert(key.clone(), value.clone());
                        Ok(object)
                    }
                    (Err(error), _) | (_, Err(error)) => Err(error.clone()),
                });
            }
        }
        objects = longer;
    }
    objects.into_iter().map(|object| object.map(Val::obj)).collect()
}

/// A table of `$filter::<0>` to `$filter::<255>`.
macro_rules! numbered {
    ($filter:ident) => {
        numbered!(@rows $filter 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    (@rows $filter:ident $($row:literal)*) => {
        numbered!(@flat $filter [$($row)*] [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15])
    };
    (@flat $filter:ident [$($row:literal)*] $columns:tt) => {{
        let rows: [[RunPtr<D>; 16]; 16] = [$(numbered!(@row $filter $row $columns)),*];
        let mut table: [RunPtr<D>; MAX] = [rows[0][0]; MAX];
        let mut at = 0;
        while at < MAX {
            table[at] = rows[at / 16][at % 16];
            at += 1;
        }
        table
    }};
    (@row $filter:ident $row:literal [$($column:literal)*]) => {
        [$($filter::<{ $row * 16 + $column }> as RunPtr<D>),*]
    };
}

static PATHS: [RunPtr<D>; MAX] = numbered!(path);
static CONSTANTS: [RunPtr<D>; MAX] = numbered!(constant);
static OBJECTS: [RunPtr<D>; MAX] = numbered!(object);
