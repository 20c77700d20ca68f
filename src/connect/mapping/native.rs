//! What a program can call in Rust: the helpers, and the two filters that
//! [`super::program`] puts in.

use super::program::{Place, is_forbidden};
use super::quick::Literals;
use crate::connect::helpers::{HELPERS, HelperFault, NOT_A_TEXT};
use jaq_core::box_iter::box_once;
use jaq_core::native::{Fun, v};
use jaq_core::ops::Math;
use jaq_core::{Bind, Cv, DataT, Error, Exn, Lut, Native, ValX, data};
use jaq_json::{Num, Val};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The steps that a program may take on one record: some thousand times what a
/// mapping needs.
const MAX_STEPS: u32 = 200_000;
/// The time that a program may take on one record, looked at every 1,024 steps.
const MAX_TIME: Duration = Duration::from_secs(2);
/// How much of the stack a program may use, in bytes: half of the smallest stack
/// (2 MiB) that a thread of ours has.
const MAX_STACK: usize = 1024 * 1024;

/// The largest text or array that a program may put together, in bytes.
const MAX_SIZE: usize = 64 * 1024 * 1024;

/// What one run keeps beside its values.
pub(super) struct Run {
    steps: Cell<u32>,
    begun: Instant,
    stack: usize,
    /// Why the run was stopped, once it was.
    pub stopped: Cell<Option<&'static str>>,
    /// The errors that passed a place, in order, and the numbers of the places.
    passed: RefCell<VecDeque<(usize, Error<Val>)>>,
    /// The literals of the program.
    pub literals: Literals,
}

/// How many passages are kept; those before them are forgotten.
const MAX_PASSAGES: usize = 4096;

impl Run {
    pub fn new(literals: Literals) -> Run {
        Run {
            steps: Cell::new(0),
            begun: Instant::now(),
            stack: stack_position(),
            stopped: Cell::new(None),
            passed: RefCell::default(),
            literals,
        }
    }

    fn step(&self) -> Result<(), Error<Val>> {
        let steps = self.steps.get() + 1;
        if self.stopped.get().is_none() {
            self.steps.set(steps);
            if steps > MAX_STEPS || (steps.is_multiple_of(1024) && self.begun.elapsed() > MAX_TIME) {
                self.stopped
                    .set(Some("it didn't end: a loop or a recursion in it goes on for ever on this record"));
            } else if self.stack.abs_diff(stack_position()) > MAX_STACK {
                self.stopped.set(Some("a recursion in it goes too deep on this record"));
            }
        }
        // Once stopped, every step fails, so that a `try` in the program can't go on.
        match self.stopped.get() {
            Some(why) => Err(Error::str(why)),
            None => Ok(()),
        }
    }

    /// Fails if a value of `size` bytes is too large.
    fn fits(&self, size: usize) -> Result<(), Error<Val>> {
        if size > MAX_SIZE {
            self.stopped.set(Some("a text or an array in it grows beyond 64 MiB on this record"));
        }
        match self.stopped.get() {
            Some(why) => Err(Error::str(why)),
            None => Ok(()),
        }
    }

    /// Writes down that what passed place `number` is `result`, if it is an error.
    fn passed<'a, T>(&self, number: usize, result: ValX<'a, T, Val>) -> ValX<'a, T, Val> {
        let Err(exception) = result else { return result };
        let error = exception.get_err()?;
        let mut passed = self.passed.borrow_mut();
        if passed.len() == MAX_PASSAGES {
            passed.pop_front();
        }
        passed.push_back((number, error.clone()));
        Err(Exn::from(error))
    }

    /// The places that `error` passed on its way out, innermost last.
    ///
    /// Errors that were caught passed places too, and jaq goes on with a second
    /// operand after the first failed. So it goes back from the last passage of
    /// the error and takes those within the place taken before, or in a
    /// definition, which is called from there.
    pub fn way_out(&self, error: &Error<Val>, places: &[Place]) -> Vec<usize> {
        let mut way: Vec<usize> = Vec::new();
        for (number, passed) in self.passed.borrow().iter().rev() {
            let Some(place) = places.get(*number) else { continue };
            let inward = way.last().is_none_or(|outer| {
                let within = places[*outer].first <= *number && *number < *outer;
                within || (place.in_definition && *number != *outer)
            });
            if passed == error && inward {
                way.push(*number);
            }
        }
        way
    }
}

/// About where the stack is now. Only differences are used.
fn stack_position() -> usize {
    let here = 0u8;
    std::ptr::from_ref(std::hint::black_box(&here)) as usize
}

/// The kind of data that our programs run on.
pub(super) struct D;

/// What native filters see of a run.
#[derive(Clone)]
pub(super) struct Data<'a> {
    pub lut: &'a Lut<D>,
    pub run: &'a Run,
}

impl DataT for D {
    type V<'a> = Val;
    type Data<'a> = Data<'a>;
}

impl<'a> data::HasLut<'a, D> for Data<'a> {
    fn lut(&self) -> &'a Lut<D> {
        self.lut
    }
}

/// Every native filter: jq's own without the forbidden ones, the helpers, and
/// `__tick` and `__at`.
pub(super) fn natives() -> impl Iterator<Item = Fun<D>> {
    jaq_core::funs()
        .chain(jaq_std::funs())
        .chain(jaq_json::funs())
        .filter(|(name, ..)| !is_forbidden(name))
        .chain(helpers())
        .chain([tick(), at(), arithmetic("__plus", Math::Add), arithmetic("__times", Math::Mul)])
}

fn tick() -> Fun<D> {
    let native =
        Native::new(|cv: Cv<'_, D>| box_once(cv.0.data().run.step().map(|()| cv.1).map_err(Exn::from)))
            .with_paths(|cv| box_once(cv.0.data().run.step().map(|()| cv.1).map_err(Exn::from)))
            .with_update(|cv, update| match cv.0.data().run.step() {
                Ok(()) => update(cv.1),
                Err(error) => box_once(Err(Exn::from(error))),
            });
    ("__tick", v(0), native)
}

/// `l + r` or `l * r`, unless the text or the array would be too large.
fn arithmetic(name: &'static str, math: Math) -> Fun<D> {
    let native = match math {
        Math::Mul => Native::new(|mut cv: Cv<'_, D>| {
            let (r, l) = (cv.0.pop_var(), cv.0.pop_var());
            let size = match (&l, &r) {
                (Val::TStr(text) | Val::BStr(text), Val::Num(times))
                | (Val::Num(times), Val::TStr(text) | Val::BStr(text)) => text
                    .len()
                    .saturating_mul(times.as_isize().map_or(usize::MAX, |times| times.max(0).unsigned_abs())),
                _ => 0,
            };
            box_once(cv.0.data().run.fits(size).and_then(|()| l * r).map_err(Exn::from))
        }),
        _ => Native::new(|mut cv: Cv<'_, D>| {
            let (r, l) = (cv.0.pop_var(), cv.0.pop_var());
            let size = match (&l, &r) {
                (Val::TStr(l) | Val::BStr(l), Val::TStr(r) | Val::BStr(r)) => l.len() + r.len(),
                (Val::Arr(l), Val::Arr(r)) => (l.len() + r.len()) * size_of::<Val>(),
                _ => 0,
            };
            box_once(cv.0.data().run.fits(size).and_then(|()| l + r).map_err(Exn::from))
        }),
    };
    (name, v(2), native)
}

fn at() -> Fun<D> {
    let native = Native::new(|mut cv: Cv<'_, D>| {
        let (filter, context) = cv.0.pop_fun();
        let (number, run) = (number(cv.0.pop_var()), context.data().run);
        Box::new(filter.run((context, cv.1)).map(move |result| run.passed(number, result)))
    })
    .with_paths(|mut cv| {
        let (filter, context) = cv.0.pop_fun();
        let (number, run) = (number(cv.0.pop_var()), context.data().run);
        Box::new(filter.paths((context, cv.1)).map(move |result| run.passed(number, result)))
    })
    .with_update(|mut cv, update| {
        let (filter, context) = cv.0.pop_fun();
        let (number, run) = (number(cv.0.pop_var()), context.data().run);
        Box::new(filter.update((context, cv.1), update).map(move |result| run.passed(number, result)))
    });
    ("__at", [Bind::Var(()), Bind::Fun(())].into(), native)
}

fn number(value: Val) -> usize {
    match value {
        Val::Num(Num::Int(number)) => number.unsigned_abs(),
        // `super::program` writes whole numbers only.
        _ => 0,
    }
}

/// One native filter for each entry of [`HELPERS`]. jaq takes function pointers,
/// which can't capture, so each is made from its position.
fn helpers() -> impl Iterator<Item = Fun<D>> {
    macro_rules! helper {
        ($($at:literal)*) => {
            [$((HELPERS[$at].0, v(0), Native::new(|cv: Cv<'_, D>| box_once(help($at, cv.1).map_err(Exn::from)))),)*]
        };
    }
    let natives: [Fun<D>; HELPERS.len()] = helper!(0 1 2 3 4 5 6 7 8);
    natives.into_iter()
}

fn help(at: usize, value: Val) -> Result<Val, Error<Val>> {
    let (_, takes_numbers, helper) = HELPERS[at];
    let said = |fault: HelperFault| Error::str(fault.0);
    let answer = match &value {
        Val::Null => return Ok(Val::Null),
        Val::TStr(text) => {
            let text = String::from_utf8_lossy(text);
            if text.trim().is_empty() {
                return Ok(Val::Null);
            }
            helper(&text)
        }
        Val::Num(number @ (Num::Int(_) | Num::BigInt(_))) if takes_numbers => helper(&number.to_string()),
        _ => Err(NOT_A_TEXT),
    };
    Ok(answer.map_err(said)?.map_or(Val::Null, Val::utf8_str))
}
