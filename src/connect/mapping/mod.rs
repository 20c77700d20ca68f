//! A connector's mapping: a jq program, from one record of the software's to
//! harmonised records.
//!
//! The jq is jaq's. What jaq lacks for this use is added here: helpers for the
//! traps of the data, a bound on a run, the place of an error, and errors
//! without personal data.

mod fault;
mod native;
mod program;
mod quick;
mod tree;
mod value;

pub use fault::{MappingFault, MappingProblem};

use jaq_core::{Ctx, Vars};
use jaq_json::Val;
use native::{D, Data, Run};
use program::{Form, Program};
use serde_json::Value;
use std::panic::AssertUnwindSafe;
use std::sync::OnceLock;

/// A compiled mapping. It can be shared between threads.
pub struct Mapping {
    name: String,
    source: String,
    program: Program,
    /// The form that finds the place of an error, made when first needed.
    traced: OnceLock<Option<Program>>,
}

/// Prints the name.
impl std::fmt::Debug for Mapping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mapping").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Mapping {
    /// Compiles a jq program. `name` is what faults call it, its file as a rule.
    ///
    /// Fails with the line and column of the first thing that is wrong.
    pub fn compile(name: impl Into<String>, source: &str) -> Result<Mapping, MappingFault> {
        let name = name.into();
        let fault = |fault: program::SyntaxFault| MappingFault {
            name: name.clone(),
            place: Some(fault.at),
            field: None,
            key: None,
            problem: MappingProblem::Syntax(fault.problem),
        };
        program::check(source).map_err(fault)?;
        let program = program::compile(source, Form::Quick).map_err(fault)?;
        Ok(Mapping { name, source: source.to_owned(), program, traced: OnceLock::new() })
    }

    /// The name that [`Mapping::compile`] was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Maps one record. No output means that the mapping skips the record on
    /// purpose; several are several events.
    ///
    /// A fault names the place in the program and the field, and no value; add
    /// the record's key with [`MappingFault::with_key`].
    pub fn map(&self, input: &Value) -> Result<Vec<Value>, MappingFault> {
        let input = value::to_jaq(input);
        // jaq panics where a text would be larger than the memory, for instance. That is
        // a fault of this record, not of the process.
        let answer = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let run = Run::new(self.program.literals.take());
            let result: Result<Vec<Val>, _> = outputs(&self.program, &run, input.clone()).collect();
            let answer = self.answer(&run, result, input);
            // Nothing of the run is left that shares the literals.
            self.program.literals.give_back(run.literals);
            answer
        }));
        answer.unwrap_or_else(|_| {
            let why =
                "it broke off on this record: a text or a number in it goes beyond what there is room for";
            Err(self.fault(None, None, MappingProblem::TooMuch(why.to_owned())))
        })
    }

    fn answer(
        &self,
        run: &Run,
        result: Result<Vec<Val>, jaq_json::Error>,
        input: Val,
    ) -> Result<Vec<Value>, MappingFault> {
        if let Some(why) = run.stopped.get() {
            return Err(self.fault(None, None, MappingProblem::TooMuch(why.to_owned())));
        }
        match result {
            Ok(outputs) => outputs.iter().map(|output| self.output(output)).collect(),
            Err(error) => Err(self.explain(error, input)),
        }
    }

    fn output(&self, output: &Val) -> Result<Value, MappingFault> {
        value::from_jaq(output).map_err(|fault| {
            let field = (!fault.path.is_empty()).then(|| fault.path.join("."));
            self.fault(None, field, MappingProblem::Output(fault.problem.to_owned()))
        })
    }

    /// Says why the program failed, and where: it runs once more in its tracing
    /// form.
    fn explain(&self, error: jaq_json::Error, input: Val) -> MappingFault {
        let text = text_of(error.clone().into_val());
        let problem = MappingProblem::Failed(fault::without_values(&text, &self.source));
        let traced = self.traced.get_or_init(|| program::compile(&self.source, Form::Traced).ok());
        let Some(traced) = traced else { return self.fault(None, None, problem) };
        let run = Run::new(traced.literals.take());
        if outputs(traced, &run, input).find_map(Result::err).as_ref() != Some(&error) {
            return self.fault(None, None, problem);
        }
        let way = run.way_out(&error, &traced.places);
        let places = || way.iter().filter_map(|number| traced.places.get(*number));
        let at = places().rev().find_map(|place| place.at);
        let fields: Vec<&str> = places().filter_map(|place| place.field.as_deref()).collect();
        let field = (!fields.is_empty()).then(|| fields.join("."));
        self.fault(at, field, problem)
    }

    fn fault(
        &self,
        place: Option<(u32, u32)>,
        field: Option<String>,
        problem: MappingProblem,
    ) -> MappingFault {
        MappingFault { name: self.name.clone(), place, field, key: None, problem }
    }
}

/// Runs a program.
fn outputs<'a>(
    program: &'a Program,
    run: &'a Run,
    input: Val,
) -> impl Iterator<Item = Result<Val, jaq_json::Error>> + 'a {
    let data = Data { lut: &program.filter.lut, run };
    let context = Ctx::<D>::new(data, Vars::new([]));
    program.filter.id.run((context, input)).map(|result| {
        result.map_err(|exception| {
            // A `break` outside its label doesn't compile, and `halt` isn't there.
            exception.get_err().unwrap_or_else(|_| jaq_json::Error::str("the program left its own bounds"))
        })
    })
}

fn text_of(value: Val) -> String {
    match value {
        Val::TStr(text) => String::from_utf8_lossy(&text).into_owned(),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests;
