//! Random policies and calls. A policy that is refused when it is read is drawn again by whoever asks.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

/// A policy as text.
pub(super) fn policy(random: &mut StdRng) -> String {
    let mut policy = Policy {
        random,
        own: Vec::new(),
        text: String::new(),
    };
    policy.facts();
    policy.rules();
    for _ in 0..policy.random.gen_range(0..3) {
        let kind = policy.one_of(&["check if", "check if", "check all", "reject if"]);
        policy.statement(kind);
    }
    for _ in 0..policy.random.gen_range(1..5) {
        let kind = policy.one_of(&["allow if", "allow if", "deny if"]);
        policy.statement(kind);
    }
    if policy.random.gen_bool(0.5) {
        policy.text.push_str("allow if true;\n");
    }
    policy.text
}

/// Facts of the policy's own that may be written out.
const OWN: &[&str] = &[
    "limited_to(\"our-editor\", \"/public/\")",
    "limited_to(\"c_1\", \"/public/notes/\")",
    "limited_to(\"c_1\", \"/\")",
    "most(5)",
    "most(0)",
    "most(\"a\")",
    "bag({\"a\", \"b\", \"deploy\"})",
    "bag({1, 2, 3})",
    "bag({,})",
    "row([1, \"a\", true, null])",
    "row([\"a\", \"b\"])",
    "thing({\"k\": 1, \"q\": [1, 2], 3: \"x\"})",
    "until(2026-11-24T12:00:00Z)",
    "until(2030-01-01T00:00:00Z)",
    "big(9223372036854775807)",
];

/// Facts of the gateway with what may stand in them: constants, or a variable.
const STATED: &[(&str, &[&[&str]])] = &[
    ("user", &[&["\"alice\"", "\"bob\""]]),
    ("machine", &[&["true"]]),
    ("group", &[&["\"staff\"", "\"nobody\""]]),
    ("client", &[&["\"our-editor\"", "\"c_1\""]]),
    (
        "client_kind",
        &[&["\"document\"", "\"pre_registered\"", "\"self_registered\""]],
    ),
    ("client_host", &[&["\"chatgpt.com\""]]),
    ("scope", &[&["\"mcp\"", "\"read\""]]),
    ("backend", &[&["\"notes\""]]),
    ("message", &[&["\"request\"", "\"stream\""]]),
    (
        "method",
        &[&["\"tools/call\"", "\"tools/list\"", "\"prompts/get\""]],
    ),
    ("harmless", &[&["true"]]),
    ("tool", &[&["\"a\"", "\"deploy\"", "\"erase_all\""]]),
    ("tool", &[&["\"a\"", "\"deploy\"", "\"erase_all\""]]),
    ("prompt", &[&["\"a\""]]),
    ("uri", &[&["\"file:///docs/a\""]]),
    ("read_only", &[&["true", "false"]]),
    ("destructive", &[&["true", "false"]]),
    ("unlabelled", &[&["true"]]),
    ("argument", &[PATHS, CONSTANTS]),
    ("argument", &[PATHS, CONSTANTS]),
    ("argument", &[PATHS, CONSTANTS]),
    ("argument", &[PATHS, CONSTANTS]),
    (
        "argument_type",
        &[
            PATHS,
            &[
                "\"text\"",
                "\"number\"",
                "\"boolean\"",
                "\"array\"",
                "\"null\"",
                "\"object\"",
            ],
        ],
    ),
    ("approved", &[&["\"deploy\"", "\"a\""], &["\"ops\""]]),
    ("time", &[&["2026-11-24T12:00:00Z"]]),
    ("hour", &[&["12", "3"]]),
    ("calls_today", &[&["3", "100"]]),
    ("weekday", &[&["\"tuesday\"", "\"sunday\""]]),
    ("address", &[&["\"192.0.2.7\""]]),
    ("network", &[&["\"office\""]]),
    ("protocol_version", &[&["\"2025-11-25\""]]),
];

const PATHS: &[&str] = &[
    "\"n\"",
    "\"path\"",
    "\"to\"",
    "\"tags\"",
    "\"where\"",
    "\"flag\"",
    "\"to[0]\"",
    "\"where.k\"",
    "\"where.a\\\\.b\"",
];

const CONSTANTS: &[&str] = &[
    "0",
    "1",
    "5",
    "-7",
    "9223372036854775807",
    "\"a\"",
    "\"b\"",
    "\"\"",
    "\"/public/\"",
    "\"/public/a\"",
    "\"alice\"",
    "\"deploy\"",
    "\"DEPLOY\"",
    "\"@example.com\"",
    "true",
    "false",
    "null",
    "hex:00ff",
    "2026-11-24T12:00:00Z",
    "2030-01-01T00:00:00Z",
    "[1, 2]",
    "[]",
    "[\"a\", \"b\"]",
    "[\"a@example.com\", \"b\"]",
    "{\"a\", \"b\"}",
    "{1, 5}",
    "{,}",
    "{\"k\": 1}",
    "{\"k\": 1, \"a.b\": [1]}",
];

const PATTERNS: &[&str] = &[
    "^a",
    "^[a-z_]+$",
    "@example\\\\.com$",
    "(?i)deploy",
    ".",
    "^$",
    "^/public/",
];

struct Policy<'r> {
    random: &'r mut StdRng,
    /// What the policy states itself: name and number of terms.
    own: Vec<(String, usize)>,
    text: String,
}

impl Policy<'_> {
    fn one_of<'t>(&mut self, of: &[&'t str]) -> &'t str {
        of.choose(self.random).copied().unwrap_or_default()
    }

    fn facts(&mut self) {
        for _ in 0..self.random.gen_range(0..5) {
            let fact = self.one_of(OWN);
            let name = fact.split('(').next().unwrap_or_default();
            let terms = if name == "limited_to" { 2 } else { 1 };
            self.own.push((name.to_owned(), terms));
            self.text.push_str(&format!("{fact};\n"));
        }
    }

    fn rules(&mut self) {
        for at in 0..self.random.gen_range(0..4_usize) {
            let (body, variables) = self.query();
            let terms = self.random.gen_range(1..3);
            let terms: Vec<String> = (0..terms)
                .map(|_| match variables.choose(self.random) {
                    Some(variable) if self.random.gen_bool(0.8) => variable.clone(),
                    _ => self.one_of(CONSTANTS).to_owned(),
                })
                .collect();
            // Some are made twice, some by themselves.
            let name = match self.random.gen_range(0..8) {
                0 => "d0".to_owned(),
                _ => format!("d{at}"),
            };
            self.text
                .push_str(&format!("{name}({}) <- {body};\n", terms.join(", ")));
            self.own.push((name, terms.len()));
        }
    }

    fn statement(&mut self, kind: &str) {
        let mut text = format!("{kind} {}", self.query().0);
        while self.random.gen_bool(0.2) {
            text.push_str(&format!(" or {}", self.query().0));
        }
        self.text.push_str(&text);
        self.text.push_str(";\n");
    }

    /// A body, and the variables that it binds.
    fn query(&mut self) -> (String, Vec<String>) {
        let mut variables: Vec<String> = Vec::new();
        let mut parts = Vec::new();
        for _ in 0..*[0, 1, 1, 1, 2, 2, 3].choose(self.random).unwrap_or(&1) {
            parts.push(self.atom(&mut variables));
        }
        let conditions = if parts.is_empty() {
            1
        } else {
            *[0, 0, 1, 1, 2].choose(self.random).unwrap_or(&1)
        };
        for _ in 0..conditions {
            parts.push(self.condition(&variables, 3));
        }
        (parts.join(", "), variables)
    }

    fn atom(&mut self, variables: &mut Vec<String>) -> String {
        let own = self.own.choose(self.random).cloned();
        if let Some((name, terms)) = own.filter(|_| self.random.gen_bool(0.3)) {
            let terms: Vec<String> = (0..terms)
                .map(|_| self.term(CONSTANTS, variables, 0.8))
                .collect();
            return format!("{name}({})", terms.join(", "));
        }
        let Some((name, places)) = STATED.choose(self.random) else {
            return "user($u)".to_owned();
        };
        let terms: Vec<String> = places
            .iter()
            .enumerate()
            .map(|(at, constants)| {
                let is_path = at == 0 && name.starts_with("argument");
                let share = if is_path { 0.08 } else { 0.6 };
                self.term(constants, variables, share)
            })
            .collect();
        format!("{name}({})", terms.join(", "))
    }

    fn term(&mut self, constants: &[&str], variables: &mut Vec<String>, share: f64) -> String {
        if !self.random.gen_bool(share) {
            return self.one_of(constants).to_owned();
        }
        match variables.choose(self.random) {
            Some(variable) if self.random.gen_bool(0.2) => variable.clone(),
            _ => {
                let variable = format!("$v{}", variables.len());
                variables.push(variable.clone());
                variable
            }
        }
    }

    fn condition(&mut self, variables: &[String], depth: usize) -> String {
        if depth == 0 {
            return self.one_of(&["true", "false", "true"]).to_owned();
        }
        let variable = variables.choose(self.random).cloned();
        if let Some(variable) = variable.filter(|_| self.random.gen_bool(0.88)) {
            return self.typed(&variable);
        }
        if variables.is_empty() && self.random.gen_bool(0.7) {
            return self.one_of(&["true", "false"]).to_owned();
        }
        let below = depth - 1;
        match self.random.gen_range(0..14) {
            0..=4 => {
                let operator = self.one_of(&["<", ">", "<=", ">=", "==", "!=", "===", "!=="]);
                let (left, right) = (self.value(variables, below), self.value(variables, below));
                format!("{left} {operator} {right}")
            }
            5..=7 => {
                let operator = self.one_of(&["contains", "starts_with", "ends_with", "contains"]);
                let (left, right) = (self.value(variables, below), self.value(variables, below));
                format!("{left}.{operator}({right})")
            }
            8 => {
                let pattern = self.one_of(PATTERNS);
                format!("{}.matches(\"{pattern}\")", self.value(variables, below))
            }
            9 => format!("!({})", self.condition(variables, below)),
            10 => {
                let operator = self.one_of(&["&&", "||"]);
                let left = self.condition(variables, below);
                format!("({left}) {operator} ({})", self.condition(variables, below))
            }
            11 | 12 => {
                let operator = self.one_of(&["all", "any"]);
                let whole = self.value(variables, below);
                let mut inner = variables.to_vec();
                // Once in a while it is a variable already.
                let parameter = match variables.first() {
                    Some(shadowed) if self.random.gen_bool(0.05) => shadowed.clone(),
                    _ => format!("$p{depth}"),
                };
                inner.extend([parameter.clone(), parameter.clone()]);
                let asked = self.condition(&inner, below);
                format!("{whole}.{operator}({parameter} -> {asked})")
            }
            _ => {
                let instead = self.one_of(&["true", "false"]);
                format!("({}).try_or({instead})", self.condition(variables, below))
            }
        }
    }

    /// One that can mostly be evaluated.
    fn typed(&mut self, variable: &str) -> String {
        let constant = self.one_of(CONSTANTS);
        let pattern = self.one_of(PATTERNS);
        let order = self.one_of(&["<", ">", "<=", ">="]);
        let test = self.one_of(&["contains", "starts_with", "ends_with"]);
        let text = self.one_of(&["\"a\"", "\"/public/\"", "\"\"", "\"e\"", "\"Dep\""]);
        let quantifier = self.one_of(&["all", "any"]);
        let of_kind =
            |kind: &str, what: String| format!("{variable}.type() == \"{kind}\" && {what}");
        match self.random.gen_range(0..11) {
            0 => format!("{variable} == {constant}"),
            1 => format!("{variable} != {constant}"),
            2 => of_kind("string", format!("{variable}.{test}({text})")),
            3 => of_kind("string", format!("{variable}.matches(\"{pattern}\")")),
            4 => of_kind("string", format!("({variable} + {text}).length() > 3")),
            5 => of_kind("integer", format!("{variable} {order} 5")),
            6 => of_kind("integer", format!("({variable} * 2 - 1) {order} 5")),
            7 => of_kind("date", format!("{variable} {order} 2026-11-24T12:00:00Z")),
            8 => of_kind(
                "array",
                format!("{variable}.{quantifier}($q -> $q == {constant})"),
            ),
            9 => of_kind(
                "map",
                format!("{variable}.{quantifier}($q -> $q.get(1) == {constant})"),
            ),
            _ => format!("[\"a\", \"alice\", 5, true].contains({variable})"),
        }
    }

    fn value(&mut self, variables: &[String], depth: usize) -> String {
        let variable = variables.choose(self.random).cloned();
        match (variable, self.random.gen_range(0..12)) {
            (Some(variable), 0..=6) => variable,
            (_, 9) if depth > 0 => {
                let operator = self.one_of(&["+", "-", "*", "/", "&", "|", "^"]);
                let (left, right) = (
                    self.value(variables, depth - 1),
                    self.value(variables, depth - 1),
                );
                format!("({left} {operator} {right})")
            }
            (_, 10) if depth > 0 => {
                let operator =
                    self.one_of(&["length()", "type()", "get(0)", "get(\"k\")", "get(\"a.b\")"]);
                format!("({}).{operator}", self.value(variables, depth - 1))
            }
            (_, 11) if depth > 0 => {
                let operator = self.one_of(&["intersection", "union"]);
                let left = self.value(variables, depth - 1);
                format!("{left}.{operator}({})", self.value(variables, depth - 1))
            }
            _ => self.one_of(CONSTANTS).to_owned(),
        }
    }
}

/// Arguments of a call, as JSON.
pub(super) fn arguments(random: &mut StdRng) -> String {
    let keys = ["n", "path", "to", "tags", "where", "flag", "other"];
    let members: Vec<String> = keys
        .iter()
        .filter(|_| random.gen_bool(0.6))
        .collect::<Vec<_>>()
        .into_iter()
        .map(|key| format!("\"{key}\":{}", json(random, 3)))
        .collect();
    format!("{{{}}}", members.join(","))
}

fn json(random: &mut StdRng, depth: usize) -> String {
    const PLAIN: &[&str] = &[
        "0",
        "1",
        "5",
        "5.0",
        "-7",
        "2.5",
        "1e300",
        "18446744073709551615",
        "\"a\"",
        "\"b\"",
        "\"\"",
        "\"/public/a\"",
        "\"/public/../x\"",
        "\"/Public/a\"",
        "\"deploy\"",
        "\"alice\"",
        "\"a@example.com\"",
        "\"ä\\u00e4\"",
        "true",
        "false",
        "null",
    ];
    let plain = |random: &mut StdRng| PLAIN.choose(random).copied().unwrap_or_default().to_owned();
    match random.gen_range(0..8) {
        0 | 1 if depth > 0 => {
            let count = random.gen_range(0..4);
            let members: Vec<String> = (0..count).map(|_| json(random, depth - 1)).collect();
            format!("[{}]", members.join(","))
        }
        2 if depth > 0 => {
            let keys = ["k", "q", "a.b", "x[0]", "back\\\\slash"];
            let members: Vec<String> = keys
                .iter()
                .filter(|_| random.gen_bool(0.5))
                .collect::<Vec<_>>()
                .into_iter()
                .map(|key| format!("\"{key}\":{}", json(random, depth - 1)))
                .collect();
            format!("{{{}}}", members.join(","))
        }
        _ => plain(random),
    }
}
