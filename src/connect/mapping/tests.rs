use super::*;
use proptest::prelude::*;
use serde_json::json;
use std::sync::LazyLock;

fn mapping(source: &str) -> Mapping {
    Mapping::compile("map.jq", source).expect("the program compiles")
}

fn syntax(source: &str) -> String {
    Mapping::compile("map.jq", source).expect_err("the program doesn't compile").to_string()
}

fn failure(source: &str, input: Value) -> MappingFault {
    mapping(source).map(&input).expect_err("the record doesn't map")
}

#[test]
fn one_record_gives_none_one_or_several() {
    let input = json!({"a": [1, 2], "n": null});
    assert_eq!(mapping("{b: .a[0]}").map(&input).unwrap(), [json!({"b": 1})]);
    assert_eq!(mapping(".a[]").map(&input).unwrap(), [json!(1), json!(2)]);
    assert_eq!(mapping("empty").map(&input).unwrap(), Vec::<Value>::new());
    assert_eq!(mapping("select(.n)").map(&input).unwrap(), Vec::<Value>::new());
}

#[test]
fn a_mapping_is_shared_between_threads() {
    fn shared<T: Send + Sync>(_: &T) {}
    let mapping = mapping("{d: (.d | partial_date)}");
    shared(&mapping);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                assert_eq!(mapping.map(&json!({"d": "1950-07-00"})).unwrap(), [json!({"d": "1950-07"})]);
            });
        }
    });
}

#[test]
fn the_helpers_are_jq_filters_and_keep_null() {
    let source = "{a: (.a | partial_date), b: (.b | commune_code), c: (.c | ridet), d: (.d | rid), e: (.e | e164), \
                  f: (.f | person_name), g: (.g | html_text), h: (.h | folded), i: (.i | utc_time)}";
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    let output = mapping(source)
        .map(&json!({"a": "14/07/1950", "b": "MONT-DORE (LE)", "c": 213652002, "d": "213652", "e": "75.12.34",
                     "f": " N’guyen  Đạt ", "g": "<p>&eacute;t&eacute;</p>", "h": "Œ’", "i": "2026-03-14T08:12:45+11:00"}))
        .unwrap();
    assert_eq!(
        output,
        [json!({"a": "1950-07-14", "b": "98817", "c": "0213652002", "d": "0213652", "e": "+687751234",
                "f": "N’guyen Đạt", "g": "été", "h": "oe'", "i": "2026-03-13T21:12:45Z"})]
    );
    for absent in [Value::Null, json!(""), json!(" \u{a0}")] {
        let input: Value = names.iter().map(|name| ((*name).to_owned(), absent.clone())).collect();
        let nulls: Value = names.iter().map(|name| ((*name).to_owned(), Value::Null)).collect();
        assert_eq!(mapping(source).map(&input).unwrap(), [nulls]);
    }
}

#[test]
fn a_syntax_error_names_file_line_and_column() {
    assert_eq!(
        syntax("{\n  a: .a,\n  b: (.b | partial_dat)\n}"),
        "map.jq:3:12: there is no filter partial_dat; jq's standard ones and the helpers of connectors/README.md are known"
    );
    assert!(syntax("{a: $x}").starts_with("map.jq:1:5: there is no variable $x"), "{}", syntax("{a: $x}"));
    assert_eq!(syntax("{a: .a"), "map.jq:1:7: expected closing brace, and the program ends");
    assert_eq!(
        syntax("{a: .a}\n{b: .b}"),
        "map.jq:2:1: expected an operator or the end, and `{b: .b}` stands there"
    );
    assert_eq!(syntax(".a |"), "map.jq:1:5: expected term, and the program ends");
    assert!(syntax("import \"x\" as x; .").contains("can't import"));
    assert!(syntax("include \"x\"; .").contains("can't import"));
    assert!(syntax("module {}; .").contains("can't be a module"));
}

#[test]
fn the_clock_and_the_environment_cant_be_used() {
    for program in
        ["now", "env", "$ENV", "debug", "halt", "halt_error", "input", "stderr", "localtime", "$__prog_args"]
    {
        assert!(Mapping::compile("map.jq", program).is_err(), "{program}");
    }
    assert!(syntax("{a: now}").contains("depends on its input alone"));
}

#[test]
fn an_error_names_place_and_field_and_key_and_no_value() {
    let source = "{\n  person: {\n    name: .nom,\n    birthdate: (.naissance | partial_date)\n  }\n}";
    let fault = failure(source, json!({"nom": "DUPONT", "naissance": "l'an 40"})).with_key("7b2e");
    assert_eq!(fault.place, Some((4, 30)));
    assert_eq!(fault.field.as_deref(), Some("person.birthdate"));
    let text = fault.to_string();
    assert!(
        text.starts_with("map.jq:4:30: record 7b2e: field person.birthdate: partial_date: expected"),
        "{text}"
    );
    assert!(!text.contains("40") && !text.contains("DUPONT"));
}

#[test]
fn jqs_own_errors_lose_their_values() {
    let secret = json!({"nom": "DUPONT", "age": 42, "list": ["DUPONT"]});
    for (source, said) in [
        ("{a: .nom.rue}", "map.jq:1:6: field a: a string can't be indexed with the key \"rue\""),
        ("{a: (.nom | .[\"DUPONT\" | ascii_downcase])}", "field a: a string can't be indexed with a string"),
        ("{a: (.nom + .age)}", "field a: arithmetic that a string has no part in"),
        ("{a: [.age[]]}", "field a: a number can't be used as an iterable (array or object)"),
        ("{a: (.nom | tonumber)}", "field a: "),
        ("{a: error(.nom)}", "field a: the program raised an error; its text isn't shown"),
        ("{a: error(\"le nom \" + .nom)}", "field a: the program raised an error; its text isn't shown"),
        ("{a: error({nom})}", "field a: the program raised an error; its text isn't shown"),
        ("{a: error(\"this status isn't known\")}", "map.jq:1:5: field a: this status isn't known"),
        ("{a: (.nom | fromjson)}", "field a: "),
        ("{a: (.list | ridet)}", "field a: this helper takes a text or null"),
        ("{a: (.nom | implode)}", "field a: "),
        ("{a: (.nom | fromdate)}", "field a: "),
        ("{a: (.age | ltrimstr(\"x\") | test(\"y\"))}", "field a: "),
        ("{a: (.nom | .[0] = 1)}", "field a: "),
        ("{a: (.nom | strptime(\"%Y\"))}", "field a: "),
        ("{a: (.nom | @base64d)}", "field a: "),
        ("def f: .nom.x; {b: {a: f}}", "map.jq:1:9: field b.a: a string can't be indexed with the key \"x\""),
        (".list |= map(ridet)", "map.jq:1:14: ridet: "),
        ("{a: (.nom | splits(\"(\"))}", "field a: "),
    ] {
        let Err(fault) = mapping(source).map(&secret) else { panic!("{source} maps") };
        let text = fault.to_string();
        assert!(text.contains(said), "{source}: {text}");
        assert!(
            !text.contains("DUPONT") && !text.contains("dupont") && !text.contains("42"),
            "{source}: {text}"
        );
        assert!(fault.place.is_some(), "{source}: {text}");
    }
}

#[test]
fn a_caught_error_leaves_no_trace_in_a_later_one() {
    let source = "{a: (try (.x | ridet) catch null),\n b: (.y | ridet? // null),\n c: (.z.q // (.x | rid))}";
    let fault = failure(source, json!({"x": "DUPONT", "y": "DUPONT", "z": null}));
    assert_eq!((fault.place, fault.field.as_deref()), (Some((3, 20)), Some("c")));
    let source = "{a: (try (.x | ridet) catch (\n.x | ridet))}";
    assert_eq!(failure(source, json!({"x": "DUPONT"})).field.as_deref(), Some("a"));
}

#[test]
fn the_place_is_found_among_other_fields_and_through_definitions() {
    let source = "def g: .x | ridet;\ndef f: {i: 1, j: g, k: 2};\n{a: 1, b: [.l[] | f], c: (.x | rid? // 3)}";
    let fault = failure(source, json!({"x": "DUPONT", "l": [{"x": "0213652002"}, {"x": "DUPONT"}]}));
    assert_eq!((fault.place, fault.field.as_deref()), (Some((1, 13)), Some("b.j")));
    let source = "{a: (.x | ridet), b: 1, c: (.x | rid), d: 2}";
    let fault = failure(source, json!({"x": "DUPONT"}));
    assert_eq!((fault.place, fault.field.as_deref()), (Some((1, 11)), Some("a")));
}

#[test]
fn a_mapping_that_never_ends_is_stopped() {
    for endless in [
        "def f: f; f",
        "def f: f?; f, f",
        "[repeat(1)] | length",
        "last(range(0; infinite))",
        "[range(0; 1e12)]",
        "reduce range(0; infinite) as $x (0; . + 1)",
        "until(false; .)",
        "[recurse(1)]",
        "[while(true; .)]",
        "def f: [f]; f",
        "def f: 1 + f; f",
        "def f: try f catch f; f",
        "def f: def g: f; g; f",
        "label $out | foreach repeat(1) as $x (0; . + $x; if . < 0 then ., break $out else empty end)",
        "first(repeat(1) | select(. == 2))",
        "{a: ([limit(1e9; repeat(1))] | length)}",
        "[range(1000)] | [., ., .] | combinations",
        "[range(1000)] | . as $l | [$l[] as $a | $l[] as $b | $a + $b] | length",
        "[range(1000)] | reduce .[] as $a (.; reduce .[] as $b (.; .[0] += $a + $b))",
        "[range(700)] | [.. as $a | .. as $b | 1] | length",
        "[range(1000)] | [.[] as $a | map(. + $a)] | length",
    ] {
        let fault = failure(endless, json!({}));
        assert!(matches!(fault.problem, MappingProblem::TooMuch(_)), "{endless}: {fault}");
    }
}

#[test]
fn a_text_or_an_array_that_grows_without_end_is_stopped() {
    for growing in [
        "\"x\" * 9223372036854775807",
        "1e30 * \"x\"",
        "9223372036854775807 * \"x\"",
        "{a: \"x\"} | .a *= 100000000",
        "reduce range(60) as $i (\"x\"; . + .)",
        "reduce range(60) as $i ([1]; . + .)",
        "reduce range(60) as $i (\"x\"; . += .)",
        "try (\"x\" * 100000000) catch 1",
    ] {
        let fault = failure(growing, Value::Null);
        assert!(matches!(fault.problem, MappingProblem::TooMuch(_)), "{growing}: {fault}");
    }
    let fault = failure("reduce range(60) as $i (1; [., .])", Value::Null);
    assert!(matches!(fault.problem, MappingProblem::Output(_)), "{fault}");
}

#[test]
fn arithmetic_is_jqs() {
    for (program, output) in [
        ("\"ab\" * 2", json!("abab")),
        ("2 * \"ab\"", json!("abab")),
        ("\"ab\" * 0", json!(null)),
        ("3 * 4, 3 + 4, 1.5 * 2", json!(12)),
        ("[(1, 2) * (3, 5)]", json!([3, 5, 6, 10])),
        ("[(1, 2) + (3, 5)]", json!([4, 6, 5, 7])),
        ("{a: 1} * {b: {c: 2}}", json!({"a": 1, "b": {"c": 2}})),
        ("{a: 1} + null", json!({"a": 1})),
        ("{a: 2, b: 3} | .a *= .b", json!({"a": 6, "b": 3})),
        ("{a: 2} | .a += 1", json!({"a": 3})),
        ("[{a: 1} | .a += (1, 2)]", json!([{"a": 2}, {"a": 3}])),
        ("[1] + [2]", json!([1, 2])),
    ] {
        assert_eq!(mapping(program).map(&Value::Null).unwrap()[0], output, "{program}");
    }
}

#[test]
fn bounded_loops_are_let_be() {
    for (program, output) in [
        ("[range(0; 50000)] | length", json!(50_000)),
        ("reduce range(0; 1000) as $x (0; . + $x)", json!(499_500)),
        ("[limit(3; repeat(1))]", json!([1, 1, 1])),
        ("def f: if . < 50000 then . + 1 | f else . end; 0 | f", json!(50_000)),
        ("[1, [2, [3]]] | flatten", json!([1, 2, 3])),
        ("[{a: {b: 1}} | .. | numbers]", json!([1])),
        ("{a: {b: 1}} | [paths]", json!([["a"], ["a", "b"]])),
        ("[[1, 2]] | walk(if type == \"number\" then . + 1 else . end)", json!([[2, 3]])),
        ("{a: 1, b: null} | del(.b) | to_entries", json!([{"key": "a", "value": 1}])),
    ] {
        assert_eq!(mapping(program).map(&Value::Null).unwrap(), [output], "{program}");
    }
}

/// What a program gives in one form: its outputs up to the first error.
fn in_form(source: &str, form: Form, input: &Value) -> Vec<Result<Val, jaq_json::Error>> {
    let program =
        program::compile(source, form).unwrap_or_else(|fault| panic!("{source}: {}", fault.problem));
    let run = Run::new(program.literals.take());
    let mut failed = false;
    outputs(&program, &run, value::to_jaq(input))
        .take_while(|output| !std::mem::replace(&mut failed, output.is_err()))
        .collect()
}

#[test]
fn the_quick_form_gives_what_jaq_gives() {
    let input =
        json!({"a": {"b": {"c": 1}}, "s": "x", "l": [1, {"k": 2}, {"k": null}], "null": null, "e": ""});
    for source in [
        ".a.b.c",
        ".a.b | .c",
        ".a[\"b\"].c",
        ".absent.b",
        ".s.b",
        ".l.b",
        ".l[1].k",
        ".l[].k?",
        ".l[1:][].k",
        ".a?.b?",
        ".a.b[.s]?",
        ".a[.s].c",
        "[.l[] | .k?]",
        ".a as {b: {$c}} | $c",
        "{a, s}",
        "{a: .a.b.c, \"e\": null, t: true, f: false}",
        "{a: (1, 2), b: (3, 4), c: (5, 6)}",
        "{a: .l[], b: .l[]}",
        "{a: empty, b: 1}",
        "{a: 1, b: empty}",
        "{a: error(\"x\"), b: 1}",
        "{a: (1, error(\"x\")), b: (1, 2)}",
        "{a: 1, b: (1, error(\"x\"), 2), c: (3, 4)}",
        "[limit(3; {a: range(9), b: (1, 2)})]",
        "[{a: (1, 2), b: (3, 4)} | try error catch .]",
        "{a: 1, a: 2}",
        "{a: {b: {c: (1, 2)}, d: (3, 4)}}",
        "{(.s): 1, t: 2}",
        "{\"a\\(.s)\": 1}",
        "{\"\\n\": \"\\u00e9\"}",
        "{$__loc__}?",
        "{a: \"x\", b: \"x\\(.s)y\"}",
        "{A: \"one\", B: \"two\"}[\"A\", \"B\", \"C\"]",
        "{A: \"one\"}.A",
        "[\"a\", null, [], {}] | .[]",
        "if .null == null then \"n\" else \"v\" end",
        "def f: .a.b; def g($x): {x: $x, y: f}; g(1, 2)",
        "def null: 3; [null, .null]",
        "def f(true): true; f(1)",
        "def r: if . > 3 then . else . + 1 | r end; {a: (0 | r)}",
        "reduce .l[] as $x ({n: 0}; {n: (.n + 1), last: $x})",
        "[foreach (1, 2) as $x ({}; {v: $x}; .v)]",
        ".a.b.c |= . + 1",
        ".a.b = \"x\" | .a.b",
        ".a.d += 1",
        "path(.a.b)",
        "[paths]",
        "del(.a.b)",
        "to_entries[0].key",
        "with_entries(.value = null)",
        ".. | .c?",
        "first(.a.b)",
        "[.l[] | objects | has(\"k\")]",
        "{a: (.s | test(\"x\")), b: (.s | sub(\"x\"; \"y\"))}",
        "label $out | {a: (1, break $out, 2)}",
        "try {a: error({m: 1})} catch .m",
        "{a: 1} + {b: 2} | keys",
        "@json \"v: \\(.a)\"",
        "{user: .s, \"b-c\": .[\"b-c\"]}",
        "{if: 1, and: 2} | .if, .and",
    ] {
        if Mapping::compile("map.jq", source).is_ok() {
            assert_eq!(
                in_form(source, Form::Quick, &input),
                in_form(source, Form::Plain, &input),
                "{source}"
            );
            assert_eq!(
                in_form(source, Form::Traced, &input),
                in_form(source, Form::Plain, &input),
                "{source}"
            );
        } else {
            assert!(source.contains("$__loc__"), "{source} doesn't compile");
        }
    }
}

#[test]
fn a_program_with_many_literals_is_the_same() {
    let fields: Vec<String> = (0..300).map(|n| format!("k{n}: [.k{n}, \"v{n}\", {{n: {n}}}]")).collect();
    let source = format!("{{{}}}", fields.join(", "));
    let input = json!({"k7": 7, "k299": 299});
    assert_eq!(in_form(&source, Form::Quick, &input), in_form(&source, Form::Plain, &input));
    assert_eq!(mapping(&source).map(&input).unwrap()[0]["k299"], json!([299, "v299", {"n": 299}]));
}

#[test]
fn what_json_cant_hold_is_an_error_that_names_the_field() {
    let fault = failure("{a: {b: [1, nan]}}", Value::Null);
    assert_eq!(fault.field.as_deref(), Some("a.b.1"));
    assert!(matches!(fault.problem, MappingProblem::Output(_)));
    assert!(mapping("infinite").map(&Value::Null).is_err());
    assert!(mapping("{(1): 2}").map(&Value::Null).is_err());
}

/// Programs that fail on a record, one way each.
static FAILING: LazyLock<Vec<Mapping>> = LazyLock::new(|| {
    [
        "{a: .nom.b}",
        "{a: .liste.b}",
        "{a: (.nom * {})}",
        "{a: (.nom | tonumber)}",
        "{a: (.liste | join({}))}",
        "{a: error}",
        "{a: (.nom | .[{}])}",
        "{a: (.nom | e164)}",
        "{a: .[.nom][.nom]}",
        "{a: (.liste | .[.[0]])}",
    ]
    .map(mapping)
    .into()
});

/// JSON without floats that print as integers: jq keeps the difference, and the
/// comparison would too.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |x| x.is_finite()).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn identity_gives_back_any_json(input in any_json()) {
        static IDENTITY: LazyLock<Mapping> = LazyLock::new(|| mapping("."));
        prop_assert_eq!(IDENTITY.map(&input).unwrap(), [input]);
    }

    #[test]
    fn no_program_text_makes_the_compiler_panic(source in "[a-z.|{}()\\[\\]:,\"$ \n#@?/=+0-9é]{0,40}") {
        let _ = Mapping::compile("map.jq", &source);
    }

    #[test]
    fn no_error_holds_the_text_of_a_record(name in "[A-Z]{8,12}") {
        let input = json!({"nom": name.clone(), "liste": [name.clone()]});
        for mapping in FAILING.iter() {
            if let Err(fault) = mapping.map(&input) {
                prop_assert!(!fault.to_string().contains(&name), "{}: {}", mapping.source, fault);
                let debug = format!("{fault:?}");
                prop_assert!(!debug.contains(&name));
            }
        }
    }
}
