//! The recipes of the manual for Python and JavaScript.

use super::*;

#[tokio::test]
async fn the_recipes_for_python_and_javascript_make_tokens_that_allow_exactly_so_much() -> Result<()>
{
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    let origin = fixture.gateway.origin();
    let tools = ["echo", "look"].map(str::to_owned);
    for (interpreter, start) in [
        (python(), vec![script("narrow.py")]),
        (
            node(),
            vec![
                "--experimental-wasm-modules".to_owned(),
                "--no-warnings".to_owned(),
                script("narrow.mjs"),
            ],
        ),
    ] {
        let mut arguments = start;
        arguments.push(origin.clone());
        arguments.extend(tools.clone());
        let (code, out) = recipe(interpreter.clone(), &arguments, &token).await?;
        assert_eq!(code, 0, "{out}");
        // biscuit-wasm greets on standard output.
        let child = out
            .lines()
            .find(|line| line.len() > 200)
            .context("no token")?;
        let path = |path: &str| json!({"path": path});
        for (tool, arguments, expected) in [
            ("echo", path("/public/a"), allowed()),
            ("look", path("/public/"), allowed()),
            ("erase", path("/public/a"), refused("token_narrowed")),
            ("echo", path("/private/a"), refused("token_narrowed")),
            ("echo", json!({}), refused("token_narrowed")),
        ] {
            let got = tried(&fixture, child, tool, arguments.clone()).await?;
            assert_eq!(
                got,
                expected,
                "{} {tool} {arguments}",
                interpreter.display()
            );
        }
    }
    Ok(())
}
