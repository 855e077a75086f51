//! Every command line of README and manual is one that the binaries take, and every
//! configuration in them is accepted.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use tests::program::{binary, run, workspace};

use crate::pages::{self, Page};

const PROGRAMS: [&str; 2] = ["gateway", "mcp-backend"];

/// The words of a shell line up to where another program, a file or a comment begins.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, '<' | '>' | '|' | ';') => break,
            // `[--user NAME]`: what may be left out is tried, too.
            (None, '[' | ']') => {}
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// The commands of our programs on a line: after `&&`, after variables, in `target/release/`.
fn ours(line: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for part in line.split("&&").flat_map(|part| part.split(" | ")) {
        let mut words: Vec<String> = words(part.trim().trim_start_matches("$ "))
            .into_iter()
            .skip_while(|word| word.contains('=') && !word.starts_with('-'))
            .collect();
        if words
            .first()
            .is_some_and(|first| PROGRAMS.contains(&first.rsplit('/').next().unwrap_or_default()))
        {
            words[0] = words[0].rsplit('/').next().unwrap_or_default().to_owned();
            found.push(words);
        }
    }
    found
}

/// Our commands in a page's fences and code spans.
fn commands(page: &Page) -> Vec<Vec<String>> {
    let (_, blocks) = page.split();
    let shell = blocks.iter().filter(|(language, _)| *language == "sh");
    let mut found: Vec<Vec<String>> = shell
        .flat_map(|(_, block)| block.lines().flat_map(ours))
        .collect();
    for span in page.code_spans() {
        found.extend(ours(span).into_iter().filter(|words| words.len() > 1));
    }
    found
}

/// How the binary answers to these words and `--help`, which stands before what another program gets.
async fn takes(words: &[String]) -> Result<bool> {
    let mut arguments = words[1..].to_vec();
    let end = arguments
        .iter()
        .position(|word| word == "--")
        .unwrap_or(arguments.len());
    arguments.insert(end, "--help".into());
    let (code, out, _) = run(&binary(&words[0]), &arguments, "").await?;
    Ok(code == 0 && out.contains("Usage:"))
}

#[tokio::test]
async fn every_command_of_ours_is_taken_by_its_binary() -> Result<()> {
    let mut tried = BTreeSet::new();
    let mut faults = Vec::new();
    for page in pages::all()? {
        for words in commands(&page) {
            if tried.insert(words.clone()) && !takes(&words).await? {
                faults.push(format!("{}: {}", page.path, words.join(" ")));
            }
        }
    }
    println!("{} commands", tried.len());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(tried.len() > 40, "only {} commands were found", tried.len());
    Ok(())
}

#[tokio::test]
async fn a_command_that_is_none_is_noticed() -> Result<()> {
    for wrong in [
        "gateway serv --config conf/gateway.toml",
        "gateway grants ls [--usr NAME]  # who",
        "A=b target/release/gateway token narrow --for soon < token",
        "printf x | gateway users hsh > owner.hash",
        "mcp-backend bridge --no-such -- npx -y x",
    ] {
        let found = ours(wrong);
        assert_eq!(found.len(), 1, "{wrong}: {found:?}");
        assert!(!takes(&found[0]).await?, "{wrong}");
    }
    assert!(takes(&ours("gateway serve -- npx -y x --no-such")[0]).await?);
    Ok(())
}

/// All words of the help of a program that look like a flag, its commands' included.
async fn flags(program: &str, command: Vec<String>, all: &mut BTreeSet<String>) -> Result<()> {
    let mut arguments = command.clone();
    arguments.push("--help".into());
    let (_, help, _) = run(&binary(program), &arguments, "").await?;
    let ends = |c: char| !c.is_ascii_alphanumeric() && c != '-';
    all.extend(
        help.split(ends)
            .filter(|word| word.starts_with("--"))
            .map(str::to_owned),
    );
    let (_, listed) = help.split_once("Commands:\n").unwrap_or_default();
    let (listed, _) = listed.split_once("\n\n").unwrap_or((listed, ""));
    for line in listed
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
    {
        let name = line.split_whitespace().next().context("a command")?;
        if name != "help" {
            let mut command = command.clone();
            command.push(name.to_owned());
            Box::pin(flags(program, command, all)).await?;
        }
    }
    Ok(())
}

/// Flags of others: of compose, cargo, npx, our test scripts, and servers in the manual.
const OTHERS: [&str; 16] = [
    "--profile",
    "--env-file",
    "--volumes",
    "--only",
    "--example",
    "--release",
    "--lib",
    "--locked",
    "--pass-environment",
    "--allow-private-ips",
    "--outputTransport",
    "--transport",
    "--appendonly",
    "--workspace",
    "--keep",
    "--against",
];

#[tokio::test]
async fn every_flag_that_a_page_names_exists() -> Result<()> {
    let mut known: BTreeSet<String> = OTHERS.map(String::from).into();
    for program in PROGRAMS {
        flags(program, Vec::new(), &mut known).await?;
    }
    assert!(
        known.contains("--checkpoint") || known.len() > 40,
        "{known:?}"
    );
    let mut faults = Vec::new();
    for page in pages::all()? {
        for span in page
            .code_spans()
            .into_iter()
            .filter(|span| span.starts_with("--"))
        {
            let flag = span.split([' ', '=']).next().unwrap_or_default();
            if flag != "--" && !known.contains(flag) {
                faults.push(format!("{}: {flag}", page.path));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

/// A name of a variable, as of compose.
fn variable(word: &str) -> Option<&str> {
    let (name, _) = word.split_once('=')?;
    let letters = |c: char| c.is_ascii_uppercase() || c == '_';
    (!name.is_empty() && name.chars().all(letters)).then_some(name)
}

#[test]
fn every_variable_profile_and_file_given_to_compose_exists() -> Result<()> {
    let mut tried = 0;
    for page in pages::all()? {
        let (_, blocks) = page.split();
        let lines = blocks
            .iter()
            .filter(|(language, _)| *language == "sh")
            .flat_map(|(_, block)| block.lines());
        for line in lines.filter(|line| line.contains("docker compose")) {
            tried += 1;
            let words = words(line);
            // What the line names beside it, which may have variables of its own.
            let named = words.windows(2).filter(|pair| pair[0] == "-f");
            let files = named.map(|pair| pair[1].as_str());
            let compose: String = std::iter::once("docker-compose.yml")
                .chain(files)
                .map(|file| std::fs::read_to_string(workspace().join(file)))
                .collect::<Result<_, _>>()?;
            for name in words.iter().filter_map(|word| variable(word)) {
                assert!(
                    compose.contains(&format!("${{{name}")),
                    "{}: {name} is no variable of compose's files",
                    page.path
                );
            }
            for pair in words.windows(2) {
                match pair[0].as_str() {
                    "--profile" => assert!(
                        compose.contains(&format!("\"{}\"", pair[1])) || compose.contains(&pair[1]),
                        "{line}"
                    ),
                    "-f" => assert!(workspace().join(&pair[1]).exists(), "{line}"),
                    _ => {}
                }
            }
        }
    }
    assert!(tried >= 6, "only {tried} lines were found");
    Ok(())
}

#[tokio::test]
async fn every_configuration_of_the_manual_is_accepted() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("gateway.toml");
    let mut tried = 0;
    for page in pages::all()? {
        let (_, blocks) = page.split();
        for (_, block) in blocks.iter().filter(|(language, _)| *language == "toml") {
            tried += 1;
            std::fs::write(&file, block)?;
            let mut arguments = vec![
                "check".to_owned(),
                "--config".to_owned(),
                file.display().to_string(),
            ];
            if !block.contains("[[backend]]") {
                arguments.extend(["--backend".to_owned(), "http://127.0.0.1:3001".to_owned()]);
            }
            let (code, out, errors) = run(&binary("gateway"), &arguments, "").await?;
            assert_eq!(code, 0, "{}:\n{block}\n{out}{errors}", page.path);
        }
    }
    assert!(tried >= 5, "only {tried} were found");
    Ok(())
}

/// The checks as `gateway doctor --list` prints them, as a table.
fn table_of_checks(listed: &str) -> String {
    let mut table = String::from("| check | why |\n|---|---|\n");
    for line in listed.lines() {
        if let Some((id, why)) = line.split_once(char::is_whitespace) {
            table += &format!("| `{id}` | {} |\n", why.trim());
        }
    }
    table
}

#[tokio::test]
async fn the_table_of_checks_is_the_doctors_own() -> Result<()> {
    let (_, listed, _) = run(&binary("gateway"), &["doctor", "--list"], "").await?;
    let table = table_of_checks(&listed);
    assert!(table.lines().count() > 50, "{table}");
    let path = workspace().join("conf/documents/doctor.md");
    let page = std::fs::read_to_string(&path)?;
    let (begin, end) = ("<!-- checks -->\n", "<!-- /checks -->\n");
    let (before, rest) = page.split_once(begin).context("its begin is not marked")?;
    let (inside, after) = rest.split_once(end).context("its end is not marked")?;
    if inside != table && std::env::var_os("UPDATE_MANUAL").is_some() {
        std::fs::write(&path, format!("{before}{begin}{table}{end}{after}"))?;
        return Ok(());
    }
    assert_eq!(inside, table, "UPDATE_MANUAL=1 cargo test --test manual");
    Ok(())
}
