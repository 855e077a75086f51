//! What can't be several servers together is refused at the start.

use anyhow::Result;
use tests::gateway::{Gateway, Setup};

async fn refusal(members: &str, more: &str) -> Result<String> {
    let started = Gateway::start(
        Setup::default()
            .mounted("a", "/a", "http://127.0.0.1:9")
            .mounted("a_b", "/ab", "http://127.0.0.1:9")
            .mounted("my notes", "/mine", "http://127.0.0.1:9")
            .more(&format!(
                "[[backend]]\nname = \"all\"\npath = \"/\"\nmembers = {members}\n{more}\n"
            )),
    )
    .await;
    Ok(match started {
        Ok(_) => String::new(),
        Err(error) => format!("{error:#}"),
    })
}

#[tokio::test]
async fn members_that_can_not_be_told_apart_are_refused_with_both_names() -> Result<()> {
    let refused = refusal(r#"["a", "a_b"]"#, "").await?;
    assert!(
        refused.contains("`a` and `a_b` can't be told apart"),
        "{refused}"
    );
    assert_eq!(refusal(r#"["a", "a_b"]"#, "separator = \".\"").await?, "");
    Ok(())
}

#[tokio::test]
async fn what_is_no_member_and_what_is_a_members_alone_is_refused() -> Result<()> {
    for (members, more, sentence) in [
        (r#"["a", "nobody"]"#, "", "`nobody` is no [[backend]]"),
        (r#"["a", "all"]"#, "", "`all` has members itself"),
        (r#"["a", "a"]"#, "", "names `a` twice"),
        (r#"["my notes"]"#, "", "can't begin the name of a tool"),
        (
            r#"["a"]"#,
            "separator = \" \"",
            "`backend.3.separator` must be",
        ),
        (
            r#"["a"]"#,
            "url = \"http://127.0.0.1:9\"",
            "stands beside members",
        ),
        (
            r#"["a"]"#,
            "approval_required = [\"x\"]",
            "stands beside members",
        ),
        (
            r#"["a"]"#,
            "[backend.account]\nkind = \"key\"",
            "stands beside members",
        ),
    ] {
        let refused = refusal(members, more).await?;
        assert!(refused.contains(sentence), "{members} {more}: {refused}");
    }
    Ok(())
}
